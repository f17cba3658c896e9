"""Mappings: how a product is cut into tiles and put on the array, and which are worth a look.

A mapping names its dataflow, the sums that a USPE interleaves, and the tile that the buffers hold.
`candidates` lists the mappings that fit an accelerator's buffers; what each costs is for a timing
model to say.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nofm.dataflow.accelerator import HARDWARE
from nofm.dataflow.products import PRODUCT
from nofm.kernels.tiered import helper, integers, tiered

Records = np.ndarray[Any, Any]

MAPPING = integers(
    "hardware",
    "product",
    "dataflow",
    "interleave",
    "tile_count",
    "tile_m",
    "tile_length",
    "tile_n",
    "m_outer",
)
"""One mapping of product `product` on hardware `hardware` (indices).

`dataflow` is 0 for WS and 1 for OS; a tile is `tile_count` products of
[tile_m, taps x tile_length] x [.., tile_n]. Tiles run reduction innermost, then columns if
`m_outer`, else rows.
"""

WS, OS = 0, 1
PATIENCE = 2_000
"""Products that a process interprets before it compiles: a few seconds' worth."""
MOST = 48
"""Most candidates for one product on one accelerator."""
LEVELS = 3
"""Tile widths tried for each dataflow: the largest that fits, and its halves."""


