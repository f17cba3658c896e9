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
COUNT, M, M_FOLDS, N, N_FOLDS, LAST_V, LENGTH, K_FOLDS = range(8)
"""Rows of a table of a tile's sides. Folds along m are blocks of rows in WS, those along the
reduction are groups in OS."""
CYCLES, MOVED, BUFFERED, WORK, LEAST = range(5)
"""Rows of a table of the mappings of one product: cycles (-1 while nobody has looked), bytes of
DRAM and of the buffers, cycles that the array works, and those again as found beforehand."""
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
def _cut(hw: Any, pr: Any, mp: Any, sides: Any) -> tuple[int, int, int, int]:
    """Tiles along count, m, n and the reduction.

    A tile's side depends only on whether the tile is the last one along it: each row of `sides`
    gets the value of the other tiles (if any) and that of the last.
    """
    c_tiles, m_tiles = _ceil(pr.count, mp.tile_count), _ceil(pr.m, mp.tile_m)
    n_tiles, k_tiles = _ceil(pr.n, mp.tile_n), _ceil(pr.length, mp.tile_length)
    weights_stay = mp.dataflow == WS
    v = _ws_v(mp.interleave, pr.keep_n) if weights_stay else mp.interleave
    fold = hw.columns if weights_stay else hw.columns * v
    for last in range(0 if c_tiles > 1 else 1, 2):
        sides[COUNT, last] = _size(last, c_tiles, mp.tile_count, pr.count)
    for last in range(0 if m_tiles > 1 else 1, 2):
        m = _size(last, m_tiles, mp.tile_m, pr.m)
        sides[M, last] = m
        sides[M_FOLDS, last] = _ceil(m, v if weights_stay else hw.rows)
    for last in range(0 if n_tiles > 1 else 1, 2):
        n = _size(last, n_tiles, mp.tile_n, pr.n)
        folds = _ceil(n, fold)
        sides[N, last] = n
        sides[N_FOLDS, last] = folds
        sides[LAST_V, last] = 0 if weights_stay else _last_v(n, folds, v, hw.columns)
    for last in range(0 if k_tiles > 1 else 1, 2):
        length = _size(last, k_tiles, mp.tile_length, pr.length)
        groups = pr.taps * _ceil(length, pr.keep_m)
        sides[LENGTH, last] = length
        sides[K_FOLDS, last] = _ceil(groups, hw.rows) if weights_stay else groups
    return c_tiles, m_tiles, n_tiles, k_tiles


@helper
def _tile_cycles(
    hw: Any, pr: Any, mp: Any, sides: Any, port: int, held: bool, c: int, m: int, n: int, k: int
) -> int:
    """Array time of a tile that is the last one (1) or not (0) along each side."""
    count, m_folds = int(sides[COUNT, c]), int(sides[M_FOLDS, m])
    n_folds, k_folds = int(sides[N_FOLDS, n]), int(sides[K_FOLDS, k])
    if mp.dataflow == WS:
        v, rows, columns = _ws_v(mp.interleave, pr.keep_n), int(sides[M, m]), int(sides[N, n])
        cycles, _, _, _, _ = _ws_time(
            hw, v, pr.keep_n, port, count, rows, m_folds, columns, n_folds, k_folds
        )
        return cycles
    v, passes, v_last = mp.interleave, count * m_folds, int(sides[LAST_V, n])
    if held and k == 0:
        return _os_held_time(hw, v, pr.keep_n, port, passes, k_folds, n_folds, v_last)
    return _os_time(hw, v, pr.keep_n, port, passes, k_folds, n_folds, v_last)


@helper
def _tile_parts(
    hw: Any, pr: Any, mp: Any, sides: Any, port: int, held: bool, c: int, m: int, n: int, k: int
) -> Cycles:
    """`_tile_cycles` and their parts."""
    count, m_folds = int(sides[COUNT, c]), int(sides[M_FOLDS, m])
    n_folds, k_folds = int(sides[N_FOLDS, n]), int(sides[K_FOLDS, k])
    if mp.dataflow == WS:
        v, rows, columns = _ws_v(mp.interleave, pr.keep_n), int(sides[M, m]), int(sides[N, n])
        return _ws_cycles(hw, v, pr.keep_n, port, count, rows, m_folds, columns, n_folds, k_folds)
    v, passes, v_last = mp.interleave, count * m_folds, int(sides[LAST_V, n])
    stays = held and k == 0
    return _os_cycles(hw, v, pr.keep_n, port, passes, k_folds, n_folds, v_last, stays)


