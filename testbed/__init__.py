"""A trace-driven emulation testbed for distributed speculative decoding.

Importing this package imports neither torch nor mininet: the pure parts (policies, decoding, wire, network plans)
are usable on any machine, and `testbed --help` answers at once.
"""

from testbed.files.repository import VERSION as __version__  # noqa: F401, N811
