"""`testbed reproduce`: a paper's claims as a file, and the sweeps, searches and figures that answer them.

Imports `sweep`, `simulation`, `report` and below. Start at `claims`, then `run`.
"""
