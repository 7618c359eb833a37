"""One pass of a plain decoder over rows of one or many requests: embedding, attention layers, head.

Rows of all requests go through the matrices together, without padding; attention is done request by request, since each
has its own text. A mask is needed among the rows fed only: what was held before is seen by all of them.

All arithmetic is in the weights' own precision. It must not know: where weights came from, rewinds, limits on memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from testbed.models.lean.held import Held
from testbed.models.lean.matrix import Matrix

Array = np.ndarray[Any, np.dtype[Any]]
MOST_SCORES = 1 << 22  # attention scores at a time; more are done in several goes of fewer queries


class LeanFeed(NamedTuple):
    """Rows of one request: `places` are the tokens' positions, entries `at` onwards is where their keys go.

    `hidden` is added to the scores among the rows fed, -inf where a row does not see another; None: one row.
    """

    held: Held
    at: int
    tokens: Sequence[int]
    places: Sequence[int] | range
    hidden: Array | None


@dataclass(frozen=True)
class Layer:
    """Norm weights are part of the matrices that follow them, and the scale of the scores is part of `qkv`."""

    qkv: Matrix  # queries, keys and values side by side
    head_norm: Array | None  # weights of a norm over each head of queries and keys; the scale is in it
    out: Matrix
    up: Matrix  # gate and up side by side where the decoder is gated
    down: Matrix


@dataclass(frozen=True)
class Shape:
    """What all layers have in common."""

    heads: int
    key_heads: int
    width: int  # of a head
    epsilon: float
    centred: bool  # layer norm; else root mean square
    gated: bool
    parallel: bool  # attention and MLP read the same rows


class Decoder:
    """`embed` gives the first rows of tokens at places; `rotation` the cosines and signed sines of places, if any."""

    def __init__(
        self,
        shape: Shape,
        layers: Sequence[Layer],
        embed: Callable[[Sequence[int], Sequence[int]], Array],
        rotation: Callable[[Sequence[int]], tuple[Array, Array]] | None,
        activation: Callable[[Array], Array],
        last_norm: tuple[Array, Array | None],
        head: Matrix,
        dtype: Any,
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._layers = layers
        self._embed = embed
        self._rotation = rotation
        self._activation = activation
        self._last_norm = last_norm
        self._head = head

    def held(self) -> Held:
        """An empty store for one request."""
        return Held(len(self._layers), self.shape.key_heads, self.shape.width, self.dtype)

    def __call__(self, feeds: Sequence[LeanFeed], wanted: Sequence[int] | slice) -> Array:
        """Logits after the rows `wanted` of all rows fed, in the order of `feeds`. Keys and values are stored."""
        with np.errstate(over="ignore"):  # an activation's exponential; what matters is looked at afterwards
            return self._pass(feeds, wanted)

    def _pass(self, feeds: Sequence[LeanFeed], wanted: Sequence[int] | slice) -> Array:
        shape = self.shape
        if len(feeds) == 1:
            tokens, places = feeds[0].tokens, feeds[0].places
        else:
            tokens = [token for one in feeds for token in one.tokens]
            places = [place for one in feeds for place in one.places]
        if min(tokens) < 0:  # which numpy would count from the end
            raise IndexError(f"token {min(tokens)} is below 0")
        x = self._embed(tokens, places)
        turn = self._rotation(places) if self._rotation else None
        final = len(self._layers) - 1
        for index, layer in enumerate(self._layers):
            mixed = layer.out(self._attention(index, layer, self._norm(x), turn, feeds))
            if shape.parallel:
                x = self._mlp(layer, self._norm(x)) + mixed + x
                if index == final:
                    x = x[wanted]
                continue
            x += mixed
            if index == final:
                x = x[wanted]  # rows that only leave keys and values behind need not go on
            x += self._mlp(layer, self._norm(x))
        weight, bias = self._last_norm
        y = self._norm(x) * weight
        return self._head(y if bias is None else y + bias)

    def _norm(self, x: Array) -> Array:
        """Without its weights, which are part of the next matrix."""
        width = x.shape[1]
        if self.shape.centred:
            x = x - np.add.reduce(x, axis=1, keepdims=True) / width
        if len(x) == 1:  # by far the most frequent, and less than half the time this way
            row = x[0]
            only: Array = x * (float(row.dot(row)) / width + self.shape.epsilon) ** -0.5
            return only
        scale: Array = np.sqrt(np.add.reduce(x * x, axis=1, keepdims=True) / width + self.shape.epsilon)
        return x / scale

    def _mlp(self, layer: Layer, y: Array) -> Array:
        y = layer.up(y)
        if self.shape.gated:
            half = y.shape[1] // 2
            return layer.down(self._activation(y[:, :half]) * y[:, half:])
        return layer.down(self._activation(y))

    def _attention(
        self, index: int, layer: Layer, y: Array, turn: tuple[Array, Array] | None, feeds: Sequence[LeanFeed]
    ) -> Array:
        shape = self.shape
        count, width, turned = len(y), shape.width, shape.heads + shape.key_heads
        qkv = layer.qkv(y)
        both = qkv[:, : turned * width].reshape(count, turned, width)
        values = qkv[:, turned * width :].reshape(count, shape.key_heads, width)
        if layer.head_norm is not None:
            square = np.add.reduce(both * both, axis=2, keepdims=True)
            both = both / np.sqrt(square / width + shape.epsilon) * layer.head_norm
        if turn is not None:
            both = rotated(both, *turn)
        if len(feeds) == 1:
            return self._attend(index, feeds[0], both, values)
        out = np.empty((count, shape.heads * width), y.dtype)
        first = 0
        for feed in feeds:
            end = first + len(feed.tokens)
            out[first:end] = self._attend(index, feed, both[first:end], values[first:end])
            first = end
        return out

    def _attend(self, index: int, feed: LeanFeed, both: Array, new_values: Array) -> Array:
        """[rows, heads * width] of one request, after storing its keys and values."""
        shape = self.shape
        count, heads, key_heads, width = len(both), shape.heads, shape.key_heads, shape.width
        end = feed.at + count
        keys, values = feed.held.keys[index], feed.held.values[index]
        keys[:, :, feed.at : end] = both[:, heads:].transpose(1, 2, 0)
        values[:, feed.at : end] = new_values.transpose(1, 0, 2)
        group = heads // key_heads
        if feed.hidden is None:
            queries = both[:, :heads].reshape(key_heads, group, width)
            return _mixture(queries @ keys[:, :, :end], values[:, :end]).reshape(1, heads * width)
        out = np.empty((count, key_heads, group, width), both.dtype)
        step = max(1, MOST_SCORES // (heads * end))
        for top in range(0, count, step):
            rows = min(step, count - top)
            asking = both[top : top + rows, :heads].reshape(rows, key_heads, group, width).transpose(1, 2, 0, 3)
            scores = asking.reshape(key_heads, group * rows, width) @ keys[:, :, :end]
            scores.reshape(key_heads, group, rows, end)[..., feed.at :] += feed.hidden[top : top + rows]
            mixture = _mixture(scores, values[:, :end]).reshape(key_heads, group, rows, width)
            out[top : top + rows] = mixture.transpose(2, 0, 1, 3)
        return out.reshape(count, heads * width)


def _mixture(scores: Array, values: Array) -> Array:
    """Values weighted by the softmax of scores, which are overwritten."""
    scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    mixture = scores @ values
    mixture /= np.add.reduce(scores, axis=-1, keepdims=True)
    return mixture


def rotated(rows: Array, cosines: Array, sines: Array) -> Array:
    """[rows, heads, width] turned by their positions; a turn of fewer than `width` leaves the rest as it is.

    `cosines` and `sines` are [rows, 1, 2, half]; the first half of the sines is negative, since there the second half
    of a head is subtracted.
    """
    count, heads, width = rows.shape
    half = cosines.shape[3]
    if 2 * half == width:
        halves = rows.reshape(count, heads, 2, half)
        out = halves * cosines
        out += halves[:, :, ::-1] * sines
        return out.reshape(count, heads, width)
    out = np.array(rows)
    halves = rows[:, :, : 2 * half].reshape(count, heads, 2, half)
    out[:, :, : 2 * half] = (halves * cosines + halves[:, :, ::-1] * sines).reshape(count, heads, 2 * half)
    return out


def causal(rows: int, dtype: Any) -> Array:
    """What hides later rows from earlier ones."""
    return np.triu(np.full((rows, rows), -np.inf, dtype), 1)
