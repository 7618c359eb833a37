"""Numbers of the Linux kernel's interface that more than one module needs, each with the header it comes from.

Standard library only, so that processes which must start at once can use it. Numbers of one module stay there.
"""

from __future__ import annotations

import ctypes
import struct
from typing import Final

CLONE_NEWUSER: Final = 0x10000000  # linux/sched.h
CLONE_NEWNET: Final = 0x40000000  # linux/sched.h
PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
PR_SET_TIMERSLACK: Final = 29  # linux/prctl.h
ETH_P_ALL: Final = 0x0003  # linux/if_ether.h
ETHERNET_HEADER_BYTES: Final = 14  # ETH_HLEN, linux/if_ether.h
SOL_PACKET: Final = 263  # linux/socket.h
SO_SNDBUFFORCE: Final = 32  # asm-generic/socket.h; beyond the limit of net.core, for root
SO_RCVBUFFORCE: Final = 33
SO_TIMESTAMPNS: Final = 35  # SO_TIMESTAMPNS_OLD: struct timespec with every packet, CLOCK_REALTIME
TIMESPEC: Final = struct.Struct("@qq")


def precise_timers() -> None:
    """Asks the kernel not to batch this process's wake-ups (timer slack 1 ns instead of 50 us)."""
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
