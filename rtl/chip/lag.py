"""Lag: by how many words the array's first row or column is ahead of its last one.

Every row does what the first one does, `row_delay` cycles later for each row in between, and every
column one cycle later. Feeders serve all lanes in lockstep, so a lane's queue must hold the lag:
with a shorter queue the last lane's is full before the first lane has what it needs to go on, the
array waits for ever, and so does the feeder.
"""

from __future__ import annotations

from nofm.rtl.stce.geometry import Geometry


def activation_lag(geometry: Geometry) -> int:
    """Beats that the first row may have taken before the last row takes its first one.

    In WS a block of V groups of F beats is fetched in every `unit` cycles (docs/timing.md, "The
    array"), and of a span of cycles so many blocks may lie in it that two of them do not whole.
    """
    g = geometry
    blocks = [(1, 1), *((n, v) for n in range(2, g.registers + 1) for v in range(1, g.sums + 1))]
    lags = [_block_lag(g, n, v, beats) for n, v in blocks for beats in range(1, g.beats + 1)]
    return max(g.rows - 1, *lags)


def _block_lag(g: Geometry, n: int, v: int, beats: int) -> int:
    period = 1 if n == 1 else max(v, g.adder_cycles)
    span = (g.rows - 1) * ((n - 1) * period + g.adder_cycles)
    unit = max(n * period, v * beats)
    return min(span, (span // unit + 2) * v * beats)


def weight_lag(geometry: Geometry) -> int:
    """Kept elements that the first row or column may have taken before the last takes its first:
    one a cycle."""
    g = geometry
    return max((g.rows - 1) * g.longest_row_delay, g.columns - 1)