@helper
def _held(mp: Any, k_tiles: int) -> bool:
    """An output-stationary tile whose reduction is cut keeps its sums in the array meanwhile."""
    return mp.dataflow == OS and k_tiles > 1


@helper
def _jobs(
    hw: Any,
    pr: Any,
    mp: Any,
    c_tiles: int,
    m_tiles: int,
    n_tiles: int,
    k_tiles: int,
    sides: Any,
    jobs: Any,
) -> tuple[int, int]:
    """The array's cycles for each kind of tile, in `jobs`; the least and the most of them."""
    port = _ceil(pr.keep_m, hw.group_port_elements)
    held = _held(mp, k_tiles)
    least, most = MAX_CYCLES, 0
    for c in range(0 if c_tiles > 1 else 1, 2):
        for m in range(0 if m_tiles > 1 else 1, 2):
            for n in range(0 if n_tiles > 1 else 1, 2):
                for k in range(0 if k_tiles > 1 else 1, 2):
                    cycles = _tile_cycles(hw, pr, mp, sides, port, held, c, m, n, k)
                    jobs[8 * c + 4 * m + 2 * n + k] = cycles
                    least, most = min(least, cycles), max(most, cycles)
    return least, most


@helper
def _together(c_tiles: int, m_tiles: int, n_tiles: int, k_tiles: int, jobs: Any) -> int:
    """The array's cycles for all tiles."""
    cycles = 0
    for c in range(0 if c_tiles > 1 else 1, 2):
        count = 1 if c else c_tiles - 1
        for m in range(0 if m_tiles > 1 else 1, 2):
            rows = count if m else count * (m_tiles - 1)
            for n in range(0 if n_tiles > 1 else 1, 2):
                columns = rows if n else rows * (n_tiles - 1)
                at = 8 * c + 4 * m + 2 * n
                cycles += columns * int(jobs[at + 1])
                if k_tiles > 1:
                    cycles += columns * (k_tiles - 1) * int(jobs[at])
    return cycles


@helper
def _transfers(
    hw: Any,
    pr: Any,
    c_tiles: int,
    m_tiles: int,
    n_tiles: int,
    k_tiles: int,
    sides: Any,
    lefts: Any,
    rights: Any,
    outs: Any,
) -> int:
    """The bytes of each kind of tile, by operand; the most that a step may move."""
    most_left = most_right = most_out = 0
    for c in range(0 if c_tiles > 1 else 1, 2):
        count = int(sides[COUNT, c])
        for m in range(0 if m_tiles > 1 else 1, 2):
            rows = int(sides[M, m])
            for k in range(0 if k_tiles > 1 else 1, 2):
                moved = _left_bytes(hw, pr, count, rows, int(sides[LENGTH, k]))
                lefts[4 * c + 2 * m + k] = moved
                most_left = max(most_left, moved)
            for n in range(0 if n_tiles > 1 else 1, 2):
                moved = _out_bytes(hw, pr, count, rows, int(sides[N, n]))
                outs[4 * c + 2 * m + n] = moved
                most_out = max(most_out, moved)
        for n in range(0 if n_tiles > 1 else 1, 2):
            for k in range(0 if k_tiles > 1 else 1, 2):
                moved = _right_bytes(hw, pr, count, int(sides[LENGTH, k]), int(sides[N, n]))
                rights[4 * c + 2 * n + k] = moved
                most_right = max(most_right, moved)
    return most_left + most_right + most_out


