"""Decode tables: what a target and a drafter do on a prompt set, recorded once, replayed by the simulation, or made up.

Imports `models` and the rooms below it. Start at `table` (the columns), then `record` and `replay`.
"""
