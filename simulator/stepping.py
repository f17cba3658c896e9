"""The array, one cycle at a time: compiled loops over registers, counters and handshakes.

docs/timing.md, "The array", describes the machine; nothing here knows when a fold starts or when a
job ends, other than by counting. `simulator.array` is the way in.

A chain of registers that all take their neighbour's value in every cycle is a *window* that moves
over a longer line: in cycle t the register at distance c from the edge is element base + c, and
base goes down by one a cycle. Each line holds `SPAN` cycles, then its window moves back to the end.

Multipliers are left out of the stepping: they give every adder its product X cycles after the slot,
so all that adders, drains and the accumulation buffer do, and nothing that a sequencer does, comes
X cycles later than here. The X cycles are added at the end.

The functions stand in one file because Numba's cache watches only the file that a function is in.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

SPAN = 256

# What the array can be caught at; `simulator.array` has the words.
FINE = 0
ROW_NOT_READY = 1
OTHER_SUM_FROM_ABOVE = 2
OTHER_SUM_FED_BACK = 3
WEIGHTS_NOT_LOADED = 4
WEIGHT_BANK_IN_USE = 5
SUM_NOT_WRITTEN = 6
SUM_OUT_OF_ORDER = 7
WEIGHT_OF_ANOTHER_SLOT = 8
SUM_BANK_IN_USE = 9
SUM_INCOMPLETE = 10
DRAIN_IN_USE = 11
DRAIN_COLLISION = 12
STUCK = 13

# A part's number is its place after the total in `simulator.timing.array_cycles`.
ISSUE, INTERLEAVE, ACTIVATION_PORT, WEIGHT_LOAD, ACCUMULATE, DRAIN, FILL = 1, 2, 3, 4, 5, 6, 7

# Tokens on the line that starts the rows one after the other: no token, fetch and load for the
# first fold, start fold token - START.
PREPARE, START = 1, 2

# Control of a slot in WS: the pass, and whether it is the first slot of its fold.
PASS, SWAP = 255, 256
# Control of a slot in OS: v, the fold's sum bank, and what else is to be known of it.
TURN, BANK, OPENS, CLOSES, SHORT, FILLED = 63, 64, 128, 256, 512, 1024


@njit(cache=True)
def _ceil(a: int, b: int) -> int:
    return -(-a // b)


@njit(cache=True)
def _rewind(lines: Any, tail: int) -> None:
    """Move the windows of `lines` [.., SPAN + tail] back to the end of their lines."""
    for r in range(lines.shape[0]):
        for x in range(tail):
            lines[r, SPAN + x] = lines[r, x]


@njit(cache=True)
def step_ws(
    rows: int,
    columns: int,
    interleave: int,
    adder_cycles: int,
    accumulator_cycles: int,
    fetch_cycles: int,
    pn: int,
    pm: int,
    count: int,
    m: int,
    groups: int,
    n: int,
    activations: Any,
    values: Any,
    index: Any,
    out: Any,
    parts: Any,
) -> tuple[int, int, int]:
    """Step a weight-stationary job to its end.

    Args:
        activations: float32 [count * m * padded groups * pm], groups padded to a multiple of rows.
        values, index: float32 and int32 [count * groups * pn * n], the compressed weights.
        out: float32 [count * m * n], the accumulation buffer.
        parts: int64 [8], what becomes of row 0's cycles; element 0 the last cycle.

    Returns:
        What was violated (`FINE` if nothing), the cycle and the array row.
    """
    sums = 1 if pn == 1 else interleave
    period = 1 if pn == 1 else max(sums, adder_cycles)
    # A sum that is fed back went through the adder, then through registers that make the loop long
    # enough to hold all sums.
    loop = adder_cycles + max(0, sums - adder_cycles)
    row_delay = (pn - 1) * period + adder_cycles
    fill_cycles = sums * fetch_cycles
    blocks = _ceil(m, sums)
    group_folds, column_folds = _ceil(groups, rows), _ceil(n, columns)
    padded_groups = group_folds * rows
    folds = count * group_folds * column_folds
    last_ident = (folds * m - 1) * pn + pn - 1

    tail = columns + loop + 1
    ident = np.full((rows, SPAN + tail), -1, np.int64)
    unit = np.zeros((rows, SPAN + tail), np.int32)
    control = np.zeros((rows, SPAN + tail), np.int32)
    push = np.full((rows, SPAN + tail), -1, np.int32)
    push_fold = np.full((rows, SPAN + tail), -1, np.int32)
    # Address in the accumulation buffer, group fold and used columns, at the top and the bottom.
    address = np.zeros((2, SPAN + tail), np.int64)
    group_fold = np.zeros((2, SPAN + tail), np.int32)
    used = np.zeros((2, SPAN + tail), np.int32)

    # Adders: ring[k, r + 1] holds what the USPEs of row r began to add in the cycle with number k
    # of the loop; ring[k, 0] what the accumulation buffer gave.
    ring = np.zeros((loop, rows + 1, columns), np.float32)
    bank_value = np.zeros((rows, 2 * pn, columns), np.float32)
    bank_index = np.zeros((rows, 2 * pn, columns), np.int32)
    active = np.full((rows, columns), -1, np.int32)
    select = np.zeros((rows, columns), np.int32)
    loaded = np.full((rows, columns), -1, np.int32)
    passing_value = np.zeros((rows, columns + 1), np.float32)
    passing_index = np.zeros((rows, columns + 1), np.int32)

    written_cycle = np.full(out.size, -1, np.int64)
    written_fold = np.full(out.size, -1, np.int32)

    line = np.zeros((rows + 1, row_delay), np.int64)
    returning = np.zeros(accumulator_cycles, np.int64)
    returned = 0

    fold = np.full(rows, -1, np.int64)
    block = np.full(rows, blocks - 1, np.int64)
    sending = np.zeros(rows, np.int64)
    turn = np.zeros(rows, np.int64)
    passes = np.zeros(rows, np.int64)
    fill_left = np.zeros(rows, np.int64)
    load_left = np.zeros(rows, np.int64)
    load_fold = np.zeros(rows, np.int64)
    load_slot = np.zeros(rows, np.int64)
    load_column = np.zeros(rows, np.int64)
    load_base = np.zeros(rows, np.int64)
    unit_base = np.zeros(rows, np.int64)
    address_base = np.zeros(rows, np.int64)
    last_start = np.full(rows, -columns, np.int64)
    last_slot = np.full(rows, -columns, np.int64)
    last_push = np.full(rows, -columns, np.int64)

    patience = rows * row_delay + accumulator_cycles + columns * pn + fill_cycles + pn * period + 8
    quiet = 0
    all_sent = False
    base = SPAN
    t = -1
    line_at, returning_at, now = row_delay - 1, accumulator_cycles - 1, loop - 1
    while True:
        t += 1
        if base == 0:
            _rewind(ident, tail)
            _rewind(unit, tail)
            _rewind(control, tail)
            _rewind(push, tail)
            _rewind(push_fold, tail)
            _rewind(address, tail)
            _rewind(group_fold, tail)
            _rewind(used, tail)
            base = SPAN
        base -= 1
        line_at = line_at + 1 if line_at + 1 < row_delay else 0
        returning_at = returning_at + 1 if returning_at + 1 < accumulator_cycles else 0
        now = now + 1 if now + 1 < loop else 0
        leaving = now - adder_cycles if now >= adder_cycles else now - adder_cycles + loop

        # A start token that has passed all rows comes back when the fold's first sum can be read.
        if returning[returning_at] >= START:
            returned += 1
        returning[returning_at] = line[rows, line_at]

        for r in range(rows - 1, -1, -1):
            token = line[r, line_at]
            if r == 0:
                token = 0
                following = fold[0] + 1
                if t == 0:
                    token = PREPARE
                elif (
                    following < folds
                    and sending[0] == 0
                    and block[0] == blocks - 1
                    and fill_left[0] == 0
                    and load_left[0] == 0
                    and (
                        following // column_folds % group_folds == 0
                        or returned > following - column_folds
                    )
                ):
                    token = START + following
            line[r + 1, line_at] = token

            begin = False
            if token >= START:
                i = token - START
                if (
                    i != fold[r] + 1
                    or sending[r] == 1
                    or block[r] != blocks - 1
                    or fill_left[r] > 0
                    or load_left[r] > 0
                ):
                    return ROW_NOT_READY, t, r
                begin = True
                fold[r] = i
                block[r] = 0
                last_start[r] = t
                j = i % column_folds
                f = i // column_folds % group_folds
                product = i // column_folds // group_folds
                unit_base[r] = product * m * padded_groups + f * rows + r
                address_base[r] = product * m * n + j * columns
            elif sending[r] == 0 and fold[r] >= 0 and block[r] < blocks - 1 and fill_left[r] == 0:
                begin = True
                block[r] += 1
            if begin:
                sending[r] = 1
                turn[r] = 0
                passes[r] = 0
            if begin or token == PREPARE:
                fill_left[r] = fill_cycles
            if token != 0 and fold[r] + 1 < folds:
                i = fold[r] + 1
                j = i % column_folds
                f = i // column_folds % group_folds
                product = i // column_folds // group_folds
                load_fold[r] = i
                load_column[r] = min(columns, n - j * columns) - 1
                load_left[r] = (load_column[r] + 1) * pn
                load_slot[r] = 0
                g = f * rows + r
                load_base[r] = (product * groups + g) * pn * n + j * columns
                if g >= groups:
                    load_base[r] = -1

            vector = block[r] * sums + turn[r]
            if sending[r] == 1 and turn[r] < sums and vector < m:
                i = (fold[r] * m + vector) * pn + passes[r]
                if passes[r] > 0:
                    if ident[r, base + loop] != i - 1:
                        return OTHER_SUM_FED_BACK, t, r
                elif r > 0 and ident[r - 1, base + adder_cycles] != i + pn - 1:
                    return OTHER_SUM_FROM_ABOVE, t, r
                ident[r, base] = i
                unit[r, base] = unit_base[r] + vector * padded_groups
                control[r, base] = passes[r]
                if vector + passes[r] == 0:
                    control[r, base] += SWAP
                last_slot[r] = t
                for end in range(2):
                    if r == end * (rows - 1):
                        f = fold[r] // column_folds % group_folds
                        j = fold[r] % column_folds
                        address[end, base] = address_base[r] + vector * n
                        group_fold[end, base] = f
                        used[end, base] = min(columns, n - j * columns)
            else:
                ident[r, base] = -1
                unit[r, base] = 0
                control[r, base] = 0

            if load_left[r] > 0:
                value, place = np.float32(0), np.int32(0)
                if load_base[r] >= 0:
                    at = load_base[r] + load_slot[r] * n + load_column[r]
                    value, place = values[at], index[at]
                passing_value[r, 0] = value
                passing_index[r, 0] = place
                push[r, base] = load_slot[r]
                push_fold[r, base] = load_fold[r] if load_left[r] > 1 else -2 - load_fold[r]
                last_push[r] = t
                load_slot[r] += 1
                if load_slot[r] == pn:
                    load_slot[r] = 0
                    load_column[r] -= 1
            else:
                push[r, base] = -1

            if r == 0:
                if all_sent:
                    parts[FILL] += 1
                elif sending[0] == 1:
                    parts[ISSUE if ident[0, base] >= 0 else INTERLEAVE] += 1
                    all_sent = ident[0, base] == last_ident
                elif fold[0] < 0:
                    parts[WEIGHT_LOAD if load_left[0] > 0 else ACTIVATION_PORT] += 1
                elif fill_left[0] > 0:
                    parts[ACTIVATION_PORT] += 1
                else:
                    parts[WEIGHT_LOAD if load_left[0] > 0 else ACCUMULATE] += 1
            if sending[r] == 1:
                turn[r] += 1
                if turn[r] == period:
                    turn[r] = 0
                    passes[r] += 1
                    if passes[r] == pn:
                        sending[r] = 0
            fill_left[r] = max(0, fill_left[r] - 1)
            load_left[r] = max(0, load_left[r] - 1)

        # A USPE swaps its weight banks as the first slot of a fold reaches it.
        for r in range(rows):
            if t - last_start[r] < columns:
                for c in range(columns):
                    if control[r, base + c] & SWAP:
                        active[r, c] += 1
                        select[r, c] = (active[r, c] & 1) * pn
                        if loaded[r, c] != active[r, c]:
                            return WEIGHTS_NOT_LOADED, t, r
            # The idle bank is a shift register; here its entries stay, and a pointer goes round.
            if t - last_push[r] < columns:
                for c in range(columns - 1, -1, -1):
                    slot = push[r, base + c]
                    if slot >= 0:
                        i = push_fold[r, base + c]
                        if i < 0:
                            i = -2 - i
                            loaded[r, c] = i
                        if active[r, c] != i - 1:
                            return WEIGHT_BANK_IN_USE, t, r
                        at = (i & 1) * pn + slot
                        passing_value[r, c + 1] = bank_value[r, at, c]
                        passing_index[r, c + 1] = bank_index[r, at, c]
                        bank_value[r, at, c] = passing_value[r, c]
                        bank_index[r, at, c] = passing_index[r, c]

        # The accumulation buffer takes sums at the bottom and gives them at the top.
        if t - last_slot[rows - 1] < columns + adder_cycles:
            for c in range(columns):
                x = base + adder_cycles + c
                if ident[rows - 1, x] >= 0 and control[rows - 1, x] & PASS == pn - 1:
                    if c < used[1, x]:
                        at = address[1, x] + c
                        if written_fold[at] != group_fold[1, x] - 1:
                            return SUM_OUT_OF_ORDER, t, rows - 1
                        written_fold[at] = group_fold[1, x]
                        written_cycle[at] = t
                        out[at] = ring[leaving, rows, c]
                    if c == columns - 1 and ident[rows - 1, x] == last_ident:
                        parts[0] = t
                        return FINE, t, 0
        if t - last_slot[0] < columns:
            for c in range(columns):
                x = base + c
                if ident[0, x] >= 0 and control[0, x] & PASS == 0:
                    ring[leaving, 0, c] = 0
                    if group_fold[0, x] > 0 and c < used[0, x]:
                        at = address[0, x] + c
                        if (
                            written_fold[at] != group_fold[0, x] - 1
                            or t < written_cycle[at] + accumulator_cycles
                        ):
                            return SUM_NOT_WRITTEN, t, 0
                        ring[leaving, 0, c] = out[at]

        # Rows from the bottom, so that each sees what left the row above before it takes more.
        # A row that holds no slot adds nothing.
        for r in range(rows - 1, -1, -1):
            if t - last_slot[r] < columns:
                for c in range(columns):
                    k = control[r, base + c] & PASS
                    at = select[r, c] + k
                    x = activations[np.int64(unit[r, base + c]) * pm + bank_index[r, at, c]]
                    from_above, fed_back = ring[leaving, r, c], ring[now, r + 1, c]
                    partial = from_above if k == 0 else fed_back
                    ring[now, r + 1, c] = partial + x * bank_value[r, at, c]

        quiet = 0 if ident[0, base] >= 0 else quiet + 1
        if quiet > patience:
            return STUCK, t, 0


@njit(cache=True)
def step_os(
    rows: int,
    columns: int,
    interleave: int,
    adder_cycles: int,
    accumulator_cycles: int,
    fetch_cycles: int,
    pn: int,
    pm: int,
    count: int,
    m: int,
    groups: int,
    n: int,
    activations: Any,
    values: Any,
    index: Any,
    out: Any,
    parts: Any,
) -> tuple[int, int, int]:
    """Step an output-stationary job to its end.

    Args:
        activations: float32 [count * padded m * groups * pm], m padded to a multiple of rows.
        values, index, out, parts: as in `step_ws`.

    Returns:
        What was violated (`FINE` if nothing), the cycle and the array row.
    """
    row_folds, column_folds = _ceil(m, rows), _ceil(n, columns * interleave)
    folds = count * row_folds * column_folds
    short_sums = _ceil(n - (column_folds - 1) * columns * interleave, columns)
    # What the sequencer is told of the two kinds of fold: all column folds, and the last one.
    fold_sums = (interleave, short_sums)
    fold_period = (max(interleave, adder_cycles), max(short_sums, adder_cycles))
    fold_cycles = (
        groups * max(pn * fold_period[0], fetch_cycles),
        groups * max(pn * fold_period[1], fetch_cycles),
    )
    # A sum that is fed back went through the adder, then through registers that make the loop long
    # enough to hold all sums of the fold.
    loops = (
        adder_cycles + max(0, interleave - adder_cycles),
        adder_cycles + max(0, short_sums - adder_cycles),
    )
    depth = loops[0]
    # Rows work one cycle after each other, and the last sum leaves the bottom row's adder last.
    drain_delay = rows - 1 + adder_cycles - 1

    tail = max(columns + depth + 1, rows)
    ident = np.full((1, SPAN + tail), -1, np.int64)
    unit = np.zeros((rows, SPAN + tail), np.int32)
    control = np.zeros((rows, SPAN + tail), np.int32)
    # What the top of each column fetches for a slot: an address, and the columns that exist.
    weight_address = np.zeros((1, SPAN + tail), np.int64)
    weight_columns = np.zeros((1, SPAN + tail), np.int32)
    # Drain tokens: v, how far the chain has shifted, sum bank, address and extent of the fold.
    drain_turn = np.full((1, SPAN + tail), -1, np.int32)
    drain_shift = np.zeros((1, SPAN + tail), np.int32)
    drain_fold = np.zeros((1, SPAN + tail), np.int64)

    # Weights move down a row a cycle: lines of rows, window element base + r.
    weight_value = np.zeros((SPAN + rows, columns), np.float32)
    weight_index = np.zeros((SPAN + rows, columns), np.int32)
    ring = np.zeros((depth, rows, columns), np.float32)
    # Sum banks: 0 free, 1 in use by a fold, 2 complete.
    bank_state = np.zeros((2 * interleave, rows, columns), np.int8)
    bank_value = np.zeros((2 * interleave, rows, columns), np.float32)
    chain_value = np.zeros((rows + 1, columns), np.float32)
    chain_origin = np.full((rows + 1, columns), -1, np.int64)

    drain_line = np.full(drain_delay + 1, -1, np.int64)
    draining, drain_t, drain_s = np.int64(-1), 0, 0
    drain_free_in = 0

    fold, group, turn, passes = -1, 0, 0, 0
    kind = 0
    sending = False
    ended = True
    fetch_left = fetch_cycles
    step = 0
    unit_base = np.int64(0)
    address_base, columns_left = np.int64(0), 0
    last_slot = np.full(rows, -columns, np.int64)
    last_edge = np.full(rows, -columns - adder_cycles, np.int64)
    last_drain = -columns
    written = 0

    patience = fetch_cycles + 3 * rows * interleave + 3 * (rows + columns + depth) + 8
    quiet = 0
    base = SPAN
    t = -1
    now = depth - 1
    while True:
        t += 1
        if base == 0:
            _rewind(ident, tail)
            _rewind(unit, tail)
            _rewind(control, tail)
            _rewind(weight_address, tail)
            _rewind(weight_columns, tail)
            _rewind(drain_turn, tail)
            _rewind(drain_shift, tail)
            _rewind(drain_fold, tail)
            for r in range(rows):
                for c in range(columns):
                    weight_value[SPAN + r, c] = weight_value[r, c]
                    weight_index[SPAN + r, c] = weight_index[r, c]
            base = SPAN
        base -= 1
        now = now + 1 if now + 1 < depth else 0
        leaving = now - adder_cycles if now >= adder_cycles else now - adder_cycles + depth
        # The entry that was made one short loop ago.
        short = now - loops[1] if now >= loops[1] else now - loops[1] + depth

        # The sequencer of row 0. The port fetches a group while the one before is in use, and runs
        # on after the last, so that every group takes the same time.
        if not sending and fetch_left == 0:
            begin = False
            if fold >= 0 and not ended:
                if group < groups - 1:
                    begin = True
                    group += 1
                else:
                    ended = True
                    drain_free_in = rows * fold_sums[kind]
                    at = (t + drain_delay) % (drain_delay + 1)
                    drain_line[at] = fold
            if ended and fold + 1 < folds:
                following = 1 if (fold + 1) % column_folds == column_folds - 1 else 0
                if drain_free_in <= fold_cycles[following]:
                    begin = True
                    ended = False
                    fold += 1
                    group = 0
                    kind = following
                    j = fold % column_folds
                    i = fold // column_folds % row_folds
                    product = fold // column_folds // row_folds
                    unit_base = (product * row_folds + i) * rows * groups
                    address_base = product * groups * pn * n + j * columns * interleave
                    columns_left = n - j * columns * interleave
            if begin:
                sending = True
                turn = 0
                passes = 0
                fetch_left = fetch_cycles
        drain_free_in = max(0, drain_free_in - 1)
        fetch_left = max(0, fetch_left - 1)

        # Rows below take the slot of the row above a cycle later, with the next row of activations.
        for r in range(rows - 1, 0, -1):
            control[r, base] = control[r - 1, base + 1]
            unit[r, base] = unit[r - 1, base + 1] + groups
            if control[r, base] & FILLED:
                last_slot[r] = t
                if control[r, base] & (OPENS | CLOSES):
                    last_edge[r] = t
                # The weight in row r was fetched for the slot of row 0 r cycles ago.
                if unit[r, base] != unit[0, base + r] + r * groups:
                    return WEIGHT_OF_ANOTHER_SLOT, t, r
        if sending and turn < fold_sums[kind]:
            opens, closes = group + passes == 0, group == groups - 1 and passes == pn - 1
            if not opens and ident[0, base + loops[kind]] != step * 64 + turn - 64:
                return OTHER_SUM_FED_BACK, t, 0
            ident[0, base] = step * 64 + turn
            unit[0, base] = unit_base + group
            control[0, base] = turn + FILLED
            if fold & 1:
                control[0, base] += BANK
            if opens:
                control[0, base] += OPENS
            if closes:
                control[0, base] += CLOSES
            if kind == 1:
                control[0, base] += SHORT
            weight_address[0, base] = address_base + (group * pn + passes) * n + turn * columns
            weight_columns[0, base] = columns_left - turn * columns
            last_slot[0] = t
            if opens or closes:
                last_edge[0] = t
        else:
            ident[0, base] = -1
            unit[0, base] = 0
            control[0, base] = 0

        part = FILL
        if sending:
            part = ISSUE if ident[0, base] >= 0 else INTERLEAVE
            turn += 1
            if turn == fold_period[kind]:
                turn = 0
                passes += 1
                step += 1
                sending = passes < pn
        elif not ended or fold < 0:
            part = ACTIVATION_PORT
        elif fold + 1 < folds:
            part = DRAIN

        # The weight for each slot enters at the top of a column as the slot reaches it.
        for c in range(columns):
            x = base + c
            value, place = np.float32(0), np.int32(0)
            if control[0, x] & FILLED and c < weight_columns[0, x]:
                at = weight_address[0, x] + c
                value, place = values[at], index[at]
            weight_value[base, c] = value
            weight_index[base, c] = place

        for r in range(rows):
            # A fold takes its sums' bank with its first slots and leaves the results there.
            if t - last_edge[r] < columns + adder_cycles:
                for c in range(columns):
                    k = control[r, base + adder_cycles + c]
                    if k & (OPENS | CLOSES):
                        at = (k & TURN) + (interleave if k & BANK else 0)
                        if k & OPENS:
                            if bank_state[at, r, c] != 0:
                                return SUM_BANK_IN_USE, t, r
                            bank_state[at, r, c] = 1
                        if k & CLOSES:
                            if bank_state[at, r, c] != 1:
                                return SUM_BANK_IN_USE, t, r
                            bank_state[at, r, c] = 2
                            bank_value[at, r, c] = ring[leaving, r, c]
            # A row that holds no slot adds nothing.
            if t - last_slot[r] < columns:
                for c in range(columns):
                    k = control[r, base + c]
                    at = np.int64(unit[r, base + c]) * pm + weight_index[base + r, c]
                    product = activations[at] * weight_value[base + r, c]
                    partial = ring[short, r, c] if k & SHORT else ring[now, r, c]
                    if k & OPENS:
                        partial = np.float32(0)
                    ring[now, r, c] = partial + product

        # Column 0 drains for v = 0, 1, ..: one cycle in which every row puts its sum in the chain,
        # and the chain shifts down until all of them are out. Other columns follow.
        at = t % (drain_delay + 1)
        if drain_line[at] >= 0:
            if draining >= 0:
                return DRAIN_IN_USE, t, 0
            draining, drain_t, drain_s = drain_line[at], 0, 0
            drain_line[at] = -1
        drain_turn[0, base] = -1
        if draining >= 0:
            drain_turn[0, base] = drain_t
            drain_shift[0, base] = drain_s
            drain_fold[0, base] = draining
            last_drain = t
            if part == FILL and draining == folds - 1:
                part = DRAIN
            drain_s += 1
            if drain_s == rows:
                drain_s = 0
                drain_t += 1
                short_fold = draining % column_folds == column_folds - 1
                if drain_t == fold_sums[1 if short_fold else 0]:
                    draining = -1
        parts[part] += 1
        if t - last_drain < columns:
            for c in range(columns):
                v = drain_turn[0, base + c]
                if v < 0:
                    continue
                s = drain_shift[0, base + c]
                i = drain_fold[0, base + c]
                if s == 0:
                    at = v + (i & 1) * interleave
                    for r in range(rows):
                        if chain_origin[r, c] >= 0:
                            return DRAIN_COLLISION, t, r
                        if bank_state[at, r, c] != 2:
                            return SUM_INCOMPLETE, t, r
                        bank_state[at, r, c] = 0
                        chain_value[r, c] = bank_value[at, r, c]
                        chain_origin[r, c] = (i * interleave + v) * rows + r
                if chain_origin[rows - 1, c] != (i * interleave + v) * rows + rows - 1 - s:
                    return SUM_OUT_OF_ORDER, t, rows - 1
                j = i % column_folds
                row = i // column_folds % row_folds * rows + rows - 1 - s
                column = (j * interleave + v) * columns + c
                if row < m and column < n:
                    product_at = i // column_folds // row_folds
                    out[(product_at * m + row) * n + column] = chain_value[rows - 1, c]
                    written += 1
                if c == columns - 1 and i == folds - 1 and s == rows - 1:
                    if v == short_sums - 1:
                        parts[0] = t
                        return (FINE if written == out.size else SUM_INCOMPLETE), t, 0
                for r in range(rows - 1, 0, -1):
                    chain_value[r, c] = chain_value[r - 1, c]
                    chain_origin[r, c] = chain_origin[r - 1, c]
                chain_origin[0, c] = -1

        quiet = 0 if ident[0, base] >= 0 else quiet + 1
        if quiet > patience:
            return STUCK, t, 0
