"""`python -m testbed` is `testbed`."""

from testbed.cli.entry import main

main()
