"""The paper's tables and figures by name: what each compares, what it prints, and what was measured beside it."""
