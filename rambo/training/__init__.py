"""The classifier f and how it is trained, one by one or in stacks, each set once."""
