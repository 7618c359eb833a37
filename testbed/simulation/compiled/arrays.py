"""A compiled world as Python holds it: its record, and the arrays that the record has the addresses of."""

from __future__ import annotations

from typing import Any

import numpy as np

from testbed.simulation.compiled.layout import ARRAYS, Records

Array = np.ndarray[Any, np.dtype[Any]]


class World:
    """Keeps the arrays alive; the loop is given `fixed` alone."""

    def __init__(self, fixed: Records, arrays: dict[str, Array]) -> None:
        self.fixed = fixed
        self.arrays = arrays
        for name, dimensions in ARRAYS.items():
            array = arrays[name]
            assert array.flags.c_contiguous and array.ndim == dimensions, name
            fixed[name] = array.ctypes.data
            fixed[f"{name}_rows"] = array.shape[0]
            fixed[f"{name}_columns"] = array.shape[1] if dimensions == 2 else 1

    def logged(self, name: str) -> Records:
        """As much of a log as is written."""
        return self.arrays[name][: self.fixed["clock"][name][0]]

    def steps(self, node: int) -> Records:
        return self.arrays["steps"][node, : self.fixed["devices"]["logged"][0, node]]

    def messages(self, role: int) -> Records:
        return self.arrays["messages"][role, : self.fixed["received"][0, role]]
