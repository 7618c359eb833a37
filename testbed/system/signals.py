"""Signals that end a run or a command. Imports nothing else, for it comes first."""

from __future__ import annotations

import signal

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
