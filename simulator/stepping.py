"""The array, one cycle at a time: compiled loops over registers, counters and handshakes.

docs/timing.md, "The array", describes the machine; nothing here knows when a fold starts or when a
job ends, other than by counting. `simulator.array` is the way in.

Nothing in the array flows from right to left: slots with their activation groups, weights that are
loaded, and drains move one column to the right a cycle, sums stay in their column, and the
accumulation buffer gives and takes them column by column. So each column does what column 0 does, a
cycle after the column on its left; only values differ. A *step* t is therefore cycle t of column 0,
cycle t + 1 of column 1, and so on: in a step all columns of a row have the same slot, bank and
place, and what leaves a column on its right enters the next one. What is the same in all columns is
kept and checked once, and column 0 is caught first. A job of s steps lasts s + columns - 1 cycles.

A counter that runs down is kept as the step in which it comes to its end. A chain of registers that
all take their neighbour's value at once is a *window* that moves over a longer line: the register
at distance d from where values enter is element base + d, and base goes down by one for every value
that enters. From the beginning of its line a window moves back to the end.

Multipliers are left out of the stepping: they give every adder its product X cycles after the slot,
so all that adders, drains and the accumulation buffer do, and nothing that a sequencer does, comes
X cycles later than here. The X cycles are added at the end.

The functions stand in one file because Numba's cache watches only the file that a function is in.
What every step calls is inlined, gets its arrays one by one, and ends its loops in one place, for
Numba counts references to arrays that it takes out of a tuple or that a loop lets go in two places.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

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
    [products, m, n]; `parts` int64 [7], what the cycles of row 0 went to.
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
def _following(place: int, size: int) -> int:
    """The place after `place` in a ring."""
    return place + 1 if place + 1 < size else 0


@njit(cache=True)
def look_up(table: Any, places: Any, out: Any) -> None:
    """`out` [n] from `table` at `places` [n]."""
    for i in range(places.size):
        out[i] = table[places[i]]


@njit(cache=True)
def _rewind(line: Any, first: int, size: int, span: int) -> None:
    """Move a window of `size` elements from `first` in a line to `span` elements further on."""
    for x in range(first + size - 1, first - 1, -1):
        line[x + span] = line[x]


@njit(cache=True)
def _last_cycle(columns: int, parts: Any, code: int, t: int) -> int:
    """The cycle in which the last column takes the job's last step, or column 0 is caught."""
    if code != FINE:
        return t
    parts[FILL] += columns - 1
    return t + columns - 1


# Places in what innermost loops see are unsigned, which spares the check for negative ones.


@njit(cache=True, forceinline=True)
def _copy(size: int, source_at: int, target_at: int, source: Any, target: Any) -> None:
    """Copy `size` elements of a flat array to another."""
    from_, to = np.uint64(source_at), np.uint64(target_at)
    for x in range(np.uint64(size)):
        target[to + x] = source[from_ + x]


@njit(cache=True, forceinline=True)
def _add(
    columns: int,
    weights_at: int,
    unit: int,
    partials_at: int,
    sums_at: int,
    value: Any,
    index: Any,
    activations: Any,
    partials: Any,
    sums: Any,
) -> None:
    """One step of a row's multipliers and adders, on flat arrays."""
    weight, group = np.uint64(weights_at), np.uint64(unit)
    partial, total = np.uint64(partials_at), np.uint64(sums_at)
    for c in range(np.uint64(columns)):
        x = activations[group + np.uint64(index[weight + c])]
        sums[total + c] = partials[partial + c] + x * value[weight + c]


# Weight stationary

# Tokens that start the rows one after the other: fetch and load for the first fold, or start fold
# token - START. 0 is no token.
PREPARE, START = 1, 2

# Counters that both dataflows have: the ends of the block, pass and fetch in progress; the fold and
# pass that are sent, and when that pass began; where the fold's activations begin.
SENT, PASS_END, FETCHED, FOLD, PASS, PASS_START, UNIT_BASE = 0, 1, 2, 3, 4, 5, 6

