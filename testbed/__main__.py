"""`python -m testbed` is `testbed`."""

from testbed.entry import main

main()
