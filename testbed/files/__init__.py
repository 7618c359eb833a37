"""Files: readers that answer bad input in one line, writers whose output is whole or absent.

Imports `errors` only. Start at `reading` (the one door for input), `yamlfile` (places, names), `whole` (output).
"""
