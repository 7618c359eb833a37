"""The fabric `netem`: a router namespace whose kernel queues give each directed link its delay.

Start at `fabric`, then `plan` (which tc objects) and `encoder` (their bytes). The lab fabric uses the same plan.
"""
