"""Mininet's own command line and network object over the nodes of a run.

Start at `net`, then `shell`.
"""