@helper
def _plane(a_tiles: int, b_tiles: int, c_tiles: int, each: Any) -> int:
    """Bytes of an operand's tiles, each moved once."""
    total = 0
    for c in range(0 if c_tiles > 1 else 1, 2):
        part = 0
        for a in range(0 if a_tiles > 1 else 1, 2):
            row = int(each[4 * c + 2 * a + 1])
            if b_tiles > 1:
                row += (b_tiles - 1) * int(each[4 * c + 2 * a])
            part += row if a else (a_tiles - 1) * row
        total += part if c else (c_tiles - 1) * part
    return total


@helper
def _moved(
    mp: Any,
    c_tiles: int,
    m_tiles: int,
    n_tiles: int,
    k_tiles: int,
    lefts: Any,
    rights: Any,
    outs: Any,
) -> tuple[int, int, int]:
    """DRAM bytes of all tiles, by operand.

    A bank keeps its tile until the next one is loaded: with the whole reduction in one tile, the
    operand of the outer loop moves once, and so does the other where the inner loop has one tile.
    """
    o_tiles, i_tiles = (m_tiles, n_tiles) if mp.m_outer else (n_tiles, m_tiles)
    outer = i_tiles if k_tiles > 1 else 1
    inner = o_tiles if k_tiles > 1 or i_tiles > 1 else 1
    left = _plane(m_tiles, k_tiles, c_tiles, lefts) * (outer if mp.m_outer else inner)
    right = _plane(n_tiles, k_tiles, c_tiles, rights) * (inner if mp.m_outer else outer)
    return left, right, _plane(m_tiles, n_tiles, c_tiles, outs)


@helper
def _waits(
    hw: Any,
    mp: Any,
    c_tiles: int,
    m_tiles: int,
    n_tiles: int,
    k_tiles: int,
    jobs: Any,
    lefts: Any,
    rights: Any,
    outs: Any,
) -> tuple[int, int]:
    """Cycles that the array waits for DRAM's reads and writes while it works on tiles."""
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
                            store = int(outs[4 * before_c + 2 * before_o + before_i])
                        else:
                            store = int(outs[4 * before_c + 2 * before_i + before_o])
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
                            load = int(lefts[4 * to_c + 2 * to_m + to_k])
                        if new_i if mp.m_outer else new_o:
                            load += int(rights[4 * to_c + 2 * to_n + to_k])
                    moved = store + load
                    if moved > 0:
                        spare = int(jobs[8 * last_c + 4 * last_m + 2 * last_n + last_k]) - latency
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
def _total(
    hw: Any,
    pr: Any,
    mp: Any,
    sides: Any,
    jobs: Any,
    lefts: Any,
    rights: Any,
    outs: Any,
) -> tuple[int, int, int, int, int, int, int]:
    """Cycles of one mapping, of them those that DRAM's reads and writes add, the bytes of its
    operands, and bytes of the buffers; MAX_CYCLES and zeros where they may not fit 63 bits.

    `sides` [8, 2], `jobs` [16], `lefts`, `rights` and `outs` [8] are scratch space.
    """
    c_tiles, m_tiles, n_tiles, k_tiles = _cut(hw, pr, mp, sides)
    shortest, longest = _jobs(hw, pr, mp, c_tiles, m_tiles, n_tiles, k_tiles, sides, jobs)
    most = _transfers(hw, pr, c_tiles, m_tiles, n_tiles, k_tiles, sides, lefts, rights, outs)
    # An upper bound in floating point, which cannot overflow.
    slowest = longest + hw.dram_latency_cycles + _dram_cycles(hw, most)
    steps = 1.0 * c_tiles * m_tiles * n_tiles * k_tiles + 2
    buffered = _buffer_bytes(hw, pr, mp, pr.keep_m, k_tiles, m_tiles)
    if longest > MAX_TILE_CYCLES or steps * max(slowest, most) + buffered >= MAX_CYCLES:
        return MAX_CYCLES, 0, 0, 0, 0, 0, 0

    read_wait = write_wait = 0
    spare = shortest - hw.dram_latency_cycles
    if most * hw.dram_cycles_numerator > spare * hw.dram_cycles_denominator:
        read_wait, write_wait = _waits(
            hw, mp, c_tiles, m_tiles, n_tiles, k_tiles, jobs, lefts, rights, outs
        )
    # Before the first tile and after the last one nothing runs that could hide the transfer.
    first_c, first_m = int(c_tiles == 1), int(m_tiles == 1)
    first_n, first_k = int(n_tiles == 1), int(k_tiles == 1)
    load = int(lefts[4 * first_c + 2 * first_m + first_k])
    load += int(rights[4 * first_c + 2 * first_n + first_k])
    read_wait += hw.dram_latency_cycles + _dram_cycles(hw, load)
    write_wait += hw.dram_latency_cycles + _dram_cycles(hw, int(outs[7]))
    cycles = _together(c_tiles, m_tiles, n_tiles, k_tiles, jobs) + read_wait + write_wait
    left, right, written = _moved(mp, c_tiles, m_tiles, n_tiles, k_tiles, lefts, rights, outs)
    buffered += left + right + written
    return cycles, read_wait, write_wait, left, right, written, buffered


