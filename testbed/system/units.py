"""Units in one place: time is whole nanoseconds inside, milliseconds in files and policies, seconds for people."""

from __future__ import annotations

from typing import Final

NS_PER_US: Final = 1_000
NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000
