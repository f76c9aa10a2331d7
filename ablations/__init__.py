"""Factorial ablations: factors, statistics, tables and figures."""
