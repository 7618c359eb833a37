"""The fabric `lab`: the netem plan inside a User-Mode Linux kernel that switches between the nodes' namespaces.

Start at `fabric`, then `kernel` (start, serial lines, end).
"""