# Others of a row: the block that is sent; of the pass, its slots, the number of the first, and
# where that one's activations, its sum in the output and the pass's weights are; where the fold's
# sums begin in the output, its group fold, and how many columns are used. The end of the load in
# progress, its fold, where that one's weights begin, slot and column of the next one. The folds
# whose bank is in use, and whose weights have all come.
BLOCK, SLOTS, NUMBER, UNIT, ADDRESS, WEIGHTS = 7, 8, 9, 10, 11, 12
OUT_BASE, GROUP_FOLD, USED = 13, 14, 15
LOAD_END, LOAD_FOLD, LOAD_BASE, LOAD_SLOT, LOAD_COLUMN, ACTIVE, LOADED = 16, 17, 18, 19, 20, 21, 22
COUNTERS = 23


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


@njit(cache=True, forceinline=True)
def _ws_token(plan: Any, counters: Any, returned: int, t: int) -> int:
    """Whether row 0 starts the next fold: when it has sent the last block, the replay buffer and
    the weight banks are full, and the first sum of the group fold before is back."""
    if t == 0:
        return PREPARE
    following = counters[0, FOLD] + 1
    if (
        t < counters[0, SENT]
        or following == plan.folds
        or counters[0, BLOCK] < plan.blocks - 1
        or t < counters[0, FETCHED]
        or t < counters[0, LOAD_END]
    ):
        return 0
    first_group_fold = following // plan.column_folds % plan.group_folds == 0
    if first_group_fold or returned > following - plan.column_folds:
        return START + following
    return 0


@njit(cache=True)
def _ws_fold(job: Any, plan: Any, counters: Any, r: int, fold: int, t: int) -> int:
    """Start a fold in row r, whose first slot swaps the banks."""
    if (
        fold != counters[r, FOLD] + 1
        or t < counters[r, SENT]
        or counters[r, BLOCK] < plan.blocks - 1
        or t < counters[r, FETCHED]
        or t < counters[r, LOAD_END]
    ):
        return ROW_NOT_READY
    along, f = fold % plan.column_folds, fold // plan.column_folds
    counters[r, FOLD] = fold
    counters[r, BLOCK] = 0
    counters[r, UNIT_BASE] = (f * job.rows + r) * job.m
    counters[r, OUT_BASE] = f // plan.group_folds * job.m * job.n + along * job.columns
    counters[r, GROUP_FOLD] = f % plan.group_folds
    counters[r, USED] = min(job.columns, job.n - along * job.columns)
    counters[r, ACTIVE] += 1
    return FINE if counters[r, LOADED] == counters[r, ACTIVE] else WEIGHTS_NOT_LOADED


@njit(cache=True)
def _ws_pass(job: Any, plan: Any, counters: Any, base: Any, r: int, passes: int, t: int) -> None:
    """Start a pass of the block in row r."""
    first = counters[r, BLOCK] * plan.sums
    counters[r, PASS] = passes
    counters[r, PASS_START] = t
    counters[r, PASS_END] = t + plan.period
    counters[r, SLOTS] = min(plan.sums, job.m - first)
    counters[r, NUMBER] = (counters[r, FOLD] * job.m + first) * job.pn + passes
    counters[r, UNIT] = (counters[r, UNIT_BASE] + first) * job.pm
    counters[r, ADDRESS] = counters[r, OUT_BASE] + first * job.n
    entry = (counters[r, ACTIVE] & 1) * job.pn + passes
    counters[r, WEIGHTS] = (r * 2 * job.pn + entry) * 2 * job.columns + base[r, entry]


@njit(cache=True)
def _ws_load(job: Any, plan: Any, counters: Any, r: int, t: int) -> None:
    """Start to load the next fold's weights into row r, the right-most used column's first."""
    fold = counters[r, FOLD] + 1
    if fold == plan.folds:
        return
    along, f = fold % plan.column_folds, fold // plan.column_folds
    group = f % plan.group_folds * job.rows + r
    used = min(job.columns, job.n - along * job.columns)
    counters[r, LOAD_FOLD] = fold
    counters[r, LOAD_SLOT] = 0
    counters[r, LOAD_COLUMN] = used - 1
    counters[r, LOAD_END] = t + used * job.pn
    counters[r, LOAD_BASE] = -1
    if group < job.groups:
        row = f // plan.group_folds * job.groups + group
        counters[r, LOAD_BASE] = row * job.pn * job.n + along * job.columns


