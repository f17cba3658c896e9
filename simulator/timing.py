"""Closed-form time of a product on the array and through the tile pipeline.

Everything here is compiled, plain integers; docs/timing.md derives each formula. The functions
stand in one file because Numba's cache watches only the file that a function is in.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nofm.dataflow.accelerator import HARDWARE
from nofm.dataflow.jobs import ENGINES
from nofm.dataflow.mapping import MAPPING, MOST, OS, WS, candidates
from nofm.dataflow.products import ALONG_REDUCTION, PRODUCT
from nofm.dataflow.schedule import MAX_CYCLES, PATIENT, SPLITS
from nofm.kernels.tiered import helper, integers, tiered

Records = np.ndarray[Any, Any]
Cycles = tuple[int, int, int, int, int, int, int, int]
"""Cycles of a job on the array, then their `PARTS`."""

PARTS = (
    "issue",
    "interleave",
    "activation_port",
    "weight_load",
    "accumulate",
    "drain",
    "fill",
)
"""What `array_cycles` splits a job's cycles into, after their total."""

COST = integers(
    "cycles",
    *PARTS,
    "dram_read",
    "dram_write",
    "left_bytes",
    "right_bytes",
    "out_bytes",
    "buffer_bytes",
    "steps",
)
"""What a mapping costs: cycles = the `PARTS` + `dram_read` + `dram_write` (cycles that DRAM
transfers add); DRAM bytes by operand; bytes to and from the buffers; steps of the tile pipeline.
A mapping whose cycles or bytes may not fit 63 bits costs MAX_CYCLES, and the rest is 0."""

PATIENCE = 10_000
"""Mappings, or jobs, that a process interprets before it compiles: a few seconds' worth."""
MAX_TILE_CYCLES = 2**47
"""A tile that takes longer is not counted: times a numerator of DRAM cycles, it fits 63 bits."""
# Columns of scratch space, a row for each mapping at work. First the sides of its tiles, two
# columns each, for a tile's side depends only on whether the tile is the last one (1) along it or
# not (0). Folds along m are blocks of rows in WS, those along the reduction are groups in OS.
COUNT, M, M_FOLDS, N, N_FOLDS, LAST_V, LENGTH, K_FOLDS = range(0, 16, 2)
# Array cycles and transfers by kind of tile: of each side, whether it is the last.
JOBS, LEFTS, RIGHTS, OUTS = 16, 32, 40, 48
# Numbers of tiles; a tile's shortest and longest time on the array, and that of all tiles
# together (0 where it may not fit 63 bits).
C_TILES, M_TILES, N_TILES, K_TILES, SHORTEST, LONGEST, WORK = range(56, 63)
# What the mapping costs.
CYCLES, READ, WRITE, LEFT, RIGHT, OUT, MOVED, BUFFERED = range(63, 71)
COLUMNS = 71
VECTOR, WUVE, SORE, WUVE_SORE = map(ENGINES.index, ("vector", "wuve", "sore", "wuve+sore"))

ENGINE_JOB = integers(
    "engine",
    "elements",
    "both_forms",
    "group",
    "taps",
    "length",
    "columns",
    "read_bytes",
    "written_bytes",
)
"""A streaming job of an engine, numbered as in `dataflow.jobs.ENGINES`: elements that it takes; if
they pass the pruner, whether it makes both compressed forms, M, and the matrix that they are."""


@helper
def _ceil(a: int, b: int) -> int:
    return (a + b - 1) // b


@helper
def _ws_time(
    hw: Any,
    v: int,
    n: int,
    port: int,
    count: int,
    m: int,
    blocks: int,
    columns: int,
    column_folds: int,
    group_folds: int,
) -> tuple[int, int, int, int, int]:
    """Cycles of a WS job: `blocks` = ceil(m / v) blocks a fold, `port` cycles for a group to come
    in. Then what its parts follow from: the cycles of a block, the first fold's start, from the
    first fold of a pass over the columns to its last one, and the wait between passes."""
    rows, cols, adder = hw.rows, hw.columns, hw.adder_cycles
    p = 1 if n == 1 else max(v, adder)
    d = (n - 1) * p + adder
    block = max(n * p, v * port)
    duration = blocks * block
    first = min(columns, cols) * n
    last = (columns - (column_folds - 1) * cols) * n

    # One pass over the columns: from the first fold's start to the last one's, then to the next
    # pass. Loads hide behind the fold before.
    across = 0
    if column_folds > 1:
        across = (column_folds - 2) * max(duration, first) + max(duration, last)
    wrap = max(duration, first)
    wait = max(0, rows * d + hw.accumulator_cycles - across - wrap)
    passes = count * group_folds
    start = max(first, v * port)
    last_start = start + passes * across + (passes - 1) * wrap + count * (group_folds - 1) * wait
    tail = (
        (blocks - 1) * block
        + (n - 1) * p
        + (m - 1 - (blocks - 1) * v)
        + (rows - 1) * d
        + (cols - 1)
        + hw.multiplier_cycles
        + adder
        + hw.accumulator_cycles
    )
    return last_start + tail, block, start, across, wait