@helper
def _evaluate(
    hw: Any,
    pr: Any,
    mp: Any,
    cost: Any,
    sides: Any,
    jobs: Any,
    lefts: Any,
    rights: Any,
    outs: Any,
) -> None:
    """All that one mapping costs; scratch space as for `_total`."""
    cycles, read_wait, write_wait, left, right, written, buffered = _total(
        hw, pr, mp, sides, jobs, lefts, rights, outs
    )
    cost.cycles = cycles
    if cycles == MAX_CYCLES:
        return
    c_tiles, m_tiles = _ceil(pr.count, mp.tile_count), _ceil(pr.m, mp.tile_m)
    n_tiles, k_tiles = _ceil(pr.n, mp.tile_n), _ceil(pr.length, mp.tile_length)
    port = _ceil(pr.keep_m, hw.group_port_elements)
    held = _held(mp, k_tiles)
    issue = interleave = activation_port = weight_load = accumulate = drain = fill = 0
    for c in range(0 if c_tiles > 1 else 1, 2):
        times_c = 1 if c else c_tiles - 1
        for m in range(0 if m_tiles > 1 else 1, 2):
            times_m = times_c if m else times_c * (m_tiles - 1)
            for n in range(0 if n_tiles > 1 else 1, 2):
                times_n = times_m if n else times_m * (n_tiles - 1)
                for k in range(0 if k_tiles > 1 else 1, 2):
                    times = times_n if k else times_n * (k_tiles - 1)
                    job = _tile_parts(hw, pr, mp, sides, port, held, c, m, n, k)
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
    cost.dram_read = read_wait
    cost.dram_write = write_wait
    cost.left_bytes = left
    cost.right_bytes = right
    cost.out_bytes = written
    cost.buffer_bytes = buffered
    cost.steps = c_tiles * m_tiles * n_tiles * k_tiles


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
    sides, jobs = np.zeros((8, 2), np.int64), np.zeros(16, np.int64)
    lefts, rights, outs = np.zeros(8, np.int64), np.zeros(8, np.int64), np.zeros(8, np.int64)
    for i in range(len(mappings)):
        mp = mappings[i]
        hw, pr = hardware[mp.hardware], products[mp.product]
        _evaluate(hw, pr, mp, costs[i], sides, jobs, lefts, rights, outs)


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
def _least(hw: Any, pr: Any, mp: Any, sides: Any, jobs: Any) -> int:
    """The array's cycles for a mapping, which is never faster than they are; 0 where they may not
    fit 63 bits."""
    c_tiles, m_tiles, n_tiles, k_tiles = _cut(hw, pr, mp, sides)
    _, longest = _jobs(hw, pr, mp, c_tiles, m_tiles, n_tiles, k_tiles, sides, jobs)
    if 1.0 * c_tiles * m_tiles * n_tiles * k_tiles * longest >= MAX_CYCLES:
        return 0
    return _together(c_tiles, m_tiles, n_tiles, k_tiles, jobs)


