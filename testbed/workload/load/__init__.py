"""Loads: when requests come and how long they are, from traces of real services.

A *trace* is a service's own file (`read`), a *profile* a small YAML file that a generator turns into requests
(`profile`, `generate`). Start at `source`, which finds either by name or path. Imports what `workload` may.
"""