@njit(cache=True)
def _ws_begin(job: Any, plan: Any, counters: Any, base: Any, r: int, token: int, t: int) -> int:
    """Start the fold of a token, the next pass or the next block in row r. With a block the fetch
    of the next one begins, and with a fold the load of the next one."""
    code = FINE
    if token == 0 and t < counters[r, SENT]:
        _ws_pass(job, plan, counters, base, r, counters[r, PASS] + 1, t)
    elif token > 0 or (counters[r, BLOCK] < plan.blocks - 1 and t >= counters[r, FETCHED]):
        if token >= START:
            code = _ws_fold(job, plan, counters, r, token - START, t)
        elif token == 0:
            counters[r, BLOCK] += 1
        if token != PREPARE:
            _ws_pass(job, plan, counters, base, r, 0, t)
            counters[r, SENT] = t + job.pn * plan.period
        counters[r, FETCHED] = t + plan.fetch_cycles
        if token > 0:
            _ws_load(job, plan, counters, r, t)
    return code


@njit(cache=True, forceinline=True)
def _ws_slots(
    job: Any,
    plan: Any,
    counters: Any,
    tokens: Any,
    base: Any,
    number: Any,
    token_at: int,
    token: int,
    now: int,
    leaving: int,
    t: int,
) -> tuple[int, int]:
    """Hand tokens on from row to row, and let slots into the rows. Each must get the sum that
    belongs to it."""
    tokens[token_at, 0] = token
    code, bad = FINE, 0
    for r in range(job.rows - 1, -1, -1):
        found = FINE
        token = tokens[token_at, r]
        tokens[token_at, r + 1] = token
        if token > 0 or t >= counters[r, PASS_END]:
            found = _ws_begin(job, plan, counters, base, r, token, t)
        turn = t - counters[r, PASS_START]
        slot = counters[r, NUMBER] + turn * job.pn
        if turn >= counters[r, SLOTS]:
            slot = -1
        elif counters[r, PASS] > 0:
            if number[now, r + 1] != slot - 1:
                found = OTHER_SUM_FED_BACK
        elif r > 0 and number[leaving, r] != slot + job.pn - 1:
            found = OTHER_SUM_FROM_ABOVE
        number[now, r + 1] = slot
        if found != FINE:
            code, bad = found, r
    return code, bad


@njit(cache=True, forceinline=True)
def _ws_weights(
    job: Any,
    counters: Any,
    values: Any,
    indices: Any,
    value: Any,
    index: Any,
    base: Any,
    t: int,
) -> tuple[int, int]:
    """Shift a weight into the idle bank of each row that loads; idle rows get zeros.

    An idle bank is a shift register of N entries. Here a weight stays in its entry, and the entries
    take turns: a load shifts every bank by a multiple of N.
    """
    columns, code, bad = job.columns, FINE, 0
    for r in range(job.rows):
        if t >= counters[r, LOAD_END]:
            continue
        fold, slot = counters[r, LOAD_FOLD], counters[r, LOAD_SLOT]
        if counters[r, ACTIVE] != fold - 1:
            code, bad = WEIGHT_BANK_IN_USE, r
        entry = (fold & 1) * job.pn + slot
        line = (r * 2 * job.pn + entry) * 2 * columns
        if base[r, entry] == 0:
            _rewind(value, line, columns, columns)
            _rewind(index, line, columns, columns)
            base[r, entry] = columns
        base[r, entry] -= 1
        to = line + base[r, entry]
        value[to] = 0
        index[to] = 0
        if counters[r, LOAD_BASE] >= 0:
            at = counters[r, LOAD_BASE] + slot * job.n + counters[r, LOAD_COLUMN]
            value[to] = values[at]
            index[to] = indices[at]
        counters[r, LOAD_SLOT] += 1
        if counters[r, LOAD_SLOT] == job.pn:
            counters[r, LOAD_SLOT] = 0
            counters[r, LOAD_COLUMN] -= 1
        if t == counters[r, LOAD_END] - 1:
            counters[r, LOADED] = fold
    return code, bad


