"""Links that change while a run goes on: a schedule carried out on time, in a process of its own.

Start at `replay`, then `process`.
"""
