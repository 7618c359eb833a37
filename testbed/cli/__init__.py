"""The command line: one module per group of verbs, thin; every heavy import stands inside its verb.

Imports any room. Start at `main` (the verbs), `entry` (signals and exit status), `options` (what verbs share).
"""