@njit(cache=True, forceinline=True)
def _ws_take(
    out: Any, ring: Any, ring_at: int, bound: Any, leaving: int, written: Any, t: int
) -> int:
    """Write the sums that leave the bottom row to the accumulation buffer."""
    at, group_fold = bound[leaving, 0], bound[leaving, 1]
    before = written[at, 0]
    written[at, 0] = group_fold
    written[at, 1] = t
    _copy(bound[leaving, 2], ring_at, at, ring, out)
    return FINE if before == group_fold - 1 else SUM_OUT_OF_ORDER


@njit(cache=True, forceinline=True)
def _ws_give(
    job: Any, counters: Any, out: Any, ring: Any, ring_at: int, written: Any, t: int
) -> int:
    """Read the sums that enter the top row, +0 for the first group fold."""
    at = counters[0, ADDRESS] + (t - counters[0, PASS_START]) * job.n
    group_fold, before, since = counters[0, GROUP_FOLD], written[at, 0], written[at, 1]
    used = counters[0, USED] if group_fold > 0 else 0
    _copy(used, at, ring_at, out, ring)
    for c in range(used, job.columns):
        ring[ring_at + c] = 0
    there = before == group_fold - 1 and t >= since + job.accumulator_cycles
    return FINE if group_fold == 0 or there else SUM_NOT_WRITTEN


@njit(cache=True, forceinline=True)
def _ws_add(
    job: Any,
    counters: Any,
    number: Any,
    value: Any,
    index: Any,
    ring: Any,
    activations: Any,
    now: int,
    leaving: int,
    t: int,
) -> None:
    """From the bottom, so that each row sees what leaves the row above before that takes more."""
    columns = job.columns
    for r in range(job.rows - 1, -1, -1):
        if number[now, r + 1] >= 0:
            own, above = now * (job.rows + 1) + r + 1, leaving * (job.rows + 1) + r
            _add(
                columns,
                counters[r, WEIGHTS],
                counters[r, UNIT] + (t - counters[r, PASS_START]) * job.pm,
                (own if counters[r, PASS] > 0 else above) * columns,
                own * columns,
                value,
                index,
                activations,
                ring,
                ring,
            )


