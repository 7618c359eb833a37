"""The emulated network of a run: nodes in namespaces, a fabric that shapes every directed link, and proof that it does.

Imports `errors`, `files`, `system` and `wire`. Start at `network`, then `spec.fabric` (what every fabric must do).
"""
