"""The simulation engine: the same policies in virtual time, decode tables in place of models.

Imports `nodes`, `results`, `experiment` and below. Start at `engine`, then `world` and `kernel`.
"""
