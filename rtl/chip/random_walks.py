"""Cases for benches of the chip's units: random walks that stay where they may."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nofm.rtl.program.walk import Loop, Nest, WalkShape, signed

FAR = 99
"""What a loop moves a place at most, unless that place's usual step is more."""


def random_nest(
    rng: np.random.Generator,
    shape: WalkShape,
    passes: int,
    rooms: Mapping[str, int],
    steps: Mapping[str, int],
) -> Nest:
    """A walk of up to four loops, from anywhere in them on, forward and backward.

    Args:
        rng: where it comes from.
        shape: of the walk.
        passes: of the walk.
        rooms: every place stays from 0 to below this, 1 or more.
        steps: what a loop often moves a place.
    """
    far = FAR
    while True:
        counts = [int(rng.integers(1, passes + 1)) for _ in range(int(rng.integers(1, 5)))]
        counts[-1] *= -(-passes // int(np.prod(counts)))
        loops = tuple(
            Loop(
                count,
                {
                    name: (step, 0, int(rng.integers(-far, far + 1)))[rng.integers(3)]
                    for name, step in steps.items()
                },
            )
            for count in counts
        )
        first = int(rng.integers(0, int(np.prod(counts)) - passes + 1))
        values = shape.encode("", Nest({}, loops, first, passes))
        start = {}
        for name, width in shape.places.items():
            at = [signed(each[name], width) for each in shape.passes("", values)]
            if max(at) - min(at) >= rooms[name]:
                break
            start[name] = int(rng.integers(-min(at), rooms[name] - max(at)))
        else:
            return Nest(start, loops, first, passes)
        # Where there is little room, large steps are of no use.
        far = max(1, far * 9 // 10)
        if far == 1:
            steps = dict.fromkeys(steps, 0) if rng.random() < 0.1 else steps


def moved(nest: Nest, **by: int) -> Nest:
    """The same walk, from elsewhere."""
    start = {name: at + by.get(name, 0) for name, at in nest.start.items()}
    return Nest(start, nest.loops, nest.first, nest.total)