@helper
def _look(
    hw: Any,
    pr: Any,
    mp: Any,
    place: int,
    seen: Any,
    sides: Any,
    jobs: Any,
    lefts: Any,
    rights: Any,
    outs: Any,
) -> None:
    """Write what a mapping costs in column `place` of `seen`."""
    cycles, read, write, left, right, written, buffered = _total(
        hw, pr, mp, sides, jobs, lefts, rights, outs
    )
    seen[CYCLES, place] = cycles
    seen[MOVED, place] = left + right + written
    seen[BUFFERED, place] = buffered
    seen[WORK, place] = cycles - read - write


@helper
def _better(seen: Any, i: int, j: int) -> bool:
    """Whether mapping i comes before mapping j: it is faster, or moves less, or stands first."""
    if seen[CYCLES, i] != seen[CYCLES, j]:
        return seen[CYCLES, i] < seen[CYCLES, j]
    if seen[MOVED, i] != seen[MOVED, j]:
        return seen[MOVED, i] < seen[MOVED, j]
    return i < j


@helper
def _promising(seen: Any, i: int, fastest: int) -> bool:
    """Whether a mapping that waits for DRAM less may be the fastest."""
    work = seen[WORK, i]
    return seen[CYCLES, i] - work > work // PATIENT and work < fastest


@tiered(PATIENCE)
def _choose_all(
    hardware: Any, products: Any, mappings: Any, firsts: Any, finer: Any, chosen: Any
) -> None:
    sides, jobs = np.zeros((8, 2), np.int64), np.zeros(16, np.int64)
    lefts, rights, outs = np.zeros(8, np.int64), np.zeros(8, np.int64), np.zeros(8, np.int64)
    seen = np.zeros((5, MOST + 1), np.int64)
    fine = finer[0]
    for pair in range(len(firsts) - 1):
        first, count = firsts[pair], firsts[pair + 1] - firsts[pair]
        choice = chosen[pair]
        choice.cycles = -1
        if count == 0:
            continue
        hw, pr = hardware[mappings[first].hardware], products[mappings[first].product]
        for i in range(count):
            seen[LEAST, i] = _least(hw, pr, mappings[first + i], sides, jobs)
            seen[CYCLES, i] = -1
        # From the one that the array finishes first on: what it needs more for than the best so
        # far needs with its waits is not looked at.
        best = -1
        while True:
            at = -1
            for i in range(count):
                if seen[CYCLES, i] < 0 and (at < 0 or seen[LEAST, i] < seen[LEAST, at]):
                    at = i
            if at < 0 or (best >= 0 and seen[LEAST, at] > seen[CYCLES, best]):
                break
            _look(hw, pr, mappings[first + at], at, seen, sides, jobs, lefts, rights, outs)
            if best < 0 or _better(seen, at, best):
                best = at
        fastest = seen[CYCLES, best]
        choice.cycles = fastest
        choice.dram_bytes = seen[MOVED, best]
        choice.buffer_bytes = seen[BUFFERED, best]

        # The best of each dataflow is tried with fewer rows where it waits for DRAM. What was not
        # looked at works longer than the fastest takes, and cannot be promising itself, but it may
        # come before what is.
        for dataflow in range(2):
            slow = -1
            for i in range(count):
                if mappings[first + i].dataflow != dataflow or seen[CYCLES, i] < 0:
                    continue
                if slow < 0 or _better(seen, i, slow):
                    slow = i
            if slow < 0 or not _promising(seen, slow, fastest):
                continue
            for i in range(count):
                mp = mappings[first + i]
                if (
                    mp.dataflow == dataflow
                    and seen[CYCLES, i] < 0
                    and seen[LEAST, i] <= seen[CYCLES, slow]
                ):
                    _look(hw, pr, mp, i, seen, sides, jobs, lefts, rights, outs)
                    if _better(seen, i, slow):
                        slow = i
            if not _promising(seen, slow, fastest):
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
                _look(hw, pr, fine, MOST, seen, sides, jobs, lefts, rights, outs)
                cycles, moved = seen[CYCLES, MOST], seen[MOVED, MOST]
                if cycles < choice.cycles or (
                    cycles == choice.cycles and moved < choice.dram_bytes
                ):
                    choice.cycles = cycles
                    choice.dram_bytes = moved
                    choice.buffer_bytes = seen[BUFFERED, MOST]


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
