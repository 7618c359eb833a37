"""A finished run in the formats of other tools: `testbed export RUN --format ...`.

`equivalents` says which metric of theirs is which of ours, and where formulas differ; `measured` is the run as all
exporters read it; a module each for the formats, `write` chooses. Rule kept: a number of ours is computed by the
registry of metrics, and one that follows another tool's formula has that tool's name. Start at `write`.
"""
