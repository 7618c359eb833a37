"""What users ask for: prompt sets, arrivals over time, and requests as they are planned.

Imports `errors`, `files`, `decoding` and `policies`. Start at `arrivals` and `prompts`.
"""
