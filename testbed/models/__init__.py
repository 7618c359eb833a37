"""Models: loading any pair, the KV-cache runtime, the greedy reference, the pair check and the shipped tiny pair.

Importing this package imports neither torch nor transformers; each function that needs them imports them itself.
"""