@helper
def _ws_cycles(
    hw: Any,
    v: int,
    n: int,
    port: int,
    count: int,
    m: int,
    blocks: int,
    columns: int,
    column_folds: int,
    group_folds: int,
) -> Cycles:
    """Cycles of a WS job and their parts."""
    total, block, start, across, wait = _ws_time(
        hw, v, n, port, count, m, blocks, columns, column_folds, group_folds
    )
    p = 1 if n == 1 else max(v, hw.adder_cycles)
    passes = count * group_folds
    folds = passes * column_folds
    duration, first = blocks * block, min(columns, hw.columns) * n
    hidden = (column_folds - 1) * duration
    issue = folds * n * m
    # What the last block of the job would take after its last slot is the time of the fill.
    interleave = folds * (blocks * n * p - n * m) - (p - 1 - (m - 1 - (blocks - 1) * v))
    activation_port = (folds * blocks - 1) * (block - n * p) + start - first
    weight_load = first + passes * (across - hidden) + (passes - 1) * max(0, first - duration)
    accumulate = count * (group_folds - 1) * wait
    fill = total - issue - interleave - activation_port - weight_load - accumulate
    return total, issue, interleave, activation_port, weight_load, accumulate, 0, fill


@helper
def _os_time(
    hw: Any,
    v: int,
    n: int,
    port: int,
    passes: int,
    groups: int,
    column_folds: int,
    v_last: int,
) -> int:
    """Cycles of an OS job: `passes` row folds, each of which goes through the columns; the last
    column fold interleaves `v_last` sums."""
    rows, adder = hw.rows, hw.adder_cycles
    d = groups * max(n * max(v, adder), port)
    d_last = groups * max(n * max(v_last, adder), port)
    if column_folds == 1:
        end = d_last + (passes - 1) * max(d_last, rows * v_last)
    else:
        end = d + passes * (column_folds - 2) * max(d, rows * v)
        end += passes * max(d_last, rows * v)
        end += (passes - 1) * max(d, rows * v_last)
    return (
        port
        + end
        + (rows - 1)
        + (hw.columns - 1)
        + hw.multiplier_cycles
        + adder
        - 1
        + rows * v_last
        - 1
        + hw.accumulator_cycles
    )


@helper
def _os_held_time(
    hw: Any,
    v: int,
    n: int,
    port: int,
    passes: int,
    groups: int,
    column_folds: int,
    v_last: int,
) -> int:
    """Cycles of an OS job that neither fills nor drains: the next one's operands follow at once."""
    block = max(n * max(v, hw.adder_cycles), port)
    block_last = max(n * max(v_last, hw.adder_cycles), port)
    return port + passes * groups * ((column_folds - 1) * block + block_last)


@helper
def _os_cycles(
    hw: Any,
    v: int,
    n: int,
    port: int,
    passes: int,
    groups: int,
    column_folds: int,
    v_last: int,
    held: bool,
) -> Cycles:
    """Cycles of an OS job, held (`_os_held_time`) or not, and their parts."""
    adder = hw.adder_cycles
    p, p_last = max(v, adder), max(v_last, adder)
    block, block_last = max(n * p, port), max(n * p_last, port)
    last = passes * groups
    full = last * (column_folds - 1)
    issue = full * n * v + last * n * v_last
    interleave = full * n * (p - v) + last * n * (p_last - v_last)
    activation_port = full * (block - n * p) + last * (block_last - n * p_last) + port
    if held:
        total = _os_held_time(hw, v, n, port, passes, groups, column_folds, v_last)
        return total, issue, interleave, activation_port, 0, 0, 0, 0
    total = _os_time(hw, v, n, port, passes, groups, column_folds, v_last)
    d, d_last, rows = groups * block, groups * block_last, hw.rows
    if column_folds == 1:
        waits = (passes - 1) * max(0, rows * v_last - d_last)
    else:
        waits = passes * (column_folds - 2) * max(0, rows * v - d)
        waits += passes * max(0, rows * v - d_last)
        waits += (passes - 1) * max(0, rows * v_last - d)
    drain = waits + rows * v_last
    fill = total - issue - interleave - activation_port - drain
    return total, issue, interleave, activation_port, 0, 0, drain, fill


@helper
def _ws_v(v: int, n: int) -> int:
    """Interleaved sums in WS, where a USPE that adds once to each needs none."""
    return 1 if n == 1 else v


@helper
def _last_v(columns: int, folds: int, v: int, cols: int) -> int:
    """Interleaved sums of the last column fold in OS."""
    return _ceil(columns - (folds - 1) * cols * v, cols)


