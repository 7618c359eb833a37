"""The emulation engine: brings nodes and network up, runs every policy, takes everything down, whatever happens.

Imports `containers`, `nodes`, `network`, `results` and below. Start at `engine`, then `deployment` and `phases`.
"""
