"""How fast weights are pruned, compressed and updated, as ratios measured in one run.

python benchmarks/update_speed.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from nofm.kernels.compressed import compress
from nofm.kernels.fused_update import update_and_compress
from nofm.kernels.optimizer import Sgd, update
from nofm.kernels.pattern import Pattern

SIZE = 2048
SEED = 1


def seconds(function: Callable[[], object], repeats: int = 7) -> float:
    """Median of this thread's time over some runs, after one that warms up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        function()
        times.append(time.thread_time() - start)
    return float(np.median(times))


def main() -> None:
    rng = np.random.default_rng(SEED)
    weights, momenta = (rng.standard_normal((SIZE, SIZE)).astype(np.float32) for _ in range(2))
    gradients = rng.standard_normal((SIZE, SIZE)).astype(np.float16)
    halves = weights.astype(np.float16)
    by = Sgd(learning_rate=1e-3, momentum=0.9, weight_decay=1e-4)

    copy = seconds(lambda: halves.copy())
    for pattern in map(Pattern.parse, ("2:4", "2:8", "1:8")):

        def apart(pattern: Pattern = pattern) -> None:
            new = update(weights, momenta, gradients, by)
            compress(new.halves[np.newaxis], pattern)
            compress(new.halves.T[np.newaxis], pattern)

        alone = seconds(partial(compress, halves[np.newaxis], pattern))
        shared = seconds(partial(compress, halves[np.newaxis], pattern, sharing=4))
        two = seconds(apart)
        fused = seconds(partial(update_and_compress, weights, momenta, gradients, by, pattern))
        print(
            f"{pattern}: compress {alone * 1e3:.1f} ms ({alone / copy:.0f} copies of the matrix), "
            f"4 columns a mask {shared * 1e3:.1f} ms; update and both forms: "
            f"fused {fused * 1e3:.1f} ms, apart {two * 1e3:.1f} ms, {two / fused:.2f} times"
        )


if __name__ == "__main__":
    main()
