"""Writes the bytecode of everything below the given folders into an image; `stdlib` stands for Python's own library.

A node cannot write to its root, so what has no bytecode would be compiled at every start. It is marked as needing no
check against its source (PEP 552): an image's files do not change, though a tool may change their times.
What came with bytecode keeps it. A file that does not compile is left: packages ship templates, which nothing imports.
"""

import compileall
import sys
import sysconfig
from py_compile import PycInvalidationMode

for folder in sys.argv[1:]:
    compileall.compile_dir(
        sysconfig.get_path("stdlib") if folder == "stdlib" else folder,
        quiet=2,
        workers=0,  # as many as there are cores
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )
