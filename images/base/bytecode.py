"""Writes the bytecode of everything below the given folders into an image; `stdlib` stands for Python's own library.

A node cannot write to its root, so what has no bytecode would be compiled at every start. It is marked as needing no
check against its source (PEP 552): an image's files do not change, though a tool may change their times.
What came with bytecode keeps it. A file that does not compile is left: packages ship templates, which nothing imports.
After `--every`, as for the testbed's own code, it ends the build.
"""

import compileall
import sys
import sysconfig
from importlib.util import cache_from_source
from pathlib import Path
from py_compile import PycInvalidationMode

if __name__ == "__main__":  # newer Pythons import this file in every worker
    every = sys.argv[1] == "--every"
    for folder in sys.argv[1 + every :]:
        place = sysconfig.get_path("stdlib") if folder == "stdlib" else folder
        compileall.compile_dir(
            place,
            quiet=2,
            workers=0,  # as many as there are cores
            invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        )
        for path in sorted(Path(place).rglob("*.py")) if every else ():
            if not Path(cache_from_source(path)).is_file():
                sys.exit(f"{path} does not compile")
