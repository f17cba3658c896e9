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
from nofm.dataflow.mapping import MAPPING, OS, WS
from nofm.dataflow.products import PRODUCT
from nofm.dataflow.schedule import MAX_CYCLES
from nofm.kernels.tiered import helper, integers, tiered

Records = np.ndarray[Any, Any]

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
def _ws_cycles(
    hw: Any,
    v: int,
    n: int,
    m_group: int,
    count: int,
    m: int,
    groups: int,
    columns: int,
    out: Any,
) -> None:
    rows, cols, adder = hw.rows, hw.columns, hw.adder_cycles
    port = _ceil(m_group, hw.group_port_elements)
    if n == 1:
        v, p = 1, 1
    else:
        p = max(v, adder)
    d = (n - 1) * p + adder
    block = max(n * p, v * port)
    blocks = _ceil(m, v)
    duration = blocks * block
    group_folds, column_folds = _ceil(groups, rows), _ceil(columns, cols)
    folds = count * group_folds * column_folds
    first = min(columns, cols) * n
    last = (columns - (column_folds - 1) * cols) * n

    # One pass over the columns: from the first fold's start to the last one's, then to the next
    # pass. Loads hide behind the fold before.
    if column_folds == 1:
        across, hidden = 0, 0
    else:
        across = (column_folds - 2) * max(duration, first) + max(duration, last)
        hidden = (column_folds - 1) * duration
    wrap = max(duration, first)
    turnaround = rows * d + hw.accumulator_cycles
    wait = max(0, turnaround - across - wrap)
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
    out[0] = last_start + tail
    out[1] = folds * n * m
    # What the last block of the job would take after its last slot is the time of the fill.
    out[2] = folds * (blocks * n * p - n * m) - (p - 1 - (m - 1 - (blocks - 1) * v))
    out[3] = (folds * blocks - 1) * (block - n * p) + start - first
    out[4] = first + passes * (across - hidden) + (passes - 1) * (wrap - duration)
    out[5] = count * (group_folds - 1) * wait
    out[6] = 0
    out[7] = out[0] - out[1] - out[2] - out[3] - out[4] - out[5]


@helper
def _os_cycles(
    hw: Any,
    v: int,
    n: int,
    m_group: int,
    count: int,
    m: int,
    groups: int,
    columns: int,
    out: Any,
) -> None:
    rows, cols, adder = hw.rows, hw.columns, hw.adder_cycles
    port = _ceil(m_group, hw.group_port_elements)
    row_folds, column_folds = _ceil(m, rows), _ceil(columns, cols * v)
    v_last = _ceil(columns - (column_folds - 1) * cols * v, cols)
    p, p_last = max(v, adder), max(v_last, adder)
    block, block_last = max(n * p, port), max(n * p_last, port)
    d, d_last = groups * block, groups * block_last
    passes = count * row_folds
    full = passes * (column_folds - 1)

    if column_folds == 1:
        end = port + d_last + (passes - 1) * max(d_last, rows * v_last)
        waits = (passes - 1) * max(0, rows * v_last - d_last)
    else:
        end = port + d
        end += passes * (column_folds - 2) * max(d, rows * v)
        end += passes * max(d_last, rows * v)
        end += (passes - 1) * max(d, rows * v_last)
        waits = passes * (column_folds - 2) * max(0, rows * v - d)
        waits += passes * max(0, rows * v - d_last)
        waits += (passes - 1) * max(0, rows * v_last - d)
    out[0] = (
        end
        + (rows - 1)
        + (cols - 1)
        + hw.multiplier_cycles
        + adder
        - 1
        + rows * v_last
        - 1
        + hw.accumulator_cycles
    )
    slots = groups * n
    out[1] = full * slots * v + passes * slots * v_last
    out[2] = full * slots * (p - v) + passes * slots * (p_last - v_last)
    out[3] = full * groups * (block - n * p) + passes * groups * (block_last - n * p_last) + port
    out[4] = 0
    out[5] = 0
    out[6] = waits + rows * v_last
    out[7] = out[0] - out[1] - out[2] - out[3] - out[6]


