"""What a role knows about its device's KV cache of one request: which tokens it holds; what to crop, what to feed.

Rule kept: at least one token is always fed (a pass without input has no logits), and what is already cached and still
right is never fed again. A drafter's own last token is not in its cache, because it came out of the last pass and was
never fed: after full acceptance the next plan feeds it together with the bonus token.

Cost is in the new tokens only: tokens once validated never change, so each is compared with the cache once.

A device that keeps texts of requests that ended has the beginning of a new one already: `kept` says how many tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


class CacheView:
    def __init__(self, kept: Callable[[Sequence[int]], int] | None = None) -> None:
        self._kept = kept  # None once something was fed: from then on the cache is the request's own
        self._cached: list[int] = []
        self._agreed = 0  # this many cached tokens equal validated ones, for good

    def __len__(self) -> int:
        return len(self._cached)

    def plan(self, validated: Sequence[int], path: Sequence[int] = (), fresh: int = 1) -> tuple[int, tuple[int, ...]]:
        """(crop position, tokens to feed) so that the cache holds `validated` + `path`.

        `validated` may only grow from call to call. `fresh` is how many last tokens must be fed even when they are
        cached, because their logits are wanted: one to draft, one more than the drafts to verify.
        """
        known, total = len(validated), len(validated) + len(path)
        if not 1 <= fresh <= total:
            raise ValueError(f"cannot feed {fresh} of {total} tokens")
        common = self._agree(validated)
        cached = self._cached
        limit = min(len(cached), total)
        if common == known < limit and cached[known:limit] == path[: limit - known]:
            common = limit  # as nearly always, and compared at once
        while known <= common < limit and cached[common] == path[common - known]:
            common += 1
        position = min(common, total - fresh)
        if position >= known:
            return position, tuple(path[position - known :])
        return position, (*validated[position:], *path)

    def shared(self, validated: Sequence[int]) -> int:
        """How many leading tokens need not be fed to draft after `validated`, the last of which always is."""
        return min(self._agree(validated), len(validated) - 1)

    def _agree(self, validated: Sequence[int]) -> int:
        """How many leading tokens of `validated` are cached: for good, as it only grows."""
        if self._kept is not None:
            self._cached = list(validated[: self._kept(validated)])
            return len(self._cached)
        cached, common = self._cached, self._agreed
        limit = min(len(cached), len(validated))
        while common < limit and cached[common] == validated[common]:
            common += 1
        self._agreed = common
        return common

    def fed(self, position: int, tokens: Sequence[int], drafted: Sequence[int] = ()) -> None:
        """The device cropped to `position`, fed `tokens` and, pass by pass, all of `drafted` but the last."""
        self._kept = None
        if position > len(self._cached):
            raise ValueError(f"crop to {position} of {len(self._cached)} cached tokens")
        del self._cached[position:]
        self._cached.extend(tokens)
        if len(drafted) > 1:
            self._cached.extend(drafted[:-1])
        if position < self._agreed:
            self._agreed = position
