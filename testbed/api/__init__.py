"""The Python door: what `import testbed as tb` offers, thin as the command line is and beside it.

`verbs` are the functions, `run` is a finished run, `given` reads the forms in which an experiment is given,
`commandline` and `child` run a verb of the command line as a child process, `watching` shows progress in notebooks. May
import anything; nothing imports this. Start reading at `verbs`.
"""