def array_cycles(
    hardware: Records,
    dataflow: int,
    interleave: int,
    n: int,
    m_group: int,
    count: int,
    m: int,
    taps: int,
    length: int,
    columns: int,
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Cycles of one job on the array, operands at hand (docs/timing.md, "The array").

    Args:
        hardware: one `HARDWARE` record.
        dataflow: 0 for WS, 1 for OS.
        interleave: V, sums worked on in turn.
        n, m_group: the pattern N:M; N = M for a dense product in groups of M.
        count, m, taps, length, columns: `count` products [m, taps x length] x [.., columns].

    Returns:
        int64 [8]: the total, then the `PARTS`, which sum to it.
    """
    hw, v = np.atleast_1d(hardware)[0], interleave
    groups, port = taps * _ceil(length, m_group), _ceil(m_group, int(hw.group_port_elements))
    rows, cols = int(hw.rows), int(hw.columns)
    if dataflow == WS:
        v = _ws_v(v, n)
        folds = _ceil(columns, cols), _ceil(groups, rows)
        return np.array(
            _ws_cycles(hw, v, n, port, count, m, _ceil(m, v), columns, *folds), np.int64
        )
    column_folds = _ceil(columns, cols * v)
    passes, v_last = count * _ceil(m, rows), _last_v(columns, column_folds, v, cols)
    return np.array(
        _os_cycles(hw, v, n, port, passes, groups, column_folds, v_last, False), np.int64
    )


@helper
def _positions(pr: Any, positions: int) -> int:
    """Elements of one channel that `positions` consecutive positions of a feature map read."""
    if pr.image_positions == 0:
        return positions
    whole = positions // pr.image_positions
    rest = positions - whole * pr.image_positions
    rows = 0
    if rest > 0:
        rows = (_ceil(rest, pr.image_out_width) - 1) * pr.image_stride + pr.image_extent
        rows = min(rows, pr.image_in_height)
    return (whole * pr.image_in_height + rows) * pr.image_in_width


@helper
def _kept(pr: Any, length: int) -> int:
    return length // pr.keep_m * pr.keep_n + min(length % pr.keep_m, pr.keep_n)


@helper
def _run_bytes(runs: int, bits: int, burst: int) -> int:
    """Bytes on the bus for `runs` contiguous runs of `bits` each."""
    return runs * _ceil(bits, 8 * burst) * burst


@helper
def _left_bytes(hw: Any, pr: Any, count: int, m: int, length: int) -> int:
    bits, burst = hw.operand_bits, hw.dram_burst_bytes
    if pr.image_axis == 0:
        elements = _positions(pr, m)
        if pr.image_positions == 0:
            elements *= pr.taps
        if length == pr.length:
            return _run_bytes(count, elements * length * bits, burst)
        return _run_bytes(count * elements, length * bits, burst)
    if pr.image_axis == 1:
        elements = _positions(pr, length)
        channels = _ceil(m, pr.image_taps)
        if m == pr.m:
            return _run_bytes(count, elements * channels * bits, burst)
        return _run_bytes(count * elements, channels * bits, burst)
    return _run_bytes(count, m * pr.taps * length * bits, burst)


@helper
def _right_bytes(hw: Any, pr: Any, count: int, length: int, n: int) -> int:
    bits, burst = hw.operand_bits + pr.index_bits, hw.dram_burst_bytes
    kept = _kept(pr, length)
    if pr.image_axis == 2 and pr.image_positions > 0:
        return _run_bytes(count, _positions(pr, n) * kept * bits, burst)
    if pr.right_tiled or n == pr.n:
        return _run_bytes(count, pr.taps * kept * n * bits, burst)
    return _run_bytes(count * pr.taps * kept, n * bits, burst)


@helper
def _out_bytes(hw: Any, pr: Any, count: int, m: int, n: int) -> int:
    bits, burst = hw.operand_bits, hw.dram_burst_bytes
    # A product whose right operand is a feature map has the transpose of what lies in memory.
    runs, length, whole = (n, m, pr.m) if pr.image_axis == 2 else (m, n, pr.n)
    if pr.out_tiled or length == whole:
        return _run_bytes(count, m * n * bits, burst)
    return _run_bytes(count * runs, length * bits, burst)


@helper
def _dram_cycles(hw: Any, byte_count: int) -> int:
    # Split so that no product passes 63 bits where the result does not.
    whole = byte_count // hw.dram_cycles_denominator
    rest = byte_count - whole * hw.dram_cycles_denominator
    return whole * hw.dram_cycles_numerator + _ceil(
        rest * hw.dram_cycles_numerator, hw.dram_cycles_denominator
    )


@helper
def _size(last: int, tiles: int, tile: int, whole: int) -> int:
    return whole - (tiles - 1) * tile if last else tile


@helper
def _kinds(tiles: int) -> int:
    """Tiles of a loop fall into at most four kinds: the first, inner ones, the last but one (its
    successor may be ragged) and the last."""
    return min(tiles, 4)


@helper
def _kind_index(kind: int, tiles: int) -> int:
    """A tile of the given kind."""
    return kind if tiles <= 4 or kind < 2 else tiles - 4 + kind


@helper
def _kind_count(kind: int, tiles: int) -> int:
    """Tiles of the given kind."""
    return tiles - 3 if kind == 1 and tiles > 4 else 1


@helper
def _first(tiles: int) -> int:
    """Kinds of tiles along a side are this one to 1: there may be no other than the last."""
    return 0 if tiles > 1 else 1


@helper
def _cut(hw: Any, pr: Any, mp: Any, t: Any, at: int) -> None:
    """Numbers of tiles, and their sides."""
    c_tiles, m_tiles = _ceil(pr.count, mp.tile_count), _ceil(pr.m, mp.tile_m)
    n_tiles, k_tiles = _ceil(pr.n, mp.tile_n), _ceil(pr.length, mp.tile_length)
    weights_stay = mp.dataflow == WS
    v = _ws_v(mp.interleave, pr.keep_n) if weights_stay else mp.interleave
    row_fold = v if weights_stay else hw.rows
    fold = hw.columns if weights_stay else hw.columns * v
    for last in range(_first(c_tiles), 2):
        t[at, COUNT + last] = _size(last, c_tiles, mp.tile_count, pr.count)
    for last in range(_first(m_tiles), 2):
        m = _size(last, m_tiles, mp.tile_m, pr.m)
        t[at, M + last] = m
        t[at, M_FOLDS + last] = _ceil(m, row_fold)
    for last in range(_first(n_tiles), 2):
        n = _size(last, n_tiles, mp.tile_n, pr.n)
        folds = _ceil(n, fold)
        t[at, N + last] = n
        t[at, N_FOLDS + last] = folds
        t[at, LAST_V + last] = 0 if weights_stay else _last_v(n, folds, v, hw.columns)
    for last in range(_first(k_tiles), 2):
        length = _size(last, k_tiles, mp.tile_length, pr.length)
        groups = pr.taps * _ceil(length, pr.keep_m)
        t[at, LENGTH + last] = length
        t[at, K_FOLDS + last] = _ceil(groups, hw.rows) if weights_stay else groups
    t[at, C_TILES], t[at, M_TILES] = c_tiles, m_tiles
    t[at, N_TILES], t[at, K_TILES] = n_tiles, k_tiles


@helper
def _tiles(t: Any, at: int) -> tuple[int, int, int, int]:
    return int(t[at, C_TILES]), int(t[at, M_TILES]), int(t[at, N_TILES]), int(t[at, K_TILES])


@helper
def _held(mp: Any, k_tiles: int) -> bool:
    """An output-stationary tile whose reduction is cut keeps its sums in the array meanwhile."""
    return mp.dataflow == OS and k_tiles > 1


@helper
def _work(hw: Any, pr: Any, mp: Any, t: Any, at: int) -> None:
    """The array's cycles for each kind of tile and for all of them, which no mapping beats."""
    _cut(hw, pr, mp, t, at)
    c_tiles, m_tiles, n_tiles, k_tiles = _tiles(t, at)
    port = _ceil(pr.keep_m, hw.group_port_elements)
    weights_stay, held = mp.dataflow == WS, _held(mp, k_tiles)
    v = _ws_v(mp.interleave, pr.keep_n) if weights_stay else mp.interleave
    shortest, longest = MAX_CYCLES, 0
    for c in range(_first(c_tiles), 2):
        count = int(t[at, COUNT + c])
        for m in range(_first(m_tiles), 2):
            rows, m_folds = int(t[at, M + m]), int(t[at, M_FOLDS + m])
            for n in range(_first(n_tiles), 2):
                columns, n_folds = int(t[at, N + n]), int(t[at, N_FOLDS + n])
                v_last = int(t[at, LAST_V + n])
                for k in range(_first(k_tiles), 2):
                    k_folds = int(t[at, K_FOLDS + k])
                    if weights_stay:
                        cycles, _, _, _, _ = _ws_time(
                            hw, v, pr.keep_n, port, count, rows, m_folds, columns, n_folds, k_folds
                        )
                    elif held and k == 0:
                        cycles = _os_held_time(
                            hw, v, pr.keep_n, port, count * m_folds, k_folds, n_folds, v_last
                        )
                    else:
                        cycles = _os_time(
                            hw, v, pr.keep_n, port, count * m_folds, k_folds, n_folds, v_last
                        )
                    t[at, JOBS + 8 * c + 4 * m + 2 * n + k] = cycles
                    shortest, longest = min(shortest, cycles), max(longest, cycles)
    t[at, SHORTEST], t[at, LONGEST] = shortest, longest
    work = 0
    # In floating point, which cannot overflow.
    if 1.0 * c_tiles * m_tiles * n_tiles * k_tiles * longest < MAX_CYCLES:
        for c in range(_first(c_tiles), 2):
            times_c = 1 if c else c_tiles - 1
            for m in range(_first(m_tiles), 2):
                times_m = times_c if m else times_c * (m_tiles - 1)
                for n in range(_first(n_tiles), 2):
                    times_n = times_m if n else times_m * (n_tiles - 1)
                    kind = JOBS + 8 * c + 4 * m + 2 * n
                    work += times_n * int(t[at, kind + 1])
                    if k_tiles > 1:
                        work += times_n * (k_tiles - 1) * int(t[at, kind])
    t[at, WORK] = work


@helper
def _transfers(hw: Any, pr: Any, t: Any, at: int) -> int:
    """The bytes of each kind of tile, by operand; the most that a step may move."""
    c_tiles, m_tiles, n_tiles, k_tiles = _tiles(t, at)
    most_left = most_right = most_out = 0
    for c in range(_first(c_tiles), 2):
        count = int(t[at, COUNT + c])
        for m in range(_first(m_tiles), 2):
            rows = int(t[at, M + m])
            for k in range(_first(k_tiles), 2):
                moved = _left_bytes(hw, pr, count, rows, int(t[at, LENGTH + k]))
                t[at, LEFTS + 4 * c + 2 * m + k] = moved
                most_left = max(most_left, moved)
            for n in range(_first(n_tiles), 2):
                moved = _out_bytes(hw, pr, count, rows, int(t[at, N + n]))
                t[at, OUTS + 4 * c + 2 * m + n] = moved
                most_out = max(most_out, moved)
        for n in range(_first(n_tiles), 2):
            columns = int(t[at, N + n])
            for k in range(_first(k_tiles), 2):
                moved = _right_bytes(hw, pr, count, int(t[at, LENGTH + k]), columns)
                t[at, RIGHTS + 4 * c + 2 * n + k] = moved
                most_right = max(most_right, moved)
    return most_left + most_right + most_out


@helper
def _once(c_tiles: int, a_tiles: int, b_tiles: int, t: Any, at: int, kinds: int) -> int:
    """Bytes of an operand's tiles, each moved once."""
    total = 0
    for c in range(_first(c_tiles), 2):
        part = 0
        for a in range(_first(a_tiles), 2):
            row = int(t[at, kinds + 4 * c + 2 * a + 1])
            if b_tiles > 1:
                row += (b_tiles - 1) * int(t[at, kinds + 4 * c + 2 * a])
            part += row if a else (a_tiles - 1) * row
        total += part if c else (c_tiles - 1) * part
    return total


@helper
def _move(mp: Any, t: Any, at: int) -> None:
    """DRAM bytes of all tiles.

    A bank keeps its tile until the next one is loaded: with the whole reduction in one tile, the
    operand of the outer loop moves once, and so does the other where the inner loop has one tile.
    """
    c_tiles, m_tiles, n_tiles, k_tiles = _tiles(t, at)
    o_tiles, i_tiles = (m_tiles, n_tiles) if mp.m_outer else (n_tiles, m_tiles)
    outer = i_tiles if k_tiles > 1 else 1
    inner = o_tiles if k_tiles > 1 or i_tiles > 1 else 1
    left, right = (outer, inner) if mp.m_outer else (inner, outer)
    left *= _once(c_tiles, m_tiles, k_tiles, t, at, LEFTS)
    right *= _once(c_tiles, n_tiles, k_tiles, t, at, RIGHTS)
    written = _once(c_tiles, m_tiles, n_tiles, t, at, OUTS)
    t[at, LEFT], t[at, RIGHT], t[at, OUT] = left, right, written
    t[at, MOVED] = left + right + written


@helper
def _waits(hw: Any, mp: Any, t: Any, at: int) -> tuple[int, int]:
    """Cycles that the array waits for DRAM's reads and writes while it works on tiles."""
    c_tiles, m_tiles, n_tiles, k_tiles = _tiles(t, at)
    o_tiles, i_tiles = (m_tiles, n_tiles) if mp.m_outer else (n_tiles, m_tiles)
    latency = hw.dram_latency_cycles
    read_wait = write_wait = 0
    for kind_c in range(_kinds(c_tiles)):
        c = _kind_index(kind_c, c_tiles)
        times_c = _kind_count(kind_c, c_tiles)
        for kind_o in range(_kinds(o_tiles)):
            o = _kind_index(kind_o, o_tiles)
            times_o = times_c * _kind_count(kind_o, o_tiles)
            for kind_i in range(_kinds(i_tiles)):
                i = _kind_index(kind_i, i_tiles)
                times_i = times_o * _kind_count(kind_i, i_tiles)
                for kind_k in range(_kinds(k_tiles)):
                    k = _kind_index(kind_k, k_tiles)
                    last_c, last_k = int(c == c_tiles - 1), int(k == k_tiles - 1)
                    last_o, last_i = int(o == o_tiles - 1), int(i == i_tiles - 1)
                    last_m, last_n = (last_o, last_i) if mp.m_outer else (last_i, last_o)

                    # While it runs, DRAM stores what the tile before finished ...
                    store = 0
                    if k == 0 and c + o + i > 0:
                        if i > 0:
                            before_c, before_o, before_i = last_c, last_o, 0
                        elif o > 0:
                            before_c, before_o, before_i = last_c, 0, 1
                        else:
                            before_c, before_o, before_i = 0, 1, 1
                        if mp.m_outer:
                            store = int(t[at, OUTS + 4 * before_c + 2 * before_o + before_i])
                        else:
                            store = int(t[at, OUTS + 4 * before_c + 2 * before_i + before_o])
                    # ... and loads what the next one needs and does not find in the buffers.
                    load = 0
                    next_c, next_o, next_i, next_k = c, o, i, k + 1
                    if next_k == k_tiles:
                        next_k, next_i = 0, i + 1
                        if next_i == i_tiles:
                            next_i, next_o = 0, o + 1
                            if next_o == o_tiles:
                                next_o, next_c = 0, c + 1
                    if next_c < c_tiles:
                        to_c, to_k = int(next_c == c_tiles - 1), int(next_k == k_tiles - 1)
                        to_o, to_i = int(next_o == o_tiles - 1), int(next_i == i_tiles - 1)
                        to_m, to_n = (to_o, to_i) if mp.m_outer else (to_i, to_o)
                        anew = next_c != c or k_tiles > 1
                        new_o, new_i = anew or next_o != o, anew or next_i != i
                        if new_o if mp.m_outer else new_i:
                            load = int(t[at, LEFTS + 4 * to_c + 2 * to_m + to_k])
                        if new_i if mp.m_outer else new_o:
                            load += int(t[at, RIGHTS + 4 * to_c + 2 * to_n + to_k])
                    moved = store + load
                    if moved > 0:
                        kind = 8 * last_c + 4 * last_m + 2 * last_n + last_k
                        spare = int(t[at, JOBS + kind]) - latency
                        # The same as a comparison of cycles, without its division.
                        if moved * hw.dram_cycles_numerator > spare * hw.dram_cycles_denominator:
                            times = times_i * _kind_count(kind_k, k_tiles)
                            excess = _dram_cycles(hw, moved) - spare
                            # Reads come first: what is late is the writes, up to their length.
                            late = min(excess, _dram_cycles(hw, store))
                            write_wait += times * late
                            read_wait += times * (excess - late)
    return read_wait, write_wait


@helper
def _look(hw: Any, pr: Any, mp: Any, t: Any, at: int) -> None:
    """What a mapping costs whose work is known; MAX_CYCLES and zeros where that may not fit 63
    bits."""
    c_tiles, m_tiles, n_tiles, k_tiles = _tiles(t, at)
    shortest, longest = int(t[at, SHORTEST]), int(t[at, LONGEST])
    latency = hw.dram_latency_cycles
    most = _transfers(hw, pr, t, at)
    # An upper bound in floating point, which cannot overflow.
    slowest = longest + latency + _dram_cycles(hw, most)
    steps = 1.0 * c_tiles * m_tiles * n_tiles * k_tiles + 2
    buffered = _buffer_bytes(hw, pr, mp, pr.keep_m, k_tiles, m_tiles)
    if longest > MAX_TILE_CYCLES or steps * max(slowest, most) + buffered >= MAX_CYCLES:
        t[at, CYCLES] = MAX_CYCLES
        for column in range(CYCLES + 1, COLUMNS):
            t[at, column] = 0
        return

    _move(mp, t, at)
    read_wait = write_wait = 0
    # Where the most that may move hides behind the shortest tile, nothing waits.
    if most * hw.dram_cycles_numerator > (shortest - latency) * hw.dram_cycles_denominator:
        read_wait, write_wait = _waits(hw, mp, t, at)
    # Before the first tile and after the last one nothing runs that could hide the transfer.
    first_c, first_m = _first(c_tiles), _first(m_tiles)
    first_n, first_k = _first(n_tiles), _first(k_tiles)
    load = int(t[at, LEFTS + 4 * first_c + 2 * first_m + first_k])
    load += int(t[at, RIGHTS + 4 * first_c + 2 * first_n + first_k])
    read_wait += latency + _dram_cycles(hw, load)
    write_wait += latency + _dram_cycles(hw, int(t[at, OUTS + 7]))
    t[at, READ], t[at, WRITE] = read_wait, write_wait
    t[at, CYCLES] = int(t[at, WORK]) + read_wait + write_wait
    t[at, BUFFERED] = buffered + int(t[at, MOVED])


@helper
def _evaluate(hw: Any, pr: Any, mp: Any, cost: Any, t: Any) -> None:
    """All that one mapping costs; `t` [1, COLUMNS] is scratch space."""
    _work(hw, pr, mp, t, 0)
    _look(hw, pr, mp, t, 0)
    cost.cycles = t[0, CYCLES]
    if cost.cycles == MAX_CYCLES:
        return
    c_tiles, m_tiles, n_tiles, k_tiles = _tiles(t, 0)
    port = _ceil(pr.keep_m, hw.group_port_elements)
    held = _held(mp, k_tiles)
    issue = interleave = activation_port = weight_load = accumulate = drain = fill = 0
    for c in range(_first(c_tiles), 2):
        times_c = 1 if c else c_tiles - 1
        for m in range(_first(m_tiles), 2):
            times_m = times_c if m else times_c * (m_tiles - 1)
            for n in range(_first(n_tiles), 2):
                times_n = times_m if n else times_m * (n_tiles - 1)
                for k in range(_first(k_tiles), 2):
                    times = times_n if k else times_n * (k_tiles - 1)
                    job = _parts(hw, pr, mp, t, port, held and k == 0, c, m, n, k)
                    issue += times * job[1]
                    interleave += times * job[2]
                    activation_port += times * job[3]
                    weight_load += times * job[4]
                    accumulate += times * job[5]
                    drain += times * job[6]
                    fill += times * job[7]
    cost.issue = issue
    cost.interleave = interleave
    cost.activation_port = activation_port
    cost.weight_load = weight_load
    cost.accumulate = accumulate
    cost.drain = drain
    cost.fill = fill
    cost.dram_read = t[0, READ]
    cost.dram_write = t[0, WRITE]
    cost.left_bytes = t[0, LEFT]
    cost.right_bytes = t[0, RIGHT]
    cost.out_bytes = t[0, OUT]
    cost.buffer_bytes = t[0, BUFFERED]
    cost.steps = c_tiles * m_tiles * n_tiles * k_tiles


@helper
def _parts(
    hw: Any, pr: Any, mp: Any, t: Any, port: int, held: bool, c: int, m: int, n: int, k: int
) -> Cycles:
    """Array cycles of a kind of tile, and their parts."""
    count, m_folds = int(t[0, COUNT + c]), int(t[0, M_FOLDS + m])
    n_folds, k_folds = int(t[0, N_FOLDS + n]), int(t[0, K_FOLDS + k])
    if mp.dataflow == WS:
        v, rows, columns = _ws_v(mp.interleave, pr.keep_n), int(t[0, M + m]), int(t[0, N + n])
        return _ws_cycles(hw, v, pr.keep_n, port, count, rows, m_folds, columns, n_folds, k_folds)
    v, passes, v_last = mp.interleave, count * m_folds, int(t[0, LAST_V + n])
    return _os_cycles(hw, v, pr.keep_n, port, passes, k_folds, n_folds, v_last, held)


@helper
def _folds(whole: int, tile: int, fold: int) -> int:
    """Folds of all tiles of a dimension."""
    tiles = _ceil(whole, tile)
    return (tiles - 1) * _ceil(tile, fold) + _ceil(whole - (tiles - 1) * tile, fold)


@helper
def _buffer_bytes(hw: Any, pr: Any, mp: Any, keep_m: int, k_tiles: int, m_tiles: int) -> int:
    """Bytes between the buffers and the array.

    Each column fold reads all activations. WS loads the weights once for each row tile and moves
    sums to the accumulation buffer and back for each group fold; OS streams the weights for each
    row fold and moves a sum once. MAX_CYCLES where they may not fit 63 bits.
    """
    outputs = pr.count * pr.m * pr.n
    weights = pr.count * pr.taps * _kept(pr, pr.length) * pr.n
    activations = pr.count * pr.m * pr.taps * pr.length
    if mp.dataflow == WS:
        last = pr.length - (k_tiles - 1) * mp.tile_length
        folds = (k_tiles - 1) * _ceil(pr.taps * _ceil(mp.tile_length, keep_m), hw.rows)
        folds += _ceil(pr.taps * _ceil(last, keep_m), hw.rows)
        each_sum, each_weight = 2 * folds - 1, m_tiles
        each_activation = _folds(pr.n, mp.tile_n, hw.columns)
    else:
        each_sum, each_weight = 1, _folds(pr.m, mp.tile_m, hw.rows)
        each_activation = _folds(pr.n, mp.tile_n, hw.columns * mp.interleave)
    each_sum *= hw.accumulator_bits
    each_weight *= hw.operand_bits + pr.index_bits
    each_activation *= hw.operand_bits
    bits = 1.0 * outputs * each_sum + 1.0 * weights * each_weight
    if bits + 1.0 * activations * each_activation >= MAX_CYCLES:
        return MAX_CYCLES
    return (
        _ceil(outputs * each_sum, 8)
        + _ceil(weights * each_weight, 8)
        + _ceil(activations * each_activation, 8)
    )


@tiered(PATIENCE)
def _evaluate_all(hardware: Any, products: Any, mappings: Any, costs: Any) -> None:
    t = np.zeros((1, COLUMNS), np.int64)
    for i in range(len(mappings)):
        mp = mappings[i]
        hw, pr = hardware[mp.hardware], products[mp.product]
        _evaluate(hw, pr, mp, costs[i], t)


def evaluate(hardware: Records, products: Records, mappings: Records) -> Records:
    """Cost of every mapping, at several million tiles a second.

    Args:
        hardware: `HARDWARE` [h].
        products: `PRODUCT` [p].
        mappings: `MAPPING` [x]; each names its hardware and product by index.

    Returns:
        `COST` [x].
    """
    for records, dtype in (
        (hardware, HARDWARE),
        (products, PRODUCT),
        (mappings, MAPPING),
    ):
        if records.dtype != dtype or records.ndim != 1:
            raise TypeError(f"expected a one-dimensional array of {dtype.names}")
    costs = np.zeros(len(mappings), COST)
    _evaluate_all(len(mappings), hardware, products, mappings, costs)
    return costs


CHOICE = integers("cycles", "dram_bytes", "buffer_bytes")
"""What the chosen mapping of a product costs; -1 cycles where the buffers hold no tile."""


@helper
def _better(t: Any, i: int, j: int) -> bool:
    """Whether mapping i comes before mapping j: it is faster, or moves less, or stands first."""
    if t[i, CYCLES] != t[j, CYCLES]:
        return t[i, CYCLES] < t[j, CYCLES]
    if t[i, MOVED] != t[j, MOVED]:
        return t[i, MOVED] < t[j, MOVED]
    return i < j


@helper
def _promising(t: Any, i: int, fastest: int) -> bool:
    """Whether a mapping might be the fastest if it waited less for DRAM."""
    waits = t[i, READ] + t[i, WRITE]
    work = t[i, CYCLES] - waits
    return waits > work // PATIENT and work < fastest


@tiered(PATIENCE)
def _choose_all(
    hardware: Any, products: Any, mappings: Any, firsts: Any, finer: Any, chosen: Any
) -> None:
    # One more row, for a mapping with fewer rows than a candidate has.
    t = np.zeros((MOST + 1, COLUMNS), np.int64)
    fine = finer[0]
    for pair in range(len(firsts) - 1):
        first, count = firsts[pair], firsts[pair + 1] - firsts[pair]
        choice = chosen[pair]
        choice.cycles = -1
        if count == 0:
            continue
        hw, pr = hardware[mappings[first].hardware], products[mappings[first].product]
        for i in range(count):
            _work(hw, pr, mappings[first + i], t, i)
            t[i, CYCLES] = -1
        # From the one with the least work on: what works longer than the best so far takes with
        # its waits is not looked at.
        best = -1
        while True:
            at = -1
            for i in range(count):
                if t[i, CYCLES] < 0 and (at < 0 or t[i, WORK] < t[at, WORK]):
                    at = i
            if at < 0 or (best >= 0 and t[at, WORK] > t[best, CYCLES]):
                break
            _look(hw, pr, mappings[first + at], t, at)
            if best < 0 or _better(t, at, best):
                best = at
        fastest = t[best, CYCLES]
        choice.cycles = fastest
        choice.dram_bytes = t[best, MOVED]
        choice.buffer_bytes = t[best, BUFFERED]

        # The best of each dataflow is tried with fewer rows where it waits for DRAM. What was not
        # looked at works longer than the fastest takes, and cannot be promising itself, but it may
        # come before what is.
        for dataflow in range(2):
            slow = -1
            for i in range(count):
                if mappings[first + i].dataflow != dataflow or t[i, CYCLES] < 0:
                    continue
                if slow < 0 or _better(t, i, slow):
                    slow = i
            if slow < 0 or not _promising(t, slow, fastest):
                continue
            for i in range(count):
                mp = mappings[first + i]
                if mp.dataflow != dataflow or t[i, CYCLES] >= 0:
                    continue
                if t[i, WORK] <= t[slow, CYCLES]:
                    _look(hw, pr, mp, t, i)
                    if _better(t, i, slow):
                        slow = i
            if not _promising(t, slow, fastest):
                continue
            mp = mappings[first + slow]
            unit = pr.image_taps if pr.image_axis == ALONG_REDUCTION else 1
            for split in SPLITS:
                fine.dataflow = dataflow
                fine.interleave = mp.interleave
                fine.tile_count = mp.tile_count
                fine.tile_m = _ceil(mp.tile_m, split * unit) * unit
                fine.tile_length = mp.tile_length
                fine.tile_n = mp.tile_n
                fine.m_outer = mp.m_outer
                if fine.tile_m >= mp.tile_m:
                    continue
                _work(hw, pr, fine, t, MOST)
                _look(hw, pr, fine, t, MOST)
                cycles, moved = t[MOST, CYCLES], t[MOST, MOVED]
                if cycles < choice.cycles or (
                    cycles == choice.cycles and moved < choice.dram_bytes
                ):
                    choice.cycles = cycles
                    choice.dram_bytes = moved
                    choice.buffer_bytes = t[MOST, BUFFERED]


def choose(
    hardware: Records, products: Records, allowed: Records, room: Records | None = None
) -> Records:
    """What the mapping that `schedule.search` chooses costs, for every product on every hardware:
    the same choice, without a look at what cannot be the fastest.

    Args:
        hardware, products: `HARDWARE` [h], `PRODUCT` [p].
        allowed, room: as for `candidates`.

    Returns:
        `CHOICE` [h, p].
    """
    mappings, firsts = candidates(hardware, products, allowed, room)
    chosen = np.zeros(len(firsts) - 1, CHOICE)
    _choose_all(len(mappings), hardware, products, mappings, firsts, np.zeros(1, MAPPING), chosen)
    return chosen.reshape(len(hardware), len(products))


@helper
def _sore_beats(hw: Any, job: Any) -> int:
    """Cycles in which the pruner takes a matrix, or waits for a row to come out of its chain."""
    lanes = hw.sore_lanes // 2 if job.both_forms else hw.sore_lanes
    slots = _ceil(job.columns, lanes)
    # Cycles of a beat: new weights come from fewer lanes, perhaps.
    parts = 1 if job.engine == SORE else _ceil(min(lanes, job.columns), hw.wuve_lanes)
    beats = job.length * slots * parts
    if job.both_forms:
        # Column slots that end inside a group of each row, but for the last one.
        inside = slots - 1 - (slots - 1) * math.gcd(lanes, job.group) // job.group
        full, rest = job.length // job.group, job.length % job.group
        waits = full * max(0, lanes - job.group * parts)
        if rest > 0:
            waits += max(0, lanes - rest * parts)
        beats += inside * waits
    return job.taps * beats


@tiered(PATIENCE)
def _engine_all(hardware: Any, jobs: Any, out: Any) -> None:
    for h in range(len(hardware)):
        hw = hardware[h]
        for i in range(len(jobs)):
            job = jobs[i]
            if job.engine == VECTOR:
                work = _ceil(job.elements, hw.vector_lanes)
                fill = hw.vector_latency_cycles
            else:
                work = _ceil(job.elements, hw.wuve_lanes)
                fill = 0
                if job.engine != SORE:
                    fill = hw.wuve_latency_cycles
                if job.engine != WUVE:
                    work = _sore_beats(hw, job)
                    fill += hw.sore_latency_cycles
                    if job.both_forms:
                        fill += hw.sore_lanes // 2 - 1
            streamed = 1.0 * (job.read_bytes + job.written_bytes) * hw.dram_cycles_numerator
            if streamed >= 1.0 * MAX_CYCLES * hw.dram_cycles_denominator:
                out[h, i, 0] = out[h, i, 3] = MAX_CYCLES
                continue
            written = _dram_cycles(hw, job.written_bytes)
            moved = _dram_cycles(hw, job.read_bytes + job.written_bytes)
            excess = max(0, moved - work)
            late = min(excess, written)
            out[h, i, 0] = work + fill + hw.dram_latency_cycles + excess
            out[h, i, 1] = work
            out[h, i, 2] = fill
            out[h, i, 3] = excess - late + hw.dram_latency_cycles
            out[h, i, 4] = late


def engine_cycles(hardware: Records, jobs: Records) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Cycles of streaming jobs: the vector engine, WUVE, SORE, or WUVE into SORE.

    A lane takes one element a cycle while DRAM streams; the slower of the two sets the pace. In a
    chain, WUVE updates the parameters of one of SORE's beats at a time.

    Args:
        hardware: one `HARDWARE` record, or [h].
        jobs: `ENGINE_JOB` [j].

    Returns:
        int64 [j, 5], or [h, j, 5]: the total, and its parts: the lanes' work, fill, DRAM reads,
        DRAM writes. A total of MAX_CYCLES stands for a job whose cycles may not fit 63 bits.
    """
    machines = np.atleast_1d(hardware)
    out = np.zeros((len(machines), len(jobs), 5), np.int64)
    _engine_all(len(machines) * len(jobs), machines, jobs, out)
    return out.reshape(*np.shape(hardware), len(jobs), 5)
