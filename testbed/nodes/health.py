"""Health of a node in a container, for the image's HEALTHCHECK: waiting for its configuration, or beating."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from testbed.nodes.contained import BEAT_FILE

SILENCE_S = 5.0  # a node beats once a second


def healthy(beat_file: Path, now: float) -> bool:
    """`now` in seconds since the epoch. A node that has no beat file yet still waits for its configuration."""
    return not beat_file.exists() or now - beat_file.stat().st_mtime < SILENCE_S


if __name__ == "__main__":
    sys.exit(not healthy(BEAT_FILE, time.time()))
