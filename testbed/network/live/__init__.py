"""Links that change while a run goes on: a schedule carried out on time, in its own process.

Start at `replay`, then `process`.
"""
