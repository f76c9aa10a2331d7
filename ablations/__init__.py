"""Factorial ablations: factors, statistics, tables and figures."""

from rambo.terminal import answer_while_loading

answer_while_loading()
