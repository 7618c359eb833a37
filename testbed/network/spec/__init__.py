"""The specification of links: topologies, RTT traces, schedules of changes, the interface of a fabric. No kernel.

Start at `topology` and `fabric`.
"""
