"""The reference: what files may hold, what runs write, what is measured, and the verbs, told by the code itself.

`schemas` makes JSON schemas of the models, `keys` lists their keys, `commandline` the verbs, `pages` and `kept` write
docs/reference and schemas/: `python -m testbed.cli.reference`. `validation` says what is wrong with a file. Start with
`schemas`.
"""
