"""The load: prompt sets, arrivals over time, and planned requests.

Imports `errors`, `files`, `decoding` and `policies`. Start at `arrivals` and `prompts`.
"""
