"""Queues of a chip: a client's words on their way, and elements that are regrouped."""

from __future__ import annotations

from typing import Any

from nofm.kernels.tiered import helper, integers

RING = 1024
"""Places of a ring of things under way: more than can be."""

BUFFER = 4
"""Places of a queue between a stream and a unit."""

ELASTIC = 4
"""Places of a queue before or behind an engine."""

AHEAD = 8
"""Beats on their way to the lanes of the vector and the update unit."""

# Numba sees no strings: numbers of what is named above.
_LOAD_A, _LOAD_W, _ARRAY, _FEED_A, _FEED_W, _COLLECT, _STORE, _VECTOR, _UPDATE, _PRUNE = range(10)
CLIENT = integers(
    # The walk over runs: next one, end, cycle from which on they come, elements less one.
    *("run", "end", "first", "length"),
    # The command that is cut into chunks: whether there is one, its address, what is left.
    *("command", "at", "left"),
    # Words of its queue that are not asked for (read) or not taken (write); the queue's level, the
    # register behind it, and all words that left and came.
    *("room", "level", "out", "left_words", "came"),
)

REGROUP = integers(
    *("room", "written", "level"),
    # The group on its way out, and the one that stands there.
    *("full", "full_with", "full_count", "out", "out_with", "out_count"),
)


@helper
def leave(client: Any, ready: Any) -> Any:
    """A cycle at the end of a client's queue, which is deep: whether a word leaves."""
    leaves = client.out and ready
    pops = client.level > 0 and (ready or not client.out)
    client.level -= pops
    client.out = pops or (client.out and not ready)
    client.left_words += leaves
    return leaves


@helper
def regroup(r: Any, comes: Any, size: Any, beside: Any, out_ready: Any) -> Any:
    """A cycle of a `Regroup`: whether a size is taken.

    Args:
        comes: elements that come.
        size: elements of the next group, less one, or -1.
        beside: what goes with it.
        out_ready: whether a group that stands at the output leaves.
    """
    step = r.full and (not r.out or out_ready)
    takes = size >= 0 and r.level > size and (not r.full or step)
    leaves = size + 1 if takes else 0
    r.room += leaves - comes
    r.level += r.written - leaves
    r.written = comes
    if step:
        r.out, r.out_with, r.out_count = 1, r.full_with, r.full_count
    elif out_ready:
        r.out = 0
    if takes:
        r.full, r.full_with, r.full_count = 1, beside, size
    elif step:
        r.full = 0
    return takes


@helper
def capacity(most: Any) -> Any:
    """Elements that a `Regroup` holds, of which so many come or leave at once at most."""
    lanes = 2
    while lanes < most:
        lanes *= 2
    return 4 * lanes


@helper
def cut(f: Any, elements: Any, runs: Any, comes: Any, most: Any, out_ready: Any) -> None:
    """A cycle in which runs, one after the other, are cut into groups of at most `most` elements.

    Args:
        f: a record with `active`, `left`, and the `head` and `tail` of `runs`.
        elements: the `REGROUP` that they come to.
        runs: lengths of runs, less one.
        comes: elements that come.
        out_ready: whether a group that stands at the output leaves.
    """
    ends = f.left < most
    asked = min(f.left, most - 1) if f.active else -1
    asks = regroup(elements, comes, asked, 0, out_ready)
    if f.head < f.tail and (not f.active or (asks and ends)):
        f.active, f.left = 1, runs[f.head % RING]
        f.head += 1
    elif asks:
        f.active = not ends
        f.left -= most
