"""TCP in virtual time, one direction of a connection at a time: what it costs to bring a message over a link.

Imports `system`, `network.relay.impair`, and the kernel and links of the simulation. Start at `stream` (links that
lose, reorder, vary), then `even` (links on which nothing but the congestion window holds a message back).
"""