@helper
def _ceil(a: int, b: int) -> int:
    return -(-a // b)


@helper
def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


@helper
def _balanced(whole: int, most: int, multiple: int) -> int:
    """The size of equal tiles no larger than `most`, rounded up to a multiple where that fits."""
    tiles = -(-whole // most)
    tile = _round_up(-(-whole // tiles), multiple)
    return min(tile, most, whole)


@helper
def _kept(pr: Any, length: int) -> int:
    return length // pr.keep_m * pr.keep_n + min(length % pr.keep_m, pr.keep_n)


@helper
def _footprint(pr: Any, positions: int) -> int:
    """Elements of one channel that `positions` consecutive positions of a feature map read."""
    if pr.image_positions == 0:
        return positions
    whole = positions // pr.image_positions
    rest = positions - whole * pr.image_positions
    rows = 0
    if rest > 0:
        rows = (-(-rest // pr.image_out_width) - 1) * pr.image_stride + pr.image_extent
        rows = min(rows, pr.image_in_height)
    return (whole * pr.image_in_height + rows) * pr.image_in_width


@helper
def _most_positions(pr: Any, elements: int) -> int:
    """Most consecutive positions whose footprint has at most `elements`."""
    if pr.image_positions == 0:
        return elements
    image = pr.image_in_height * pr.image_in_width
    if elements >= image:
        return elements // image * pr.image_positions
    rows = elements // pr.image_in_width
    if rows < pr.image_extent:
        return 0
    out_rows = (rows - pr.image_extent) // pr.image_stride + 1
    return min(out_rows * pr.image_out_width, pr.image_positions)


@helper
def _left_elements(pr: Any, m: int, length: int) -> int:
    if pr.image_axis == 0:
        if pr.image_positions == 0:
            return m * pr.taps * length
        return _footprint(pr, m) * length
    if pr.image_axis == 1:
        return _footprint(pr, length) * -(-m // pr.image_taps)
    return m * pr.taps * length


@helper
def _right_elements(pr: Any, length: int, n: int) -> int:
    if pr.image_axis == 2 and pr.image_positions > 0:
        return _footprint(pr, n) * _kept(pr, length)
    return pr.taps * _kept(pr, length) * n


@helper
def _fits(hw: Any, pr: Any, count: int, m: int, length: int, n: int) -> bool:
    return (
        count * _left_elements(pr, m, length) * hw.operand_bits <= 8 * hw.activation_bank_bytes
        and count * _right_elements(pr, length, n) * (hw.operand_bits + pr.index_bits)
        <= 8 * hw.weight_bank_bytes
        and count * m * n * hw.accumulator_bits <= 8 * hw.output_bank_bytes
    )


@helper
def _most_m(hw: Any, pr: Any, length: int, n: int) -> int:
    """Most rows of a tile that the activation and output banks hold."""
    elements = 8 * hw.activation_bank_bytes // hw.operand_bits
    most = 8 * hw.output_bank_bytes // (n * hw.accumulator_bits)
    if pr.image_axis == 0:
        if pr.image_positions == 0:
            most = min(most, elements // (pr.taps * length))
        else:
            most = min(most, _most_positions(pr, elements // length))
    elif pr.image_axis == 1:
        most = min(most, elements // _footprint(pr, length) * pr.image_taps)
    else:
        most = min(most, elements // (pr.taps * length))
    return min(most, pr.m)


@helper
def _most_length(hw: Any, pr: Any, m: int, n: int, multiple: int) -> int:
    """Longest run of a tile that the activation and weight banks hold."""
    elements = 8 * hw.activation_bank_bytes // hw.operand_bits
    kept = 8 * hw.weight_bank_bytes // (hw.operand_bits + pr.index_bits)
    if pr.image_axis == 2 and pr.image_positions > 0:
        kept = kept // max(1, _footprint(pr, n))
    else:
        kept = kept // (pr.taps * n)
    most = kept // pr.keep_n * pr.keep_m
    if pr.image_axis == 1:
        room = elements // -(-m // pr.image_taps)
        # `_most_positions` takes whole maps; a group may end within one, and fit all the same.
        if most < pr.keep_m or _footprint(pr, pr.keep_m) > room:
            most = min(most, _most_positions(pr, room))
        else:
            most = min(most, max(pr.keep_m, _most_positions(pr, room)))
    else:
        rows = _footprint(pr, m) if pr.image_axis == 0 and pr.image_positions > 0 else m * pr.taps
        most = min(most, elements // rows)
    if most >= pr.length:
        return pr.length
    if most >= multiple:
        return most // multiple * multiple
    return most // pr.keep_m * pr.keep_m


@helper
def _add(
    hw: Any,
    pr: Any,
    out: Any,
    first: int,
    at: int,
    dataflow: int,
    v: int,
    m: int,
    length: int,
    n: int,
) -> int:
    """Write one candidate if it fits and is new; give the next free place.

    The candidates of this product stand from `first` on.
    """
    if m < 1 or length < 1 or n < 1 or at == first + MOST:
        return at
    for j in range(first, at):
        other = out[j]
        if (
            other.dataflow == dataflow
            and other.interleave == v
            and other.tile_m == m
            and other.tile_length == length
            and other.tile_n == n
        ):
            return at
    if not _fits(hw, pr, 1, m, length, n):
        return at
    count = 1
    if pr.count > 1 and m == pr.m and length == pr.length and n == pr.n:
        # Small independent products share a tile.
        count = min(
            pr.count,
            8 * hw.activation_bank_bytes // (_left_elements(pr, m, length) * hw.operand_bits),
            8
            * hw.weight_bank_bytes
            // (_right_elements(pr, length, n) * (hw.operand_bits + pr.index_bits)),
            8 * hw.output_bank_bytes // (m * n * hw.accumulator_bits),
        )
        count = _balanced(pr.count, count, 1)
    # The loop order that moves less: rows outside reads the right operand once for each row tile,
    # columns outside the left one once for each column tile.
    m_outer = 1
    if m < pr.m and n < pr.n:
        # In floating point: both times a number of tiles may pass 63 bits.
        left = 1.0 * _left_elements(pr, pr.m, pr.length) * hw.operand_bits
        right = 1.0 * _right_elements(pr, pr.length, pr.n) * (hw.operand_bits + pr.index_bits)
        m_outer = int(left + right * _ceil(pr.m, m) <= right + left * _ceil(pr.n, n))
    place = out[at]
    place.dataflow = dataflow
    place.interleave = v
    place.tile_count = count
    place.tile_m = m
    place.tile_length = length
    place.tile_n = n
    place.m_outer = m_outer
    return at + 1


@helper
def _interleave(hw: Any, pr: Any, m: int) -> int:
    """Rows in a block: the fewest that issue `m` rows as fast as can be, for a larger block takes
    longer to come in and to pass on."""
    if pr.keep_n == 1:
        return 1
    port = _ceil(pr.keep_m, hw.group_port_elements)
    best, fastest, least = 1, 0, m * max(pr.keep_n, port)
    for v in range(1, min(m, hw.interleave) + 1):
        cycles = _ceil(m, v) * max(pr.keep_n * max(v, hw.adder_cycles), v * port)
        if v == 1 or cycles < fastest:
            best, fastest = v, cycles
            if cycles == least:
                break
    return best


@helper
def _length_multiple(hw: Any, pr: Any) -> int:
    """Run lengths whose groups fill whole array rows."""
    a, b = hw.rows, pr.taps
    while b:
        a, b = b, a % b
    return pr.keep_m * (hw.rows // a)


@helper
def _ws(hw: Any, pr: Any, out: Any, first: int) -> int:
    at = first
    if pr.keep_n > hw.weight_registers:
        return at
    multiple = _length_multiple(hw, pr)
    n = pr.n
    levels = 0
    while levels < LEVELS:
        found = at
        # Long reductions first: sums leave the array only once.
        rows = min(pr.m, hw.rows)
        length = _most_length(hw, pr, rows, n, multiple)
        while length < 1 and rows > 1 and n <= hw.columns:
            rows = -(-rows // 2)
            length = _most_length(hw, pr, rows, n, multiple)
        if length >= 1:
            length = _balanced(pr.length, length, multiple)
            m = _most_m(hw, pr, length, n)
            if m >= 1:
                if pr.image_axis != 0 or pr.image_positions == 0:
                    m = _balanced(pr.m, m, pr.image_taps if pr.image_axis == 1 else 1)
                v = _interleave(hw, pr, m)
                at = _add(hw, pr, out, first, at, WS, v, m, length, n)
        # Then as many rows as the output bank holds: operands are read fewer times.
        m = min(pr.m, 8 * hw.output_bank_bytes // (n * hw.accumulator_bits))
        if m >= 1:
            m = _balanced(pr.m, m, pr.image_taps if pr.image_axis == 1 else 1)
            length = _most_length(hw, pr, m, n, multiple)
            if length >= 1:
                length = _balanced(pr.length, length, multiple)
                v = _interleave(hw, pr, m)
                at = _add(hw, pr, out, first, at, WS, v, m, length, n)
        if at > found:
            levels += 1
        if n <= hw.columns:
            return at
        n = min(n - 1, max(hw.columns, _round_up(-(-n // 2), hw.columns)))
    return at


@helper
def _os_with(hw: Any, pr: Any, out: Any, first: int, at: int, v: int) -> int:
    fold = hw.columns * v
    n = pr.n
    levels = 0
    while levels < LEVELS:
        found = at
        m = _most_m(hw, pr, pr.length, n)
        if m >= 1:
            if m >= hw.rows and (pr.image_axis != 0 or pr.image_positions == 0):
                m = _balanced(pr.m, m // hw.rows * hw.rows, hw.rows)
            at = _add(hw, pr, out, first, at, OS, v, m, pr.length, n)
        if at > found:
            levels += 1
        if n <= fold:
            break
        n = min(n - 1, max(fold, _round_up(-(-n // 2), fold)))
    # One fold at a time, the reduction cut to what fits: the sums stay in the array.
    n = min(pr.n, fold)
    m = min(pr.m, hw.rows, 8 * hw.output_bank_bytes // (n * hw.accumulator_bits))
    if m < 1:
        return at
    length = _most_length(hw, pr, m, n, pr.keep_m)
    while length < 1 and m > 1:
        m = -(-m // 2)
        length = _most_length(hw, pr, m, n, pr.keep_m)
    if length >= 1:
        length = _balanced(pr.length, length, pr.keep_m)
        at = _add(hw, pr, out, first, at, OS, v, m, length, n)
    return at


@helper
def _os(hw: Any, pr: Any, out: Any, first: int, at: int) -> int:
    # As many interleaved sums as the columns divide into evenly, then just enough for the adder.
    folds = _ceil(pr.n, hw.columns * hw.interleave)
    even = _ceil(_ceil(pr.n, folds), hw.columns)
    at = _os_with(hw, pr, out, first, at, even)
    enough = min(hw.adder_cycles, hw.interleave)
    if enough < even:
        at = _os_with(hw, pr, out, first, at, enough)
    return at


@tiered(PATIENCE)
def _candidates(hardware: Any, products: Any, allowed: Any, out: Any, firsts: Any) -> None:
    at = 0
    for h in range(len(hardware)):
        for p in range(len(products)):
            hw, pr = hardware[h], products[p]
            first = at
            firsts[h * len(products) + p] = first
            if hw.has_ws and allowed[p, WS]:
                at = _ws(hw, pr, out, first)
            if hw.has_os and allowed[p, OS]:
                at = _os(hw, pr, out, first, at)
            for j in range(first, at):
                out[j].hardware = h
                out[j].product = p
    firsts[len(hardware) * len(products)] = at


def candidates(
    hardware: Records,
    products: Records,
    allowed: np.ndarray[Any, np.dtype[np.bool_]] | None = None,
    room: Records | None = None,
) -> tuple[Records, np.ndarray[Any, np.dtype[np.int64]]]:
    """Mappings worth a look, for every product on every hardware.

    Args:
        hardware: `HARDWARE` [h].
        products: `PRODUCT` [p].
        allowed: bool [p, 2]: whether WS and OS may be used; everything when None.
        room: `MAPPING` [h * p * MOST] or more to write to, where many calls follow each other.

    Returns:
        `MAPPING` [x], and int64 [h * p + 1]: the candidates of product p on hardware h are
        those from entry h * len(products) + p to the next. There may be none: the buffers then
        hold no tile.
    """
    if hardware.dtype != HARDWARE or products.dtype != PRODUCT:
        raise TypeError("candidates takes HARDWARE and PRODUCT records")
    if allowed is None:
        allowed = np.ones((len(products), 2), np.bool_)
    pairs = len(hardware) * len(products)
    out = np.zeros(pairs * MOST, MAPPING) if room is None else room[: pairs * MOST]
    firsts = np.zeros(pairs + 1, np.int64)
    _candidates(pairs, hardware, products, allowed, out, firsts)
    return out[: firsts[-1]], firsts
