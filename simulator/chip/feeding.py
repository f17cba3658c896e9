"""What the array waits for: activations on their way from the buffer, and the buffer's banks.

The array takes beats in blocks, each block a fixed time after the one before; the feeder asks for
all rows' beats at once, and a request takes as many cycles as it wants words of one bank
(`nofm.rtl.chip.banks`). When a beat comes late, the whole array waits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from nofm.kernels.tiered import JIT_OPTIONS

Array = np.ndarray[Any, Any]


@njit(cache=True, nogil=True, **JIT_OPTIONS)  # type: ignore[untyped-decorator]
def waited(
    costs: Any,
    repeats: Any,
    gather: Any,
    lanes: Any,
    latency: Any,
    begins: Any,
    block: Any,
    unit: Any,
    visit: Any,
    depth: Any,
    behind: Any,
    late: Any,
) -> Any:
    """Cycles that the array waits in a job, and cycles from the job to its last request.

    Args:
        costs: cycles of every request of a fold's walk: int64 [folds, passes].
        repeats: walks of each fold.
        gather: requests of which a beat is made.
        lanes: cycles in which a fold's held places come.
        latency: cycles from a job to its first beat, without `lanes`.
        begins: cycles from the job to the array's wish for its first beat.
        block: beats that the array takes in a row; `unit`: cycles from a block to the next;
            `visit`: from a walk's first block to the next walk's.
        late: cycles that the array waits for its first weights.
        depth: beats that the feeder may be ahead; `behind`: of `latency`, cycles behind a request.
    """
    folds, passes = costs.shape
    taken = np.zeros(depth, np.int64)
    asked = latency - behind + lanes
    fold_asked, beat = asked - lanes - 1, 0
    for fold in range(folds):
        for walk in range(repeats):
            if walk == 0:
                asked = max(asked, fold_asked + lanes + 1)
                fold_asked = asked
            in_walk = 0
            number = (fold * repeats + walk) * visit + begins
            for k in range(passes):
                if beat >= depth:
                    asked = max(asked, taken[beat % depth] - behind)
                asked += costs[fold, k]
                if (k + 1) % gather and k + 1 < passes:
                    continue
                wanted = number + in_walk // block * unit + in_walk % block
                late = max(late, asked - 1 + behind - wanted)
                taken[beat % depth] = wanted + late
                beat += 1
                in_walk += 1
    return late, asked
