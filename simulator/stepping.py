"""The array, one cycle at a time: compiled loops over registers, counters and handshakes.

docs/timing.md, "The array", describes the machine; nothing here knows when a fold starts or when a
job ends, other than by counting. `simulator.array` is the way in.

A chain of registers that all take their neighbour's value in every cycle is a *window* that moves
over a longer line: in cycle t the register at distance c from the edge is element base + c, and
base goes down by one a cycle. A line holds `SPAN` cycles, then its window moves back to the end.
A row that holds no slot has nothing to select or add, and is passed over.

Multipliers are left out of the stepping: they give every adder its product X cycles after the slot,
so all that adders, drains and the accumulation buffer do, and nothing that a sequencer does, comes
X cycles later than here. The X cycles are added at the end.

The functions stand in one file because Numba's cache watches only the file that a function is in.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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

# What a cycle of row 0 went to: places in `simulator.timing.PARTS`.
ISSUE, INTERLEAVE, ACTIVATION_PORT, WEIGHT_LOAD, ACCUMULATE, DRAIN, FILL = 0, 1, 2, 3, 4, 5, 6


class Job(NamedTuple):
    """The machine, and the sizes of the job: `products` times [m, groups of pm] by [.., n], where
    pn of every group are kept."""

    rows: int
    columns: int
    interleave: int
    adder_cycles: int
    accumulator_cycles: int
    fetch_cycles: int
    pn: int
    pm: int
    products: int
    m: int
    groups: int
    n: int


class Data(NamedTuple):
    """What a job reads and writes, flat.

    `activations` float32 [products, groups, m, pm] in WS and [products, m, groups, pm] in OS,
    padded with zeros so that every array row of every fold has its own; `values` float32 and
    `indices` int32 [products, groups, pn, n], the compressed weights; `out` float32
    [products, n, m]; `parts` int64 [7], what the cycles of row 0 went to.
    """

    activations: Any
    values: Any
    indices: Any
    out: Any
    parts: Any


@njit(cache=True)
def _ceil(a: int, b: int) -> int:
    return -(-a // b)


@njit(cache=True)
def _rewind(line: Any) -> None:
    """Move the windows of `line` [.., SPAN + tail] back to its end."""
    for r in range(line.shape[0]):
        for x in range(line.shape[1] - SPAN - 1, -1, -1):
            line[r, SPAN + x] = line[r, x]


# Weight stationary

# Tokens that start the rows one after the other: fetch and load for the first fold, or start fold
# token - START. 0 is no token.
PREPARE, START = 1, 2

# Control of a slot: where its pass begins in a weight bank, whether its sum enters from above and
# leaves downward, and whether it is the first slot of its fold.
PLACE, ENTERS, LEAVES, SWAPS = (1 << 28) - 1, 1 << 28, 1 << 29, 1 << 30

# Counters of a row: the fold, block, pass and turn that it sends; cycles left of the fetch and the
# load in progress; what is loaded; where the fold's activations and sums begin; cycles of the
# latest fold start, slot and weight.
FOLD, BLOCK, SENDING, TURN, PASSES, FETCH_LEFT, LOAD_LEFT = 0, 1, 2, 3, 4, 5, 6
LOAD_FOLD, LOAD_SLOT, LOAD_COLUMN, LOAD_BASE, UNIT_BASE, SUM_BASE = 7, 8, 9, 10, 11, 12
LAST_START, LAST_SLOT, LAST_WEIGHT = 13, 14, 15
COUNTERS = 16


class WsPlan(NamedTuple):
    """What a WS job's counters count to."""

    sums: int
    period: int
    loop: int
    row_delay: int
    fetch_cycles: int
    blocks: int
    group_folds: int
    column_folds: int
    folds: int


class WsLines(NamedTuple):
    """Windows along each array row: of slots their number, activation group and control; of weights
    on their way their slot and fold. At the top and the bottom of the array, of sums their address
    in the accumulation buffer, group fold, and how many columns are used."""

    ident: Any
    unit: Any
    control: Any
    weight_slot: Any
    weight_fold: Any
    address: Any
    group_fold: Any
    used: Any


class WeightBanks(NamedTuple):
    """Two banks in each USPE [rows, 2 N, columns], the fold in use and where its bank begins, the
    last fold loaded, and what was shifted out towards the right."""

    value: Any
    indices: Any
    active: Any
    active_at: Any
    loaded: Any
    out_value: Any
    out_index: Any


@njit(cache=True)
def _ws_token(plan: Any, counters: Any, returned: int, t: int) -> int:
    """Whether row 0 starts the next fold: when it has sent the last block, the replay buffer and
    the weight banks are full, and the first sum of the group fold before is back."""
    if t == 0:
        return PREPARE
    following = counters[0, FOLD] + 1
    if (
        following == plan.folds
        or counters[0, SENDING] == 1
        or counters[0, BLOCK] < plan.blocks - 1
        or counters[0, FETCH_LEFT] > 0
        or counters[0, LOAD_LEFT] > 0
    ):
        return 0
    first_group_fold = following // plan.column_folds % plan.group_folds == 0
    if first_group_fold or returned > following - plan.column_folds:
        return START + following
    return 0


