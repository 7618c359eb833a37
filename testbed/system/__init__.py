"""What touches the operating system: signals, processes and their ends, namespaces, the journal of what a run made.

Imports `errors` and `files`. Start at `journal` (what is written down), `undoing` (how it is removed), `interrupt`.
"""
