"""What links are asked to be: topologies, RTT series, schedules of changes, the contract of a fabric. No kernel.

Start at `topology` and `fabric`.
"""
