"""The file that a lean decoder's weights lie in as its passes read them. Processes map it, so a machine holds it once.

Arrays one after the other, each from a multiple of `LINE` bytes on; then `Contents` as JSON, its length in 8 bytes,
SHA-256 of all before, and `MAGIC`. It is written once, front to back, from a model in memory
(`testbed.models.lean.kinds`); reading it needs nothing but numpy. Rule: a decoder is always read from such a file, be
it kept or nameless, so there is one way only.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec
import numpy as np

from testbed.models.lean.activations import ACTIVATIONS
from testbed.models.lean.decoder import Decoder, Layer, Shape
from testbed.models.lean.matrix import Matrix, block_width
from testbed.models.lean.positions import Rotation, learned, without

Array = np.ndarray[Any, np.dtype[Any]]

LINE = 64
MAGIC = b"leanpk01"
LENGTH_BYTES, HASH_BYTES = 8, 32
TAIL_BYTES = LENGTH_BYTES + HASH_BYTES + len(MAGIC)
READ_BYTES = 1 << 20


class Damaged(Exception):
    """A file that is not a whole pack, in a few words."""


class Span(msgspec.Struct, frozen=True):
    """Where an array begins, and its shape."""

    at: int
    shape: tuple[int, ...]


class MatrixSpans(msgspec.Struct, frozen=True):
    blocks: tuple[Span, ...]
    bias: Span | None = None


class LayerSpans(msgspec.Struct, frozen=True):
    """The fields of `testbed.models.lean.decoder.Layer`."""

    qkv: MatrixSpans
    head_norm: Span | None
    out: MatrixSpans
    up: MatrixSpans
    down: MatrixSpans


class Contents(msgspec.Struct, frozen=True):
    """All of a decoder but the numbers, and what a node must know of the model: `weights` is the hash of its files."""

    weights: str
    rows: int | None
    room: int | None
    dtype: str
    shape: Shape
    layers: tuple[LayerSpans, ...]
    activation: str
    norm: Span
    norm_bias: Span | None
    head: MatrixSpans
    embedding: Span | None  # None: it is the head itself
    places: Span | None = None  # learned positions
    turns: tuple[Span, Span] | None = None  # cosines and signed sines of rotary ones


class Writer:
    """Arrays to a file, from its beginning."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._at = 0
        self._digest = hashlib.sha256()

    def array(self, values: Array) -> Span:
        values = np.ascontiguousarray(values)
        span = Span(self._at, values.shape)
        padding = bytes(-values.nbytes % LINE)
        self._write(values.reshape(-1).view(np.uint8).data)
        self._write(padding)
        self._at += values.nbytes + len(padding)
        return span

    def matrix(self, weight: Array, bias: Array | None = None) -> MatrixSpans:
        """[inner, columns] cut into blocks; a bias of zeros is none."""
        width = block_width(weight.shape[0])
        blocks = [self.array(weight[:, first : first + width]) for first in range(0, weight.shape[1], width)]
        return MatrixSpans(tuple(blocks), self.array(bias) if bias is not None and bias.any() else None)

    def finish(self, contents: Contents) -> None:
        text = msgspec.json.encode(contents)
        self._write(text + len(text).to_bytes(LENGTH_BYTES, "little"))
        self._file.write(self._digest.digest() + MAGIC)
        self._file.flush()

    def _write(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        self._file.write(data)


class Packed(NamedTuple):
    decoder: Decoder
    contents: Contents


def intact(path: Path) -> bool:
    """Whether a pack is there as it was written; reads all of it. OSError where it cannot be read."""
    size = path.stat().st_size - HASH_BYTES - len(MAGIC)
    if size < LENGTH_BYTES:
        return False
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size:
            data = file.read(min(READ_BYTES, size))
            if not data:
                return False
            digest.update(data)
            size -= len(data)
        return file.read() == digest.digest() + MAGIC


def open_pack(file: IO[bytes]) -> Packed:
    """The decoder whose weights are in the file, which may be closed afterwards. Raises Damaged."""
    mapped = memoryview(_mapped(file.fileno()))
    contents = _contents(mapped)
    view = np.frombuffer(mapped, np.uint8)
    dtype = np.dtype(contents.dtype)

    def array(span: Span) -> Array:
        count = int(np.prod(span.shape)) * dtype.itemsize
        return view[span.at : span.at + count].view(dtype).reshape(span.shape)

    try:
        return Packed(_decoder(contents, dtype, array), contents)
    except ValueError as error:  # an array that reaches beyond the file
        raise Damaged(str(error)) from error


def nameless() -> IO[bytes]:
    """A file for a pack of this process alone: in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("weights"), "w+b")
    return tempfile.TemporaryFile()


def _mapped(descriptor: int) -> mmap.mmap:
    """All of it, read-only, and in memory now where the system can see to it: no pass is to wait for the disk."""
    if not os.fstat(descriptor).st_size:
        raise Damaged("it is empty")
    if hasattr(mmap, "MAP_POPULATE"):
        return mmap.mmap(descriptor, 0, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE, prot=mmap.PROT_READ)
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)


def _contents(mapped: memoryview) -> Contents:
    if len(mapped) < TAIL_BYTES or mapped[-len(MAGIC) :] != MAGIC:
        raise Damaged("its end is missing")
    length = int.from_bytes(mapped[-TAIL_BYTES : LENGTH_BYTES - TAIL_BYTES], "little")
    try:
        return msgspec.json.decode(mapped[-TAIL_BYTES - length : -TAIL_BYTES], type=Contents)
    except msgspec.DecodeError as error:
        raise Damaged(str(error)) from error


def _decoder(contents: Contents, dtype: Any, array: Callable[[Span], Array]) -> Decoder:
    def maybe(span: Span | None) -> Array | None:
        return None if span is None else array(span)

    def matrix(spans: MatrixSpans) -> Matrix:
        return Matrix([array(span) for span in spans.blocks], maybe(spans.bias))

    head = matrix(contents.head)
    table = maybe(contents.embedding)
    embedding = head.columns_at if table is None else lambda tokens: table[tokens]
    places = maybe(contents.places)
    layers = [
        Layer(matrix(one.qkv), maybe(one.head_norm), matrix(one.out), matrix(one.up), matrix(one.down))
        for one in contents.layers
    ]
    return Decoder(
        contents.shape,
        layers,
        without(embedding) if places is None else learned(embedding, places),
        None if contents.turns is None else Rotation(*map(array, contents.turns)),
        ACTIVATIONS[contents.activation],
        (array(contents.norm), maybe(contents.norm_bias)),
        head,
        dtype,
    )
