"""The rules of decoding: sampling, acceptance of drafts, token trees, where an output ends. Pure; numpy only.

Imports no other room. Start at `verify` (acceptance) and `tree`.
"""
