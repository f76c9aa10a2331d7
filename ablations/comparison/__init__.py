"""Strategies compared as the field prints it: curves over budgets, AUBC, ranks, penalties, profiles, paired tests.

Read `compared` first: it is what all of them are made of, and says which strategies, where, and on which seeds.
"""
