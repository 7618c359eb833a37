"""The experiment file and what follows from it alone: the model, overrides, events, plans of requests and of links.

Imports `network`, `tables`, `models`, `policies`, `workload` and below. Start at `scenario`.
"""
