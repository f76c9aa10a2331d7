"""The utility model û: what it learns from, how it is fitted, what it says of sets."""
