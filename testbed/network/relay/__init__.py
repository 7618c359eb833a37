"""The fabric `relay`: a user-space delay line over TUN devices, for kernels without netem.

Start at `fabric` (the run's end), then `process` and `queue` (the delay line).
"""
