"""What a run leaves: event log, metrics, validity, summary, comparison, and the folder that holds them.

Imports `experiment`, `network`, `system` and below. Start at `records` (the log), `summary`, `validity`.
"""