@helper
def _array_cycles(
    hw: Any,
    dataflow: int,
    v: int,
    n: int,
    m_group: int,
    count: int,
    m: int,
    groups: int,
    columns: int,
    out: Any,
) -> None:
    if dataflow == WS:
        _ws_cycles(hw, v, n, m_group, count, m, groups, columns, out)
    else:
        _os_cycles(hw, v, n, m_group, count, m, groups, columns, out)


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
    out = np.zeros(8, np.int64)
    groups = taps * -(-length // m_group)
    _array_cycles(
        np.atleast_1d(hardware)[0], dataflow, interleave, n, m_group, count, m, groups, columns, out
    )
    return out


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
def _evaluate(
    hw: Any,
    pr: Any,
    mp: Any,
    cost: Any,
    runs: Any,
    jobs: Any,
    lefts: Any,
    rights: Any,
    outs: Any,
) -> None:
    """Cost of one mapping.

    `runs` [16], `jobs` [16, 8], `lefts`, `rights` and `outs` [8] are scratch space: a tile's
    array time and transfers depend only on which of its sides are the last of their loop.
    """
    keep_n, keep_m, v = pr.keep_n, pr.keep_m, mp.interleave
    c_tiles = _ceil(pr.count, mp.tile_count)
    m_tiles = _ceil(pr.m, mp.tile_m)
    k_tiles = _ceil(pr.length, mp.tile_length)
    n_tiles = _ceil(pr.n, mp.tile_n)
    # An output-stationary tile whose reduction is cut keeps its sums in the array meanwhile.
    held = mp.dataflow == OS and k_tiles > 1
    longest = most_left = most_right = most_out = 0
    for c in range(0 if c_tiles > 1 else 1, 2):
        size_c = _size(c, c_tiles, mp.tile_count, pr.count)
        for m in range(0 if m_tiles > 1 else 1, 2):
            size_m = _size(m, m_tiles, mp.tile_m, pr.m)
            for n in range(0 if n_tiles > 1 else 1, 2):
                size_n = _size(n, n_tiles, mp.tile_n, pr.n)
                outs[4 * c + 2 * m + n] = _out_bytes(hw, pr, size_c, size_m, size_n)
                most_out = max(most_out, outs[4 * c + 2 * m + n])
                for k in range(0 if k_tiles > 1 else 1, 2):
                    size_k = _size(k, k_tiles, mp.tile_length, pr.length)
                    at = 8 * c + 4 * m + 2 * n + k
                    runs[at] = 0
                    job = jobs[at]
                    groups = pr.taps * _ceil(size_k, keep_m)
                    _array_cycles(
                        hw,
                        mp.dataflow,
                        v,
                        keep_n,
                        keep_m,
                        size_c,
                        size_m,
                        groups,
                        size_n,
                        job,
                    )
                    if held and k == 0:
                        job[6] = 0
                        job[7] = 0
                        job[0] = job[1] + job[2] + job[3]
                    longest = max(longest, job[0])
                    if n == 1:
                        lefts[4 * c + 2 * m + k] = _left_bytes(hw, pr, size_c, size_m, size_k)
                        most_left = max(most_left, lefts[4 * c + 2 * m + k])
                    if m == 1:
                        rights[4 * c + 2 * n + k] = _right_bytes(hw, pr, size_c, size_k, size_n)
                        most_right = max(most_right, rights[4 * c + 2 * n + k])
    # An upper bound in floating point, which cannot overflow.
    most = most_left + most_right + most_out
    slowest = longest + hw.dram_latency_cycles + _dram_cycles(hw, most)
    steps = 1.0 * c_tiles * m_tiles * n_tiles * k_tiles + 2
    buffered = _buffer_bytes(hw, pr, mp, keep_m, k_tiles, m_tiles)
    if longest > MAX_TILE_CYCLES or steps * max(slowest, most) + buffered >= MAX_CYCLES:
        cost.cycles = MAX_CYCLES
        return

    o_tiles, i_tiles = (m_tiles, n_tiles) if mp.m_outer else (n_tiles, m_tiles)
    latency = hw.dram_latency_cycles
    left = right = written = read_wait = write_wait = 0
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
                    times = times_i * _kind_count(kind_k, k_tiles)
                    last_c, last_k = int(c == c_tiles - 1), int(k == k_tiles - 1)
                    last_o, last_i = int(o == o_tiles - 1), int(i == i_tiles - 1)
                    last_m, last_n = (last_o, last_i) if mp.m_outer else (last_i, last_o)
                    at = 8 * last_c + 4 * last_m + 2 * last_n + last_k
                    runs[at] += times

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
                            store = outs[4 * before_c + 2 * before_o + before_i]
                        else:
                            store = outs[4 * before_c + 2 * before_i + before_o]
                    # ... and loads what the next one needs and does not find in the buffers.
                    load_left = load_right = 0
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
                            load_left = lefts[4 * to_c + 2 * to_m + to_k]
                        if new_i if mp.m_outer else new_o:
                            load_right = rights[4 * to_c + 2 * to_n + to_k]
                    moved = store + load_left + load_right
                    if moved > 0:
                        left += times * load_left
                        right += times * load_right
                        written += times * store
                        spare = jobs[at, 0] - latency
                        # The same as a comparison of cycles, without its division.
                        if moved * hw.dram_cycles_numerator > spare * hw.dram_cycles_denominator:
                            excess = _dram_cycles(hw, moved) - spare
                            # Reads come first: what is late is the writes, up to their length.
                            late = min(excess, _dram_cycles(hw, store))
                            write_wait += times * late
                            read_wait += times * (excess - late)

    # Before the first tile and after the last one nothing runs that could hide the transfer.
    first_c, first_m = int(c_tiles == 1), int(m_tiles == 1)
    first_n, first_k = int(n_tiles == 1), int(k_tiles == 1)
    load_left = lefts[4 * first_c + 2 * first_m + first_k]
    load_right = rights[4 * first_c + 2 * first_n + first_k]
    store = outs[7]
    read_wait += latency + _dram_cycles(hw, load_left + load_right)
    write_wait += latency + _dram_cycles(hw, store)
    left += load_left
    right += load_right
    written += store

    cycles = issue = interleave = activation_port = weight_load = accumulate = drain = fill = 0
    for c in range(0 if c_tiles > 1 else 1, 2):
        for m in range(0 if m_tiles > 1 else 1, 2):
            for n in range(0 if n_tiles > 1 else 1, 2):
                for k in range(0 if k_tiles > 1 else 1, 2):
                    at = 8 * c + 4 * m + 2 * n + k
                    times, job = runs[at], jobs[at]
                    cycles += times * job[0]
                    issue += times * job[1]
                    interleave += times * job[2]
                    activation_port += times * job[3]
                    weight_load += times * job[4]
                    accumulate += times * job[5]
                    drain += times * job[6]
                    fill += times * job[7]
    cost.cycles = cycles + read_wait + write_wait
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
    cost.buffer_bytes = buffered + left + right + written
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
    runs = np.zeros(16, np.int64)
    jobs = np.zeros((16, 8), np.int64)
    lefts, rights, outs = np.zeros(8, np.int64), np.zeros(8, np.int64), np.zeros(8, np.int64)
    for i in range(len(mappings)):
        mp = mappings[i]
        hw, pr = hardware[mp.hardware], products[mp.product]
        _evaluate(hw, pr, mp, costs[i], runs, jobs, lefts, rights, outs)


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
    hw = hardware[0]
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
            out[i, 0] = out[i, 3] = MAX_CYCLES
            continue
        written = _dram_cycles(hw, job.written_bytes)
        moved = _dram_cycles(hw, job.read_bytes + job.written_bytes)
        excess = max(0, moved - work)
        late = min(excess, written)
        out[i, 0] = work + fill + hw.dram_latency_cycles + excess
        out[i, 1] = work
        out[i, 2] = fill
        out[i, 3] = excess - late + hw.dram_latency_cycles
        out[i, 4] = late


def engine_cycles(hardware: Records, jobs: Records) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Cycles of streaming jobs: the vector engine, WUVE, SORE, or WUVE into SORE.

    A lane takes one element a cycle while DRAM streams; the slower of the two sets the pace. In a
    chain, WUVE updates the parameters of one of SORE's beats at a time.

    Args:
        hardware: one `HARDWARE` record.
        jobs: `ENGINE_JOB` [j].

    Returns:
        int64 [j, 5]: the total, and its parts: the lanes' work, fill, DRAM reads, DRAM writes.
        A total of MAX_CYCLES stands for a job whose cycles may not fit 63 bits.
    """
    out = np.zeros((len(jobs), 5), np.int64)
    _engine_all(len(jobs), np.atleast_1d(hardware), jobs, out)
    return out