@njit(cache=True, forceinline=True)
def _ws_part(counters: Any, filled: bool, all_sent: bool, t: int) -> int:
    """What this cycle of row 0 goes to."""
    if all_sent:
        return FILL
    if t < counters[0, SENT]:
        return ISSUE if filled else INTERLEAVE
    if counters[0, FOLD] < 0:
        return WEIGHT_LOAD if t < counters[0, LOAD_END] else ACTIVATION_PORT
    if t < counters[0, FETCHED]:
        return ACTIVATION_PORT
    return WEIGHT_LOAD if t < counters[0, LOAD_END] else ACCUMULATE


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
    last_slot = plan.folds * job.m * job.pn - 1
    activations, values, indices = data.activations, data.values, data.indices
    out, parts = data.out, data.parts

    counters = np.zeros((rows, COUNTERS), np.int64)
    counters[:, FOLD] = -1
    counters[:, BLOCK] = plan.blocks - 1
    counters[:, ACTIVE] = -1
    counters[:, LOADED] = -1
    # Two weight banks in each USPE: [rows, 2 N entries, 2 columns] flat, each entry of a row's
    # USPEs a window.
    value = np.zeros(rows * 2 * job.pn * 2 * columns, np.float32)
    index = np.zeros(rows * 2 * job.pn * 2 * columns, np.int32)
    base = np.zeros((rows, 2 * job.pn), np.int64)
    # Adders and loops: [loop, rows + 1, columns] flat, and the numbers of the slots. At [k, r + 1]
    # stands what row r began to add in the step with number k of the loop, at [k, 0] what the
    # accumulation buffer gave.
    ring = np.zeros(plan.loop * (rows + 1) * columns, np.float32)
    number = np.full((plan.loop, rows + 1), -1, np.int64)
    # Where the bottom row's sums go: their address in the output, -1 for none that leave the array;
    # their group fold; how many columns are used.
    bound = np.full((plan.loop, 3), -1, np.int64)
    # Of the sums of an address, the group fold and the step that wrote them.
    written = np.full((out.size, 2), -1, np.int64)
    # Start tokens pass the rows row_delay cycles apart, and come back when the fold's first sum
    # can be read.
    tokens = np.zeros((plan.row_delay, rows + 1), np.int64)
    returning = np.zeros(job.accumulator_cycles, np.int64)
    returned = 0

    patience = rows * plan.row_delay + job.accumulator_cycles + columns * job.pn
    patience += plan.fetch_cycles + job.pn * period
    quiet, bottom = 0, rows - 1
    now, token_at, returning_at = -1, -1, -1
    all_sent, last, filled = False, False, False
    code, r = FINE, 0
    t = -1
    while code == FINE and not last:
        t += 1
        now, token_at = _following(now, plan.loop), _following(token_at, plan.row_delay)
        leaving = now - job.adder_cycles + (plan.loop if now < job.adder_cycles else 0)
        returning_at = _following(returning_at, job.accumulator_cycles)

        if returning[returning_at] >= START:
            returned += 1
        returning[returning_at] = tokens[token_at, rows]
        last = number[leaving, rows] == last_slot
        ring_at = leaving * (rows + 1) * columns
        if bound[leaving, 0] >= 0:
            below = ring_at + rows * columns
            code = _ws_take(out, ring, below, bound, leaving, written, t)
            if code != FINE:
                r = bottom
                break
        token = _ws_token(plan, counters, returned, t)
        code, r = _ws_slots(
            job, plan, counters, tokens, base, number, token_at, token, now, leaving, t
        )
        if code != FINE:
            break
        filled = number[now, 1] >= 0
        parts[_ws_part(counters, filled, all_sent, t)] += 1
        if filled and counters[0, PASS] == 0:
            code = _ws_give(job, counters, out, ring, ring_at, written, t)
            if code != FINE:
                break
        bound[now, 0] = -1
        if number[now, rows] >= 0 and counters[bottom, PASS] == job.pn - 1:
            turn = t - counters[bottom, PASS_START]
            bound[now, 0] = counters[bottom, ADDRESS] + turn * job.n
            bound[now, 1] = counters[bottom, GROUP_FOLD]
            bound[now, 2] = counters[bottom, USED]
        code, r = _ws_weights(job, counters, values, indices, value, index, base, t)
        if code != FINE:
            break
        _ws_add(job, counters, number, value, index, ring, activations, now, leaving, t)
        all_sent = all_sent or number[now, 1] == last_slot
        quiet = 0 if filled else quiet + 1
        if quiet > patience:
            code = STUCK
    return code, _last_cycle(columns, parts, code, t), r


# Output stationary

# How far windows move down the rows until they move back.
SPAN = 256

# Control of a slot: where its sum is in a USPE's banks, whether it is the first or the last one of
# its sum, and whether there is a slot at all.
SUM, OPENS, CLOSES, FILLED = (1 << 28) - 1, 1 << 28, 1 << 29, 1 << 30

# States of a sum's place in a bank.
FREE, IN_USE, COMPLETE = 0, 1, 2

# Counters of the sequencer, beside those it shares with WS: the group sent, whether the fold is at
# its end, the passes of the job, the fold's sums and period, where its weights begin and how many
# columns are left from there, when the drain will be free. Of the drain in column 0, the fold (-1
# for none), its sums, which of them of every row is in the chain, and how far the chain has
# shifted; where the fold's values go, and how many rows and columns of them are used.
GROUP, ENDED, STEP, SUMS, PERIOD, WEIGHT_BASE, COLUMNS_LEFT, DRAINED = 7, 8, 9, 10, 11, 12, 13, 14
DRAIN_FOLD, DRAIN_SUMS, DRAIN_TURN, DRAIN_SHIFT = 15, 16, 17, 18
DRAIN_BASE, DRAIN_ROWS, DRAIN_COLUMNS = 19, 20, 21
OS_COUNTERS = 22


class OsPlan(NamedTuple):
    """What an OS job's counters count to."""

    row_folds: int
    column_folds: int
    folds: int
    last_sums: int
    drain_delay: int


@njit(cache=True)
def _os_sums(job: Any, plan: Any, fold: int) -> int:
    """Sums that a fold interleaves."""
    return plan.last_sums if (fold + 1) % plan.column_folds == 0 else job.interleave


