"""Which rows are which, from one night to the next: a number for each, made of what it holds."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from pipeline.data import Dataset
from pipeline.lazy_rows import LazyRows, is_sparse, made_dense_later, mapped
from pipeline.nest import parts

MIX = np.uint64(0x9E3779B97F4A7C15)
"""The golden ratio as an odd number of 64 bits, as in Knuth's multiplicative hashing."""


def identities(data: Dataset) -> np.ndarray:
    """Return a number for each row, [n_rows] of 64 bits: of its group, or else of its x.

    Not of its y: who has seen a row has seen it, whatever it was labelled. Equal rows have one
    number. Parts of a nest count in the order of their names.
    """
    if data.groups is not None:
        return _of_rows(np.asarray(data.groups).astype(object)[:, np.newaxis])
    numbers = np.zeros(data.n_rows, np.uint64)
    for _, part in sorted(parts("x", data.x).items()):
        numbers = numbers * MIX + _of_part(part)
    return numbers


def _of_part(part: Any) -> np.ndarray:
    if hasattr(part, "iloc"):
        from pandas.util import hash_pandas_object

        return hash_pandas_object(part, index=False).to_numpy()
    if is_sparse(part):
        part = made_dense_later(part)
    rows = part if isinstance(part, LazyRows) else mapped(part)
    return np.concatenate([_of_rows(block) for block in rows.blocks()])


def _of_rows(block: np.ndarray) -> np.ndarray:
    if block.dtype.hasobject:
        texts = [repr(row.tolist()).encode() for row in block.reshape(len(block), -1)]
    else:
        texts = [row.tobytes() for row in np.ascontiguousarray(block)]
    digests = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, np.uint64)
