"""Policies as pure state machines: events in, commands out. One text for emulation and simulation.

Imports `errors`, `files`, `decoding` and `wire`. Start at `api` (the contract), then `speculative`, the shortest.
"""
