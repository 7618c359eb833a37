"""The programs of an emulated run: the node program with its role, and the model worker beside it.

Imports `results`, `models`, `policies`, `wire` and below. Start at `program`, then `rolehost` and `worker`.
"""