@njit(cache=True)
def _os_begin(job: Any, plan: Any, counters: Any, drains: Any, drain_at: int, t: int) -> None:
    """Start a pass; a group when the one before is sent and the port has the next; or end the fold.

    The port runs on after the last group, so that every group takes the same time. The next fold
    starts once the drain will be free at that fold's end; how long it takes is known beforehand.
    """
    begin = t < counters[SENT]
    if begin:
        counters[PASS] += 1
    elif t >= counters[FETCHED]:
        if counters[ENDED] == 0:
            if counters[GROUP] < job.groups - 1:
                begin = True
                counters[GROUP] += 1
            else:
                counters[ENDED] = 1
                counters[DRAINED] = t + job.rows * counters[SUMS]
                drains[(drain_at + plan.drain_delay) % drains.size] = counters[FOLD]
        fold = counters[FOLD] + 1
        if counters[ENDED] == 1 and fold < plan.folds:
            sums = _os_sums(job, plan, fold)
            period = max(sums, job.adder_cycles)
            fold_cycles = job.groups * max(job.pn * period, job.fetch_cycles)
            if counters[DRAINED] - t <= fold_cycles:
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
            counters[PASS] = 0
            counters[SENT] = t + job.pn * counters[PERIOD]
            counters[FETCHED] = t + job.fetch_cycles
    if begin:
        counters[STEP] += 1
        counters[PASS_START] = t
        counters[PASS_END] = t + counters[PERIOD]


@njit(cache=True, forceinline=True)
def _os_slot(
    job: Any,
    counters: Any,
    entered: Any,
    values: Any,
    indices: Any,
    control: Any,
    unit: Any,
    weight_unit: Any,
    value: Any,
    index: Any,
    base: int,
    t: int,
) -> int:
    """A slot enters row 0, with a weight at the top of each column. Its sum must have left the
    adder."""
    code = FINE
    turn, passes, group = t - counters[PASS_START], counters[PASS], counters[GROUP]
    k = FILLED + (counters[FOLD] & 1) * job.interleave + turn
    if group + passes == 0:
        k += OPENS
    elif entered[turn, 0] != counters[STEP] - 1 or t < entered[turn, 1] + job.adder_cycles:
        code = OTHER_SUM_FED_BACK
    if group == job.groups - 1 and passes == job.pn - 1:
        k += CLOSES
    entered[turn, 0] = counters[STEP]
    entered[turn, 1] = t
    control[base] = k
    unit[base] = (counters[UNIT_BASE] + group) * job.pm
    weight_unit[base] = unit[base]
    first = turn * job.columns
    at = counters[WEIGHT_BASE] + (group * job.pn + passes) * job.n + first
    used = min(job.columns, counters[COLUMNS_LEFT] - first)
    top = base * job.columns
    _copy(used, at, top, values, value)
    _copy(used, at, top, indices, index)
    for c in range(top + used, top + job.columns):
        value[c] = 0
        index[c] = 0
    return code


@njit(cache=True, forceinline=True)
def _os_rows(
    job: Any,
    control: Any,
    unit: Any,
    weight_unit: Any,
    value: Any,
    index: Any,
    bank: Any,
    state: Any,
    ring: Any,
    activations: Any,
    base: int,
    now: int,
) -> tuple[int, int]:
    """One step of the rows' multipliers, adders and sum banks.

    A sum that leaves its adder can be used in the same step. A fold takes a sum's place with the
    sum's first slot, and completes it with the last.
    """
    columns, code, bad = job.columns, FINE, 0
    for r in range(job.rows):
        stage, places = (now * job.rows + r) * columns, r * 2 * job.interleave
        k = control[base + job.adder_cycles + r]
        if k & FILLED:
            place = places + (k & SUM)
            _copy(columns, stage, place * columns, ring, bank)
            if k & OPENS:
                if state[place] != FREE:
                    code = SUM_BANK_IN_USE
                state[place] = IN_USE
            if k & CLOSES:
                if state[place] != IN_USE:
                    code = SUM_BANK_IN_USE
                state[place] = COMPLETE
        k = control[base + r]
        if k & FILLED:
            group = unit[base + r]
            if group != weight_unit[base + r]:
                code = WEIGHT_OF_ANOTHER_SLOT
            # Behind the places there is one with zeros.
            place = job.rows * 2 * job.interleave if k & OPENS else places + (k & SUM)
            _add(
                columns,
                (base + r) * columns,
                group + r * job.groups * job.pm,
                place * columns,
                stage,
                value,
                index,
                activations,
                bank,
                ring,
            )
        if code != FINE:
            bad = r
    return code, bad