@njit(cache=True)
def _ws_begin(job: Any, plan: Any, counters: Any, r: int, token: int, t: int) -> int:
    """Start a fold or a block in row r, and with it the fetch and the load of the next ones."""
    begin = False
    if token >= START:
        fold = token - START
        if (
            fold != counters[r, FOLD] + 1
            or counters[r, SENDING] == 1
            or counters[r, BLOCK] < plan.blocks - 1
            or counters[r, FETCH_LEFT] > 0
            or counters[r, LOAD_LEFT] > 0
        ):
            return ROW_NOT_READY
        begin = True
        along, f = fold % plan.column_folds, fold // plan.column_folds
        counters[r, FOLD] = fold
        counters[r, BLOCK] = 0
        counters[r, UNIT_BASE] = (f * job.rows + r) * job.m
        counters[r, SUM_BASE] = (f // plan.group_folds * job.n + along * job.columns) * job.m
        counters[r, LAST_START] = t
    elif (
        counters[r, SENDING] == 0
        and counters[r, BLOCK] < plan.blocks - 1
        and counters[r, FETCH_LEFT] == 0
    ):
        begin = True
        counters[r, BLOCK] += 1
    if begin:
        counters[r, SENDING] = 1
        counters[r, TURN] = 0
        counters[r, PASSES] = 0
    if begin or token == PREPARE:
        counters[r, FETCH_LEFT] = plan.fetch_cycles
    fold = counters[r, FOLD] + 1
    if token > 0 and fold < plan.folds:
        along, f = fold % plan.column_folds, fold // plan.column_folds
        group = f % plan.group_folds * job.rows + r
        row = f // plan.group_folds * job.groups + group
        used = min(job.columns, job.n - along * job.columns)
        counters[r, LOAD_FOLD] = fold
        counters[r, LOAD_SLOT] = 0
        counters[r, LOAD_COLUMN] = used - 1
        counters[r, LOAD_LEFT] = used * job.pn
        counters[r, LOAD_BASE] = -1
        if group < job.groups:
            counters[r, LOAD_BASE] = row * job.pn * job.n + along * job.columns
    return FINE


@njit(cache=True)
def _ws_start(
    job: Any, plan: Any, counters: Any, tokens: Any, token_at: int, first: int, t: int
) -> tuple[int, int]:
    """Take row 0's token and those that come to the other rows, and hand each on."""
    for r in range(job.rows - 1, -1, -1):
        token = tokens[r, token_at] if r > 0 else first
        tokens[r + 1, token_at] = token
        if token == 0 and counters[r, SENDING] == 1:
            continue
        code = _ws_begin(job, plan, counters, r, token, t)
        if code != FINE:
            return code, r
    return FINE, 0


@njit(cache=True)
def _ws_slots(job: Any, plan: Any, lines: Any, counters: Any, base: int, t: int) -> tuple[int, int]:
    """The slots that enter the rows; the sum of each must be the one that comes."""
    idents, units, controls = lines.ident, lines.unit, lines.control
    for r in range(job.rows):
        vector = counters[r, BLOCK] * plan.sums + counters[r, TURN]
        if counters[r, SENDING] == 0 or counters[r, TURN] >= plan.sums or vector >= job.m:
            idents[r, base] = -1
            units[r, base] = 0
            controls[r, base] = 0
            continue
        passes = counters[r, PASSES]
        ident = (counters[r, FOLD] * job.m + vector) * job.pn + passes
        if passes > 0:
            if idents[r, base + plan.loop] != ident - 1:
                return OTHER_SUM_FED_BACK, r
        elif r > 0 and idents[r - 1, base + job.adder_cycles] != ident + job.pn - 1:
            return OTHER_SUM_FROM_ABOVE, r
        control = passes * job.columns
        if passes == 0:
            control += ENTERS
        if passes == job.pn - 1:
            control += LEAVES
        if vector + passes == 0:
            control += SWAPS
        idents[r, base] = ident
        units[r, base] = (counters[r, UNIT_BASE] + vector) * job.pm
        controls[r, base] = control
        counters[r, LAST_SLOT] = t
    for end in range(2):
        r = end * (job.rows - 1)
        fold, ident = counters[r, FOLD], idents[r, base]
        if ident >= 0:
            along = fold % plan.column_folds
            vector = ident // job.pn - fold * job.m
            lines.address[end, base] = counters[r, SUM_BASE] + vector
            lines.group_fold[end, base] = fold // plan.column_folds % plan.group_folds
            lines.used[end, base] = min(job.columns, job.n - along * job.columns)
    return FINE, 0


@njit(cache=True)
def _ws_weights(
    job: Any, data: Any, lines: Any, banks: Any, counters: Any, base: int, t: int
) -> None:
    """The weights that enter the rows, the right-most used column's first; idle rows get zeros."""
    slots, folds = lines.weight_slot, lines.weight_fold
    for r in range(job.rows):
        if counters[r, LOAD_LEFT] == 0:
            slots[r, base] = -1
            continue
        value, index = np.float32(0), np.int32(0)
        if counters[r, LOAD_BASE] >= 0:
            at = counters[r, LOAD_BASE] + counters[r, LOAD_SLOT] * job.n
            value = data.values[at + counters[r, LOAD_COLUMN]]
            index = data.indices[at + counters[r, LOAD_COLUMN]]
        banks.out_value[r, 0] = value
        banks.out_index[r, 0] = index
        slots[r, base] = counters[r, LOAD_SLOT]
        # The fold's last weight is marked by its fold's complement.
        last = counters[r, LOAD_LEFT] == 1
        folds[r, base] = ~counters[r, LOAD_FOLD] if last else counters[r, LOAD_FOLD]
        counters[r, LAST_WEIGHT] = t
        counters[r, LOAD_LEFT] -= 1
        counters[r, LOAD_SLOT] += 1
        if counters[r, LOAD_SLOT] == job.pn:
            counters[r, LOAD_SLOT] = 0
            counters[r, LOAD_COLUMN] -= 1


@njit(cache=True)
def _ws_part(counters: Any, filled: bool, all_sent: bool) -> int:
    """What this cycle of row 0 goes to."""
    if all_sent:
        return FILL
    if counters[0, SENDING] == 1:
        return ISSUE if filled else INTERLEAVE
    if counters[0, FOLD] < 0:
        return WEIGHT_LOAD if counters[0, LOAD_LEFT] > 0 else ACTIVATION_PORT
    if counters[0, FETCH_LEFT] > 0:
        return ACTIVATION_PORT
    return WEIGHT_LOAD if counters[0, LOAD_LEFT] > 0 else ACCUMULATE


@njit(cache=True)
def _ws_count(job: Any, plan: Any, counters: Any) -> None:
    """Move the rows' counters to the next cycle."""
    for r in range(job.rows):
        if counters[r, FETCH_LEFT] > 0:
            counters[r, FETCH_LEFT] -= 1
        if counters[r, SENDING] == 1:
            counters[r, TURN] += 1
            if counters[r, TURN] == plan.period:
                counters[r, TURN] = 0
                counters[r, PASSES] += 1
                if counters[r, PASSES] == job.pn:
                    counters[r, SENDING] = 0


@njit(cache=True)
def _ws_banks(
    job: Any, lines: Any, banks: Any, counters: Any, base: int, t: int
) -> tuple[int, int]:
    """Swap banks where the first slot of a fold is, and shift weights into the idle ones.

    An idle bank is a shift register of N entries. Here its entries stay and a pointer goes round,
    which comes back to the start because a load shifts every bank by a multiple of N.
    """
    for r in range(job.rows):
        if t - counters[r, LAST_START] < job.columns:
            for c in range(job.columns):
                if lines.control[r, base + c] & SWAPS:
                    banks.active[r, c] += 1
                    banks.active_at[r, c] = (banks.active[r, c] & 1) * job.pn * job.columns + c
                    if banks.loaded[r, c] != banks.active[r, c]:
                        return WEIGHTS_NOT_LOADED, r
        if t - counters[r, LAST_WEIGHT] < job.columns:
            for c in range(job.columns - 1, -1, -1):
                slot = lines.weight_slot[r, base + c]
                if slot >= 0:
                    fold = lines.weight_fold[r, base + c]
                    if fold < 0:
                        fold = ~fold
                        banks.loaded[r, c] = fold
                    if banks.active[r, c] != fold - 1:
                        return WEIGHT_BANK_IN_USE, r
                    at = (fold & 1) * job.pn + slot
                    banks.out_value[r, c + 1] = banks.value[r, at, c]
                    banks.out_index[r, c + 1] = banks.indices[r, at, c]
                    banks.value[r, at, c] = banks.out_value[r, c]
                    banks.indices[r, at, c] = banks.out_index[r, c]
    return FINE, 0


@njit(cache=True)
def _ws_take(
    job: Any, out: Any, lines: Any, ring: Any, leaving: int, written: Any, base: int, t: int
) -> int:
    """Write the sums that leave the bottom row to the accumulation buffer."""
    for c in range(job.columns):
        x = base + job.adder_cycles + c
        if lines.control[job.rows - 1, x] & LEAVES and c < lines.used[1, x]:
            at = lines.address[1, x] + c * job.m
            if written[at, 0] != lines.group_fold[1, x] - 1:
                return SUM_OUT_OF_ORDER
            written[at, 0] = lines.group_fold[1, x]
            written[at, 1] = t
            out[at] = ring[leaving, job.rows, c]
    return FINE


@njit(cache=True)
def _ws_give(
    job: Any, out: Any, lines: Any, ring: Any, leaving: int, written: Any, base: int, t: int
) -> int:
    """Read the sums that enter the top row, +0 for the first group fold."""
    for c in range(job.columns):
        x = base + c
        if lines.control[0, x] & ENTERS:
            ring[leaving, 0, c] = 0
            if lines.group_fold[0, x] > 0 and c < lines.used[0, x]:
                at = lines.address[0, x] + c * job.m
                if (
                    written[at, 0] != lines.group_fold[0, x] - 1
                    or t < written[at, 1] + job.accumulator_cycles
                ):
                    return SUM_NOT_WRITTEN
                ring[leaving, 0, c] = out[at]
    return FINE


@njit(cache=True)
def _ws_add(
    columns: int,
    line_at: int,
    row_at: int,
    bank_at: int,
    above_at: int,
    loop_at: int,
    control: Any,
    unit: Any,
    active_at: Any,
    bank_value: Any,
    bank_index: Any,
    ring: Any,
    activations: Any,
) -> None:
    """One cycle of a row's multipliers and adders. Unsigned places in flat arrays spare the check
    for negative ones."""
    line, row, bank = np.uint64(line_at), np.uint64(row_at), np.uint64(bank_at)
    above, loop = np.uint64(above_at), np.uint64(loop_at)
    for c in range(np.uint64(columns)):
        k = control[line + c]
        at = bank + np.uint64(active_at[row + c] + (k & PLACE))
        x = activations[np.uint64(unit[line + c]) + np.uint64(bank_index[at])]
        partial = ring[above + c] if k & ENTERS else ring[loop + c]
        ring[loop + c] = partial + x * bank_value[at]


@njit(cache=True)
def step_ws(job: Any, data: Any) -> tuple[int, int, int]:
    """Step a weight-stationary `Job` to its end.

    Returns:
        What was violated, or `FINE`; the last cycle; the array row of the violation.
    """
    rows, columns = job.rows, job.columns
    sums = 1 if job.pn == 1 else job.interleave
    period = 1 if job.pn == 1 else max(sums, job.adder_cycles)
    group_folds, column_folds = _ceil(job.groups, rows), _ceil(job.n, columns)
    plan = WsPlan(
        sums,
        period,
        # A sum that is fed back went through the adder, and then through as many registers as
        # make the loop long enough for all sums.
        job.adder_cycles + max(0, sums - job.adder_cycles),
        (job.pn - 1) * period + job.adder_cycles,
        sums * job.fetch_cycles,
        _ceil(job.m, sums),
        group_folds,
        column_folds,
        job.products * group_folds * column_folds,
    )
    last_ident = plan.folds * job.m * job.pn - 1

    length = SPAN + columns + plan.loop + 1
    lines = WsLines(
        np.full((rows, length), -1, np.int64),
        np.zeros((rows, length), np.int32),
        np.zeros((rows, length), np.int32),
        np.full((rows, length), -1, np.int32),
        np.full((rows, length), -1, np.int32),
        np.zeros((2, length), np.int64),
        np.zeros((2, length), np.int32),
        np.zeros((2, length), np.int32),
    )
    banks = WeightBanks(
        np.zeros((rows, 2 * job.pn, columns), np.float32),
        np.zeros((rows, 2 * job.pn, columns), np.int32),
        np.full((rows, columns), -1, np.int32),
        np.zeros((rows, columns), np.int32),
        np.full((rows, columns), -1, np.int32),
        np.zeros((rows, columns + 1), np.float32),
        np.zeros((rows, columns + 1), np.int32),
    )
    # Adders and loops: ring[k, r + 1] holds what row r began to add in the cycle with number k of
    # the loop; ring[k, 0] what the accumulation buffer gave.
    ring = np.zeros((plan.loop, rows + 1, columns), np.float32)
    # The innermost loop sees the same arrays, flat.
    control, unit, active_at = lines.control.ravel(), lines.unit.ravel(), banks.active_at.ravel()
    value, index, flat_ring = banks.value.ravel(), banks.indices.ravel(), ring.ravel()
    # Of each sum in the accumulation buffer, the group fold and the cycle that wrote it.
    written = np.full((data.out.size, 2), -1, np.int64)

    counters = np.zeros((rows, COUNTERS), np.int64)
    counters[:, FOLD] = -1
    counters[:, BLOCK] = plan.blocks - 1
    counters[:, LAST_START:] = -columns - job.adder_cycles
    # Start tokens pass the rows row_delay cycles apart, and come back when the fold's first sum
    # can be read.
    tokens = np.zeros((rows + 1, plan.row_delay), np.int64)
    returning = np.zeros(job.accumulator_cycles, np.int64)
    returned = 0

    patience = rows * plan.row_delay + job.accumulator_cycles + columns * job.pn
    patience += plan.fetch_cycles + job.pn * period
    quiet = 0
    all_sent = False
    base = SPAN
    t = -1
    while quiet <= patience:
        t += 1
        if base == 0:
            _rewind(lines.ident)
            _rewind(lines.unit)
            _rewind(lines.control)
            _rewind(lines.weight_slot)
            _rewind(lines.weight_fold)
            _rewind(lines.address)
            _rewind(lines.group_fold)
            _rewind(lines.used)
            base = SPAN
        base -= 1
        now, leaving = t % plan.loop, (t - job.adder_cycles) % plan.loop
        token_at, returning_at = t % plan.row_delay, t % job.accumulator_cycles

        if returning[returning_at] >= START:
            returned += 1
        returning[returning_at] = tokens[rows, token_at]
        token = _ws_token(plan, counters, returned, t)
        code, r = _ws_start(job, plan, counters, tokens, token_at, token, t)
        if code == FINE:
            code, r = _ws_slots(job, plan, lines, counters, base, t)
        if code != FINE:
            return code, t, r
        data.parts[_ws_part(counters, lines.ident[0, base] >= 0, all_sent)] += 1
        _ws_weights(job, data, lines, banks, counters, base, t)
        _ws_count(job, plan, counters)
        code, r = _ws_banks(job, lines, banks, counters, base, t)
        if code != FINE:
            return code, t, r

        if t - counters[rows - 1, LAST_SLOT] < columns + job.adder_cycles:
            code = _ws_take(job, data.out, lines, ring, leaving, written, base, t)
            if code != FINE:
                return code, t, rows - 1
            if lines.ident[rows - 1, base + job.adder_cycles + columns - 1] == last_ident:
                return FINE, t, 0
        if t - counters[0, LAST_SLOT] < columns:
            code = _ws_give(job, data.out, lines, ring, leaving, written, base, t)
            if code != FINE:
                return code, t, 0
        # From the bottom, so that each row sees what leaves the row above before that takes more.
        for r in range(rows - 1, -1, -1):
            if t - counters[r, LAST_SLOT] < columns:
                _ws_add(
                    columns,
                    r * length + base,
                    r * columns,
                    r * 2 * job.pn * columns,
                    (leaving * (rows + 1) + r) * columns,
                    (now * (rows + 1) + r + 1) * columns,
                    control,
                    unit,
                    active_at,
                    value,
                    index,
                    flat_ring,
                    data.activations,
                )
        all_sent = all_sent or lines.ident[0, base] == last_ident
        quiet = 0 if lines.ident[0, base] >= 0 else quiet + 1
    return STUCK, t, 0


# Output stationary

# Control of a slot: where its sum is in a USPE's banks, whether it is the first or the last one of
# its sum, and whether there is a slot at all.
SUM, OPENS, CLOSES, FILLED = (1 << 28) - 1, 1 << 28, 1 << 29, 1 << 30

# States of a sum's place in a bank.
FREE, IN_USE, COMPLETE = 0, 1, 2

# Counters of the sequencer, beside those it shares with WS: the group sent, whether the fold is at
# its end, the passes of the job, the fold's sums and period, where its weights begin and how many
# columns are left from there, cycles until the drain is free; the fold that column 0 drains, which
# sum of every row, and how far the chain has shifted.
GROUP, ENDED, STEP, SUMS, PERIOD, WEIGHT_BASE, COLUMNS_LEFT, DRAIN_LEFT = 1, 6, 7, 8, 9, 10, 12, 13
DRAIN_FOLD, DRAIN_TURN, DRAIN_SHIFT = 14, 15, 16
OS_COUNTERS = 17


class OsPlan(NamedTuple):
    """What an OS job's counters count to."""

    row_folds: int
    column_folds: int
    folds: int
    last_sums: int
    drain_delay: int


class OsLines(NamedTuple):
    """Windows along each array row: of slots their activation group and control. Along the top, of
    slots where their weights are and the columns left there; along the bottom, of drains the sum
    (-1 for none), how far the chain has shifted, and the fold."""

    unit: Any
    control: Any
    weight_address: Any
    columns_left: Any
    drain_turn: Any
    drain_shift: Any
    drain_fold: Any


class SumBanks(NamedTuple):
    """Two banks in each USPE [rows, 2 V, columns] and the state of each place; the drain chain
    [rows, columns], each value with the number of the place it came from, -1 for none."""

    value: Any
    state: Any
    chain: Any
    origin: Any


@njit(cache=True)
def _os_sums(job: Any, plan: Any, fold: int) -> int:
    """Sums that a fold interleaves."""
    return plan.last_sums if (fold + 1) % plan.column_folds == 0 else job.interleave


@njit(cache=True)
def _os_begin(job: Any, plan: Any, counters: Any, drains: Any, t: int) -> None:
    """Start a group when the one before is sent and the port has the next, or end the fold.

    The port runs on after the last group, so that every group takes the same time. The next fold
    starts once the drain will be free at that fold's end; how long it takes is known beforehand.
    """
    if counters[SENDING] == 1 or counters[FETCH_LEFT] > 0:
        return
    begin = False
    if counters[ENDED] == 0:
        if counters[GROUP] < job.groups - 1:
            begin = True
            counters[GROUP] += 1
        else:
            counters[ENDED] = 1
            counters[DRAIN_LEFT] = job.rows * counters[SUMS]
            drains[(t + plan.drain_delay) % drains.size] = counters[FOLD]
    fold = counters[FOLD] + 1
    if counters[ENDED] == 1 and fold < plan.folds:
        sums = _os_sums(job, plan, fold)
        period = max(sums, job.adder_cycles)
        fold_cycles = job.groups * max(job.pn * period, job.fetch_cycles)
        if counters[DRAIN_LEFT] <= fold_cycles:
            begin = True
            along, i = fold % plan.column_folds, fold // plan.column_folds
            first = along * job.columns * job.interleave
            counters[ENDED] = 0
            counters[FOLD] = fold
            counters[GROUP] = 0
            counters[SUMS] = sums
            counters[PERIOD] = period
            counters[UNIT_BASE] = i * job.rows * job.groups
            counters[WEIGHT_BASE] = i // plan.row_folds * job.groups * job.pn * job.n + first
            counters[COLUMNS_LEFT] = job.n - first
    if begin:
        counters[SENDING] = 1
        counters[TURN] = 0
        counters[PASSES] = 0
        counters[FETCH_LEFT] = job.fetch_cycles


@njit(cache=True)
def _os_slot(job: Any, lines: Any, counters: Any, entered: Any, base: int, t: int) -> int:
    """The slot that enters row 0, if there is one; its sum must have left the adder."""
    lines.unit[0, base] = 0
    lines.control[0, base] = 0
    turn, passes, group = counters[TURN], counters[PASSES], counters[GROUP]
    if counters[SENDING] == 0 or turn >= counters[SUMS]:
        return FINE
    control = FILLED + ((counters[FOLD] & 1) * job.interleave + turn) * job.columns
    if group + passes == 0:
        control += OPENS
    elif entered[turn, 0] != counters[STEP] - 1 or t < entered[turn, 1] + job.adder_cycles:
        return OTHER_SUM_FED_BACK
    if group == job.groups - 1 and passes == job.pn - 1:
        control += CLOSES
    entered[turn, 0] = counters[STEP]
    entered[turn, 1] = t
    lines.unit[0, base] = (counters[UNIT_BASE] + group) * job.pm
    lines.control[0, base] = control
    address = counters[WEIGHT_BASE] + (group * job.pn + passes) * job.n + turn * job.columns
    lines.weight_address[0, base] = address
    lines.columns_left[0, base] = counters[COLUMNS_LEFT] - turn * job.columns
    return FINE


@njit(cache=True)
def _os_rows(job: Any, lines: Any, last: Any, base: int, t: int) -> int:
    """Each row takes the slot of the row above a cycle later, with its own row of activations.

    A row's weight was fetched for the slot that row 0 had as many cycles ago: it must be the same.
    """
    for r in range(job.rows - 1, -1, -1):
        if r > 0:
            lines.control[r, base] = lines.control[r - 1, base + 1]
            lines.unit[r, base] = lines.unit[r - 1, base + 1] + job.groups * job.pm
        control = lines.control[r, base]
        if control & FILLED:
            if lines.unit[r, base] != lines.unit[0, base + r] + r * job.groups * job.pm:
                return WEIGHT_OF_ANOTHER_SLOT
            last[r, 0] = t
            if control & (OPENS | CLOSES):
                last[r, 1] = t
    return FINE


@njit(cache=True)
def _os_part(plan: Any, counters: Any, filled: bool) -> int:
    """What this cycle of row 0 goes to."""
    if counters[SENDING] == 1:
        return ISSUE if filled else INTERLEAVE
    if counters[ENDED] == 0 or counters[FOLD] < 0:
        return ACTIVATION_PORT
    if counters[FOLD] + 1 < plan.folds or counters[DRAIN_FOLD] == counters[FOLD]:
        return DRAIN
    return FILL


@njit(cache=True)
def _os_count(job: Any, counters: Any) -> None:
    """Move the sequencer's counters to the next cycle."""
    if counters[FETCH_LEFT] > 0:
        counters[FETCH_LEFT] -= 1
    if counters[DRAIN_LEFT] > 0:
        counters[DRAIN_LEFT] -= 1
    if counters[SENDING] == 1:
        counters[TURN] += 1
        if counters[TURN] == counters[PERIOD]:
            counters[TURN] = 0
            counters[PASSES] += 1
            counters[STEP] += 1
            if counters[PASSES] == job.pn:
                counters[SENDING] = 0


@njit(cache=True)
def _os_weights(
    job: Any, data: Any, lines: Any, weight_value: Any, weight_index: Any, base: int
) -> None:
    """The weight for each slot enters at the top of a column as the slot reaches it."""
    for c in range(job.columns):
        x = base + c
        value, index = np.float32(0), np.int32(0)
        if lines.control[0, x] & FILLED and c < lines.columns_left[0, x]:
            at = lines.weight_address[0, x] + c
            value, index = data.values[at], data.indices[at]
        weight_value[base, c] = value
        weight_index[base, c] = index


@njit(cache=True)
def _os_places(job: Any, lines: Any, banks: Any, r: int, base: int) -> int:
    """A fold takes a sum's place with the sum's first slot, and completes it with the last."""
    for c in range(job.columns):
        control = lines.control[r, base + job.adder_cycles + c]
        place = (control & SUM) // job.columns
        if control & OPENS:
            if banks.state[r, place, c] != FREE:
                return SUM_BANK_IN_USE
            banks.state[r, place, c] = IN_USE
        if control & CLOSES:
            if banks.state[r, place, c] != IN_USE:
                return SUM_BANK_IN_USE
            banks.state[r, place, c] = COMPLETE
    return FINE


@njit(cache=True)
def _os_add(
    columns: int,
    line_at: int,
    leaving_at: int,
    weight_at: int,
    bank_at: int,
    ring_at: int,
    control: Any,
    unit: Any,
    weight_value: Any,
    weight_index: Any,
    bank_value: Any,
    ring: Any,
    activations: Any,
) -> None:
    """One cycle of a row's multipliers, adders and sum banks. A sum that leaves its adder can be
    used in the same cycle. Places as in `_ws_add`."""
    line, leaving, weight = np.uint64(line_at), np.uint64(leaving_at), np.uint64(weight_at)
    bank, stage = np.uint64(bank_at), np.uint64(ring_at)
    for c in range(np.uint64(columns)):
        k = control[leaving + c]
        if k & FILLED:
            bank_value[bank + np.uint64(k & SUM) + c] = ring[stage + c]
        k = control[line + c]
        x = activations[np.uint64(unit[line + c]) + np.uint64(weight_index[weight + c])]
        partial = bank_value[bank + np.uint64(k & SUM) + c]
        if k & OPENS:
            partial = np.float32(0)
        ring[stage + c] = partial + x * weight_value[weight + c]


@njit(cache=True)
def _os_drain_token(lines: Any, counters: Any, drains: Any, base: int, t: int) -> int:
    """Column 0 drains sum after sum: in one cycle every row puts its sum in the chain, which then
    shifts down until all of them are out."""
    at = t % drains.size
    if drains[at] >= 0:
        if counters[DRAIN_FOLD] >= 0:
            return DRAIN_IN_USE
        counters[DRAIN_FOLD] = drains[at]
        counters[DRAIN_TURN] = 0
        counters[DRAIN_SHIFT] = 0
        drains[at] = -1
    lines.drain_turn[0, base] = -1
    if counters[DRAIN_FOLD] >= 0:
        lines.drain_turn[0, base] = counters[DRAIN_TURN]
        lines.drain_shift[0, base] = counters[DRAIN_SHIFT]
        lines.drain_fold[0, base] = counters[DRAIN_FOLD]
    return FINE


@njit(cache=True)
def _os_drain_count(job: Any, plan: Any, counters: Any) -> None:
    """Move the drain's counters to the next cycle."""
    if counters[DRAIN_FOLD] >= 0:
        counters[DRAIN_SHIFT] += 1
        if counters[DRAIN_SHIFT] == job.rows:
            counters[DRAIN_SHIFT] = 0
            counters[DRAIN_TURN] += 1
            if counters[DRAIN_TURN] == _os_sums(job, plan, counters[DRAIN_FOLD]):
                counters[DRAIN_FOLD] = -1


@njit(cache=True)
def _os_drain(job: Any, plan: Any, out: Any, lines: Any, banks: Any, base: int) -> int:
    """One cycle of the drain chains: the values at their feet go to the output."""
    foot = job.rows - 1
    for c in range(job.columns):
        turn, shift = lines.drain_turn[0, base + c], lines.drain_shift[0, base + c]
        if turn < 0:
            continue
        fold = lines.drain_fold[0, base + c]
        number = (fold * job.interleave + turn) * job.rows
        if shift == 0:
            place = turn + (fold & 1) * job.interleave
            for r in range(job.rows):
                if banks.origin[r, c] >= 0:
                    return DRAIN_COLLISION
                if banks.state[r, place, c] != COMPLETE:
                    return SUM_INCOMPLETE
                banks.state[r, place, c] = FREE
                banks.chain[r, c] = banks.value[r, place, c]
                banks.origin[r, c] = number + r
        if banks.origin[foot, c] != number + foot - shift:
            return SUM_OUT_OF_ORDER
        along, i = fold % plan.column_folds, fold // plan.column_folds
        row = i % plan.row_folds * job.rows + foot - shift
        column = (along * job.interleave + turn) * job.columns + c
        if row < job.m and column < job.n:
            out[(i // plan.row_folds * job.n + column) * job.m + row] = banks.chain[foot, c]
        for r in range(foot, 0, -1):
            banks.chain[r, c] = banks.chain[r - 1, c]
            banks.origin[r, c] = banks.origin[r - 1, c]
        banks.origin[0, c] = -1
    return FINE


@njit(cache=True)
def step_os(job: Any, data: Any) -> tuple[int, int, int]:
    """Step an output-stationary `Job` to its end.

    Returns:
        What was violated, or `FINE`; the last cycle; the array row of the violation.
    """
    rows, columns, adder_cycles = job.rows, job.columns, job.adder_cycles
    row_folds, column_folds = _ceil(job.m, rows), _ceil(job.n, columns * job.interleave)
    plan = OsPlan(
        row_folds,
        column_folds,
        job.products * row_folds * column_folds,
        _ceil(job.n - (column_folds - 1) * columns * job.interleave, columns),
        # Rows work one cycle after each other, and the bottom one's sums leave their adder last.
        rows - 1 + adder_cycles - 1,
    )

    length = SPAN + max(columns + adder_cycles, rows) + 1
    lines = OsLines(
        np.zeros((rows, length), np.int32),
        np.zeros((rows, length), np.int32),
        np.zeros((1, length), np.int64),
        np.zeros((1, length), np.int64),
        np.full((1, length), -1, np.int64),
        np.zeros((1, length), np.int64),
        np.zeros((1, length), np.int64),
    )
    # Weights move down a row a cycle: a window of rows.
    weight_value = np.zeros((SPAN + rows, columns), np.float32)
    weight_index = np.zeros((SPAN + rows, columns), np.int32)
    banks = SumBanks(
        np.zeros((rows, 2 * job.interleave, columns), np.float32),
        np.zeros((rows, 2 * job.interleave, columns), np.int8),
        np.zeros((rows, columns), np.float32),
        np.full((rows, columns), -1, np.int64),
    )
    # Adders: ring[k] holds what they began to add in the cycle with number k of their pipeline.
    ring = np.zeros((adder_cycles, rows, columns), np.float32)
    # The innermost loop sees the same arrays, flat.
    control, unit, sums = lines.control.ravel(), lines.unit.ravel(), banks.value.ravel()
    value, index, flat_ring = weight_value.ravel(), weight_index.ravel(), ring.ravel()
    # Of each sum of USPE (0, 0), the step and the cycle in which it last entered the adder.
    entered = np.zeros((job.interleave, 2), np.int64)

    counters = np.zeros(OS_COUNTERS, np.int64)
    counters[FOLD] = -1
    counters[ENDED] = 1
    counters[FETCH_LEFT] = job.fetch_cycles
    counters[DRAIN_FOLD] = -1
    # Folds that are at their end, until column 0 may drain them.
    drains = np.full(plan.drain_delay + 1, -1, np.int64)
    # Of each row, the cycle of the latest slot, and of the latest that opens or closes a sum.
    last = np.full((rows, 2), -columns - adder_cycles, np.int64)
    last_drain = -columns

    patience = job.fetch_cycles + adder_cycles + rows * job.interleave + rows + columns
    patience += job.pn * max(job.interleave, adder_cycles)
    quiet = 0
    base = SPAN
    t = -1
    while quiet <= patience:
        t += 1
        if base == 0:
            _rewind(lines.unit)
            _rewind(lines.control)
            _rewind(lines.weight_address)
            _rewind(lines.columns_left)
            _rewind(lines.drain_turn)
            _rewind(lines.drain_shift)
            _rewind(lines.drain_fold)
            _rewind(weight_value.T)
            _rewind(weight_index.T)
            base = SPAN
        base -= 1
        now = t % adder_cycles

        _os_begin(job, plan, counters, drains, t)
        code = _os_slot(job, lines, counters, entered, base, t)
        if code == FINE:
            code = _os_rows(job, lines, last, base, t)
        if code == FINE:
            code = _os_drain_token(lines, counters, drains, base, t)
        if code != FINE:
            return code, t, 0
        filled = lines.control[0, base] & FILLED != 0
        data.parts[_os_part(plan, counters, filled)] += 1
        _os_weights(job, data, lines, weight_value, weight_index, base)

        for r in range(rows):
            if t - last[r, 1] < columns + adder_cycles:
                code = _os_places(job, lines, banks, r, base)
                if code != FINE:
                    return code, t, r
            if t - last[r, 0] < columns + adder_cycles:
                _os_add(
                    columns,
                    r * length + base,
                    r * length + base + adder_cycles,
                    (base + r) * columns,
                    r * 2 * job.interleave * columns,
                    (now * rows + r) * columns,
                    control,
                    unit,
                    value,
                    index,
                    sums,
                    flat_ring,
                    data.activations,
                )

        if counters[DRAIN_FOLD] >= 0:
            last_drain = t
        if t - last_drain < columns:
            code = _os_drain(job, plan, data.out, lines, banks, base)
            if code != FINE:
                return code, t, rows - 1
            x = base + columns - 1
            if (
                lines.drain_turn[0, x] == plan.last_sums - 1
                and lines.drain_shift[0, x] == rows - 1
                and lines.drain_fold[0, x] == plan.folds - 1
            ):
                return FINE, t, 0
        _os_count(job, counters)
        _os_drain_count(job, plan, counters)
        quiet = 0 if filled or t - last_drain < columns else quiet + 1
    return STUCK, t, 0
