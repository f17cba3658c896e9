"""How a buffer's layout is chosen: by the cycles in which its banks serve what lanes ask for.

Correctness never depends on it. Word k of a buffer lies in bank (low + skew high) mod banks, where
low = k mod banks and high = floor(k / banks); a bank serves one word a cycle, to all lanes that
want it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nofm.rtl.program.walk import Nest

Places = np.ndarray[Any, np.dtype[np.int64]]

LOOKED_AT = 16
"""Passes of each of the two walks, at most, that a layout is judged by."""


def cycles(addresses: Places, banks: int, skew: int, port: int = 1) -> int:
    """Cycles in which requests are served, one after the other.

    Args:
        addresses: int64 [requests, lanes], elements.
        port: elements of a word.
    """
    return int(served(addresses, np.ones(addresses.shape, np.bool_), banks, skew, port).sum())


def served(
    addresses: Places, reads: np.ndarray[Any, np.dtype[np.bool_]], banks: int, skew: int, port: int
) -> Places:
    """Cycles of each request, int64 [requests]: as many words as it wants of the bank that it wants
    most of; 1 where it reads nothing.

    Args:
        addresses: int64 [requests, lanes], elements.
        reads: bool [requests, lanes]: lanes that read.
        port: elements of a word.
    """
    words = np.sort(np.where(reads, addresses // port, -1), axis=1)
    new = words >= 0
    new[:, 1:] &= words[:, 1:] != words[:, :-1]
    low, high = words % banks, words // banks
    bank = (low + skew * high) % banks
    requests = np.arange(len(words))[:, np.newaxis] * banks
    wanted = np.bincount((requests + bank)[new], minlength=len(words) * banks)
    return np.maximum(1, wanted.reshape(-1, banks).max(axis=1))


def places(nest: Nest, name: str, passes: Places) -> Places:
    """Where a place stands in some passes of a walk, int64."""
    passes = passes + nest.first
    at = np.full(passes.shape, nest.start.get(name, 0), np.int64)
    for i, loop in enumerate(nest.loops):
        done = passes % loop.count if i + 1 < len(nest.loops) else passes
        at += done * loop.strides.get(name, 0)
        passes = passes // loop.count
    return at


def asked(held: Nest, inner: Nest, name: str, lanes: int) -> Places:
    """Addresses that lanes ask for in some of the requests of a feed, int64 [requests, lanes].

    Args:
        name: the place that is the address.
    """
    folds = max(1, held.passes // lanes)
    fold = np.unique(np.linspace(0, folds - 1, min(folds, LOOKED_AT)).astype(np.int64))
    lane = np.arange(min(lanes, held.passes))
    where = places(held, name, fold[:, np.newaxis] * lanes + lane)
    last = inner.passes - 1
    some = np.unique(np.linspace(0, last, min(last + 1, LOOKED_AT)).astype(np.int64))
    found = where[:, np.newaxis, :] + places(inner, name, some)[np.newaxis, :, np.newaxis]
    return found.reshape(-1, found.shape[-1])