@njit(cache=True, forceinline=True)
def _os_part(plan: Any, counters: Any, filled: bool, t: int) -> int:
    """What this cycle of row 0 goes to."""
    if t < counters[SENT]:
        return ISSUE if filled else INTERLEAVE
    if counters[ENDED] == 0 or counters[FOLD] < 0:
        return ACTIVATION_PORT
    if counters[FOLD] + 1 < plan.folds or counters[DRAIN_FOLD] == counters[FOLD]:
        return DRAIN
    return FILL


@njit(cache=True)
def _os_drain_begin(job: Any, plan: Any, counters: Any, fold: int) -> int:
    """Start to drain a fold, sum after sum."""
    if counters[DRAIN_FOLD] >= 0:
        return DRAIN_IN_USE
    along, i = fold % plan.column_folds, fold // plan.column_folds
    row, column = i % plan.row_folds * job.rows, along * job.interleave * job.columns
    counters[DRAIN_FOLD] = fold
    counters[DRAIN_SUMS] = _os_sums(job, plan, fold)
    counters[DRAIN_TURN] = 0
    counters[DRAIN_SHIFT] = 0
    counters[DRAIN_BASE] = (i // plan.row_folds * job.m + row) * job.n + column
    counters[DRAIN_ROWS] = job.m - row
    counters[DRAIN_COLUMNS] = job.n - column
    return FINE


@njit(cache=True, forceinline=True)
def _os_drain_count(job: Any, counters: Any) -> None:
    """Move the drain's counters on from the step before."""
    if counters[DRAIN_FOLD] >= 0:
        counters[DRAIN_SHIFT] += 1
        if counters[DRAIN_SHIFT] == job.rows:
            counters[DRAIN_SHIFT] = 0
            counters[DRAIN_TURN] += 1
            if counters[DRAIN_TURN] == counters[DRAIN_SUMS]:
                counters[DRAIN_FOLD] = -1


@njit(cache=True, forceinline=True)
def _os_chain(
    job: Any, fold: int, turn: int, bank: Any, state: Any, chain: Any, origin: Any, base: int
) -> int:
    """Every row puts a complete sum in the drain chains."""
    columns, code = job.columns, FINE
    for r in range(job.rows):
        place = r * 2 * job.interleave + (fold & 1) * job.interleave + turn
        if origin[base + r] >= 0:
            code = DRAIN_COLLISION
        elif state[place] != COMPLETE:
            code = SUM_INCOMPLETE
        state[place] = FREE
        origin[base + r] = (fold * job.interleave + turn) * job.rows + r
        _copy(columns, place * columns, (base + r) * columns, bank, chain)
    return code


@njit(cache=True, forceinline=True)
def _os_drain(job: Any, counters: Any, out: Any, chain: Any, origin: Any, base: int) -> int:
    """The values at the feet of the drain chains go to the output."""
    columns, foot = job.columns, base + job.rows - 1
    turn, row = counters[DRAIN_TURN], job.rows - 1 - counters[DRAIN_SHIFT]
    expected = (counters[DRAIN_FOLD] * job.interleave + turn) * job.rows + row
    found, used = origin[foot] == expected, 0
    if found and row < counters[DRAIN_ROWS]:
        used = min(columns, counters[DRAIN_COLUMNS] - turn * columns)
    at = counters[DRAIN_BASE] + max(row, 0) * job.n + turn * columns
    _copy(used, foot * columns, at, chain, out)
    return FINE if found else SUM_OUT_OF_ORDER


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
    activations, values, indices = data.activations, data.values, data.indices
    out, parts = data.out, data.parts

    # Windows down the rows: of slots, their control and where their activations are, to which each
    # row adds where its own begin; of weights, those of all columns, and for which slot they came.
    depth = rows + adder_cycles
    control = np.zeros(SPAN + depth, np.int64)
    unit = np.zeros(SPAN + depth, np.int64)
    weight_unit = np.zeros(SPAN + depth, np.int64)
    value = np.zeros((SPAN + depth) * columns, np.float32)
    index = np.zeros((SPAN + depth) * columns, np.int32)
    base = SPAN
    # Two banks of V sums in each USPE: [rows, 2 V, columns] flat, and one more place with zeros;
    # the state of each place, the same in all columns.
    bank = np.zeros((rows * 2 * job.interleave + 1) * columns, np.float32)
    state = np.zeros(rows * 2 * job.interleave, np.int8)
    # The drain chains: windows down the rows, each row's values with the number of the place that
    # they came from, -1 for none.
    chain = np.zeros((SPAN + rows) * columns, np.float32)
    origin = np.full(SPAN + rows, -1, np.int64)
    chain_base = SPAN
    # Adders: [L, rows, columns] flat, what they began to add in the step with number k of their
    # pipeline.
    ring = np.zeros(adder_cycles * rows * columns, np.float32)
    # Of each sum of USPE (0, 0), the pass and the step in which it last entered the adder.
    entered = np.zeros((job.interleave, 2), np.int64)
    # Folds that are at their end, until column 0 may drain them.
    drains = np.full(plan.drain_delay + 1, -1, np.int64)

    counters = np.zeros(OS_COUNTERS, np.int64)
    counters[FOLD] = -1
    counters[ENDED] = 1
    counters[FETCHED] = job.fetch_cycles
    counters[DRAIN_FOLD] = -1

    patience = job.fetch_cycles + adder_cycles + rows * job.interleave + rows + columns
    patience += job.pn * max(job.interleave, adder_cycles)
    quiet = 0
    now, drain_at = -1, -1
    last = False
    code, r = FINE, 0
    t = -1
    while code == FINE and not last:
        t += 1
        now, drain_at = _following(now, adder_cycles), _following(drain_at, drains.size)
        if base == 0:
            _rewind(control, 0, depth, SPAN)
            _rewind(unit, 0, depth, SPAN)
            _rewind(weight_unit, 0, depth, SPAN)
            _rewind(value, 0, depth * columns, SPAN * columns)
            _rewind(index, 0, depth * columns, SPAN * columns)
            base = SPAN
        base -= 1
        if t >= counters[PASS_END]:
            _os_begin(job, plan, counters, drains, drain_at, t)
        filled = t < counters[SENT] and t - counters[PASS_START] < counters[SUMS]
        control[base] = 0
        if filled:
            code = _os_slot(
                job,
                counters,
                entered,
                values,
                indices,
                control,
                unit,
                weight_unit,
                value,
                index,
                base,
                t,
            )
            if code != FINE:
                break
        _os_drain_count(job, counters)
        if drains[drain_at] >= 0:
            code = _os_drain_begin(job, plan, counters, drains[drain_at])
            if code != FINE:
                break
            drains[drain_at] = -1
        drained = counters[DRAIN_FOLD] >= 0
        parts[_os_part(plan, counters, filled, t)] += 1
        code, r = _os_rows(
            job, control, unit, weight_unit, value, index, bank, state, ring, activations, base, now
        )
        if code != FINE:
            break
        if drained:
            if counters[DRAIN_SHIFT] == 0:
                fold, turn = counters[DRAIN_FOLD], counters[DRAIN_TURN]
                code = _os_chain(job, fold, turn, bank, state, chain, origin, chain_base)
            if code == FINE:
                code = _os_drain(job, counters, out, chain, origin, chain_base)
            if code != FINE:
                r = rows - 1
                break
            if chain_base == 0:
                _rewind(chain, 0, rows * columns, SPAN * columns)
                _rewind(origin, 0, rows, SPAN)
                chain_base = SPAN
            chain_base -= 1
            origin[chain_base] = -1
            last = (
                counters[DRAIN_FOLD] == plan.folds - 1
                and counters[DRAIN_TURN] == plan.last_sums - 1
                and counters[DRAIN_SHIFT] == rows - 1
            )
        quiet = 0 if filled or drained else quiet + 1
        if quiet > patience:
            code = STUCK
    return code, _last_cycle(columns, parts, code, t), r
