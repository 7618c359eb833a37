"""The reference: what files may hold, what runs write, what is measured, told by the code that decides it.

`schemas` makes JSON schemas of the models, `keys` lists their keys, `pages` writes docs/reference. May import anything
but the command line, which imports this. Start with `schemas`.
"""
