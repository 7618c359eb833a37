"""The Python door: what `import testbed as tb` offers, thin as the command line is and beside it.

`verbs` are the functions, `run` is a finished run, `given` reads the forms in which an experiment is given, `child` and
`emulating` run the command line as a child process, `watching` shows progress in notebooks. May import anything but
`cli`; nothing imports this. Start reading at `verbs`.
"""
