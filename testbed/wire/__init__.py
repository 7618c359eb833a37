"""Messages between nodes, their framing, and TCP connections that prove who is at the other end.

Imports `errors` and `decoding`. Start at `messages` (what is said), `tcp` (how), `delivery` (when a connection broke).
"""
