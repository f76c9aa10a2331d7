"""Alternatives to RAMBO (§5.2, B.1), behind the same signature."""
