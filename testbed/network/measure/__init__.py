"""Links as they are: probes before, during and after a run, packet captures, and how far a link may be off.

Start at `probe`, then `watch` (in the run) and `tolerances`.
"""
