"""What "the SLO is met" means: three scopes of it, and the two spans over which a rate can be counted, on arrays.

* `per_request`: each request gets its rate; what is judged is the share of requests that did not.
* `per_user`: each user gets it on average over their requests; the share of users who did not.
* `fleet`: all users together get it on average; the SLO rate over the fleet's.

A rate counts from sending to the last token (`whole`: tokens / (end - sent)), or after the first token (`after_first`:
(tokens - 1) / (end - first token)). The second is kept by a server that lets users wait for ever and is quick with the
few it serves. Averages are sums of tokens over sums of seconds, so a long request counts for what it is. Every table
judges all its scopes over one of the spans, and says which.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from testbed.system.units import NS_PER_S

Floats = NDArray[np.float64]
Window = Literal["whole", "after_first"]
Scope = Literal["per_request", "per_user", "fleet"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
ROUNDING = 1e-9  # a rate that was kept exactly must not fail by its last bit


def span(
    window: Window, tokens: NDArray[Any], sent_ns: NDArray[Any], first_ns: NDArray[Any], end_ns: NDArray[Any]
) -> tuple[Floats, Floats]:
    """The tokens that count of each request, and the seconds they took."""
    if window == "whole":
        return tokens.astype(float), (end_ns - sent_ns) / NS_PER_S
    return tokens.astype(float) - 1, (end_ns - first_ns) / NS_PER_S


def kept(tokens: NDArray[Any], seconds: NDArray[Any], rate_per_s: NDArray[Any] | float) -> NDArray[np.bool_]:
    """Whether so many tokens in so many seconds are at least this rate; no tokens in no time are."""
    met: NDArray[np.bool_] = tokens >= rate_per_s * seconds * (1 - ROUNDING)
    return met
