"""The golden model of the chip: what a program does to memory.

It sees jobs and memory, and knows nothing of layers. Units work side by side: a job that has been
dispatched may be done at any time until another one waits for its unit, so a `Chip` does jobs as
late as can be, or in any order that its random numbers choose. A program is right where all of
these end with the same memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from nofm.dataflow.accelerator import Accelerator
from nofm.rtl.program.array import Lanes, compute, needed
from nofm.rtl.program.feed import activation_beats, weight_words
from nofm.rtl.program.load import load_activations, load_weights
from nofm.rtl.program.results import collect, store
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.program.units import (
    LOAD_ACTIVATIONS,
    LOAD_WEIGHTS,
    PRODUCT,
    STORE,
    Job,
    part_of,
)
from nofm.rtl.stce.geometry import Geometry

Halves = np.ndarray[Any, np.dtype[np.uint16]]

NAN = 0x7E00
"""What buffers hold before anything is loaded: so what is read by mistake shows."""


class Chip:
    """The state of a chip between jobs.

    Args:
        memory: uint16; jobs write it in place.
        rng: chooses when jobs are done; as late as can be, where not given.
    """

    def __init__(
        self, accelerator: Accelerator, memory: Halves, rng: np.random.Generator | None = None
    ) -> None:
        self.sizes, self.geometry = ChipSizes.of(accelerator), Geometry.of(accelerator)
        self.memory, self.rng = memory, rng
        self.activations = np.full(self.sizes.activation_elements, NAN, np.uint16)
        self.weights = np.full(self.sizes.weight_elements, NAN, np.uint32)
        self.banks = np.full((self.sizes.columns, self.sizes.result_depth), NAN, np.uint16)
        self.sums = np.zeros((0, 0, 0), np.float32)
        self.open: _Open | None = None
        self.does: dict[str, Callable[[Mapping[str, int]], None]] = {
            LOAD_ACTIVATIONS: lambda job: load_activations(
                self.sizes, job, self.memory, self.activations
            ),
            LOAD_WEIGHTS: lambda job: load_weights(self.sizes, job, self.memory, self.weights),
            PRODUCT: self.product,
            STORE: lambda job: store(self.sizes, job, self.banks, self.memory),
        }

    def run(self, jobs: Iterable[Job]) -> None:
        """Do all jobs."""
        waiting: dict[str, deque[Job]] = {unit: deque() for unit in self.does}
        for job in jobs:
            for unit in sorted(job.after):
                while waiting[unit]:
                    self._do(waiting[unit])
            waiting[job.unit].append(job)
            while self.rng is not None and self.rng.random() < 0.5:
                self._any(waiting)
        while any(waiting.values()):
            self._any(waiting)
        if self.open is not None:
            raise ValueError("the array's last job lacks operands")

    def _any(self, waiting: Mapping[str, deque[Job]]) -> None:
        """One job of any unit that has some."""
        units = [unit for unit, jobs in waiting.items() if jobs]
        if units:
            chosen = 0 if self.rng is None else int(self.rng.integers(len(units)))
            self._do(waiting[units[chosen]])

    def _do(self, jobs: deque[Job]) -> None:
        job = jobs.popleft()
        self.does[job.unit](job.fields)

    def product(self, values: Mapping[str, int]) -> None:
        """A product's job: what its feeds give goes to the array's job, which may be an earlier
        one's."""
        if values["begins"]:
            if self.open is not None:
                raise ValueError("the array's job lacks operands, and another one begins")
            taken = part_of(values, "collect_") if values["collects"] else None
            self.open = _Open(self.geometry, part_of(values, "array_"), taken)
        if self.open is None:
            raise ValueError("a product's job goes on with no job of the array")
        feed, weight = part_of(values, "activation_"), part_of(values, "weight_")
        rows, columns = self.sizes.rows, self.sizes.columns
        _check_held("activations", feed, rows)
        _check_held("weights", weight, rows if weight["to_rows"] else columns)
        complete = self.open.take(
            activation_beats(self.sizes, feed, self.activations),
            weight_words(self.sizes, weight, self.weights),
        )
        if complete != bool(values["ends"]):
            raise ValueError(f"a product's job ends: {values['ends']}, its operands: {complete}")
        if complete:
            array, self.open = self.open, None
            lanes, self.sums = compute(
                self.geometry, array.job, array.activations, array.weights, self.sums
            )
            if array.collected is not None:
                collect(self.sizes, array.collected, lanes, self.banks)
            elif any(lanes):
                raise ValueError("results that nobody collects")


def _check_held(what: str, values: Mapping[str, int], lanes: int) -> None:
    """Refuse a feed whose held places are not one for every lane of its folds."""
    if values.get("hold_once"):
        held = lanes
    elif what == "weights" and not values["to_rows"]:
        held = (values["outer"] + 1) * lanes
    else:
        held = values["outer"] * lanes + values["lanes_last"]
    if values["held_total"] + 1 != held:
        raise ValueError(f"{values['held_total'] + 1} held places of {what}, for {held} lanes")


class _Open:
    """A job of the array that waits for operands."""

    def __init__(
        self, geometry: Geometry, job: Mapping[str, int], collected: Mapping[str, int] | None
    ) -> None:
        self.job, self.collected = job, collected
        self.needed = needed(geometry, job)
        self.activations: Lanes = [[] for _ in self.needed[0]]
        self.weights: Lanes = [[] for _ in self.needed[1]]

    def take(self, activations: Lanes, weights: Lanes) -> bool:
        """Whether the operands are complete with these.

        Raises:
            ValueError: there are too many, or a lane lacks some when another one is complete.
        """
        for own, given in ((self.activations, activations), (self.weights, weights)):
            if len(own) != len(given):
                raise ValueError(f"{len(given)} lanes are fed, and the job has {len(own)}")
            for lane, words in zip(own, given, strict=True):
                lane += words
        have = [[len(lane) for lane in lanes] for lanes in (self.activations, self.weights)]
        if have == list(self.needed):
            return True
        for some, all_ in zip(have, self.needed, strict=True):
            if any(a > b or (a == b > 0) for a, b in zip(some, all_, strict=True)):
                raise ValueError(f"lanes get {have}, and need {list(self.needed)}")
        return False
