"""The run's clock: virtual time, the same in all processes and containers of a run, which waits at barriers.

Imports `errors` and `system`. Start at `api` (what everything that needs the time is given), then `held` (the rule,
pure), `page` (the memory that processes share), `waiting` (how to wait for a time that may stand still).
"""
