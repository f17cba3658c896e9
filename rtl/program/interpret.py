"""The golden model of the chip: what a program does to memory.

It sees descriptors and memory, and knows nothing of layers. Units work side by side: a job that has
been handed out may be done at any time until another one waits for its unit, so a `Chip` does jobs
as late as can be, or in any order that its random numbers choose. A program is right where all of
these end with the same memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from nofm.dataflow.accelerator import Accelerator
from nofm.rtl.pregeneration.geometry import Geometry as UpdateGeometry
from nofm.rtl.program.array import Lanes, compute, needed
from nofm.rtl.program.encoding import Descriptor
from nofm.rtl.program.feed import activation_beats, weight_words
from nofm.rtl.program.load import load_activations, load_weights
from nofm.rtl.program.prune import prune
from nofm.rtl.program.results import collect, store
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.program.update import do_update
from nofm.rtl.program.vector import vector
from nofm.rtl.stce.geometry import Geometry

Halves = np.ndarray[Any, np.dtype[np.uint16]]
Values = Mapping[str, int]

NAN = 0x7E00
"""What buffers hold before anything is loaded: so what is read by mistake shows."""

FED_BY = {"array": ("feed_activations", "feed_weights"), "collect": ("array",)}
"""Units whose jobs others wait for, for what streams from one to the other."""


class Chip:
    """The state of a chip between jobs.

    Args:
        memory: uint16; jobs write it in place.
        rng: chooses when jobs are done; as late as can be, where not given.
    """

    def __init__(
        self, accelerator: Accelerator, memory: Halves, rng: np.random.Generator | None = None
    ) -> None:
        sizes, updates = ChipSizes.of(accelerator), UpdateGeometry.of(accelerator)
        self.sizes, self.geometry = sizes, Geometry.of(accelerator)
        self.memory, self.rng = memory, rng
        self.activations = np.full(sizes.activation_elements, NAN, np.uint16)
        self.weights = np.full(sizes.weight_elements, NAN, np.uint32)
        self.banks = np.full((sizes.columns, sizes.result_depth), NAN, np.uint16)
        self.sums = np.zeros((0, 0, 0), np.float32)
        self.by_row: Lanes = [[] for _ in range(sizes.rows)]
        self.row_weights: Lanes = [[] for _ in range(sizes.rows)]
        self.column_weights: Lanes = [[] for _ in range(sizes.columns)]
        self.results: Lanes = [[] for _ in range(sizes.columns)]
        self.does: dict[str, Callable[[Values], None]] = {
            "load_activations": lambda job: load_activations(sizes, job, memory, self.activations),
            "load_weights": lambda job: load_weights(sizes, job, memory, self.weights),
            "feed_activations": self._feed_activations,
            "feed_weights": self._feed_weights,
            "array": self._array,
            "collect": self._collect,
            "store": lambda job: store(sizes, job, self.banks, memory),
            "vector": lambda job: vector(sizes, job, memory),
            "update": lambda job: do_update(sizes, updates, job, memory),
            "prune": lambda job: prune(sizes, updates.sore, job, memory),
        }
        self.waiting: dict[str, deque[Values]] = {unit: deque() for unit in self.does}

    def run(self, program: Iterable[Descriptor]) -> None:
        """Do all jobs of a program.

        Raises:
            ValueError: a unit waits for what never comes, or something is left that nobody takes.
        """
        for descriptor in program:
            for unit in descriptor.wait:
                self._finish(unit)
            for unit, job in descriptor.jobs.items():
                self.waiting[unit].append(job)
            while self.rng is not None and self.rng.random() < 0.5:
                self._any(self.rng)
        for unit in self.does:
            self._finish(unit)
        streams = (self.by_row, self.row_weights, self.column_weights, self.results)
        if any(lane for lanes in streams for lane in lanes):
            raise ValueError("a program ends with operands or results that nobody takes")

    def _any(self, rng: np.random.Generator) -> None:
        """One job that can be done."""
        units = [unit for unit, jobs in self.waiting.items() if jobs and self._ready(unit)]
        if units:
            self._do(units[int(rng.integers(len(units)))])

    def _finish(self, unit: str) -> None:
        """Do all jobs of a unit, and what they need."""
        while self.waiting[unit]:
            if self._ready(unit):
                self._do(unit)
                continue
            sources = [source for source in FED_BY[unit] if self.waiting[source]]
            if not sources:
                raise ValueError(f"{unit} waits for what never comes")
            for source in sources:
                self._step(source)

    def _step(self, unit: str) -> None:
        """One job of a unit, if it can be done, else one of what it waits for."""
        if self._ready(unit):
            self._do(unit)
            return
        for source in FED_BY[unit]:
            if self.waiting[source]:
                self._step(source)
                return
        raise ValueError(f"{unit} waits for what never comes")

    def _do(self, unit: str) -> None:
        self.does[unit](self.waiting[unit].popleft())

    def _ready(self, unit: str) -> bool:
        """Whether the first job of a unit has what it needs."""
        job = self.waiting[unit][0]
        if unit == "array":
            activations, weights = needed(self.geometry, job)
            return _has(self.by_row, activations) and _has(self._weights(job), weights)
        if unit == "collect":
            return _has(self.results, self._collected(job))
        return True

    def _feed_activations(self, job: Values) -> None:
        _check_held("activations", job, self.sizes.rows)
        _give(self.by_row, activation_beats(self.sizes, job, self.activations))

    def _feed_weights(self, job: Values) -> None:
        rows = bool(job["to_rows"])
        _check_held("weights", job, self.sizes.rows if rows else self.sizes.columns)
        lanes = self.row_weights if rows else self.column_weights
        _give(lanes, weight_words(self.sizes, job, self.weights))

    def _weights(self, job: Values) -> Lanes:
        return self.column_weights if job["output_stationary"] else self.row_weights

    def _array(self, job: Values) -> None:
        activations, weights = needed(self.geometry, job)
        found, self.sums = compute(
            self.geometry,
            job,
            _take(self.by_row, activations),
            _take(self._weights(job), weights),
            self.sums,
        )
        _give(self.results, found)

    def _collected(self, job: Values) -> list[int]:
        """Results that each column has for the collector."""
        one = job["outer"] * (job["inner"] + 1) + job["inner_last"] + 1
        slots = [
            job["slots"] + (column < job["short_from"]) for column in range(self.sizes.columns)
        ]
        return [one * count for count in slots]

    def _collect(self, job: Values) -> None:
        collect(self.sizes, job, _take(self.results, self._collected(job)), self.banks)


def _give(lanes: Lanes, words: Lanes) -> None:
    for lane, more in zip(lanes, words, strict=True):
        lane += more


def _has(lanes: Lanes, counts: list[int]) -> bool:
    return all(len(lane) >= count for lane, count in zip(lanes, counts, strict=True))


def _take(lanes: Lanes, counts: list[int]) -> Lanes:
    taken = [lane[:count] for lane, count in zip(lanes, counts, strict=True)]
    for lane, count in zip(lanes, counts, strict=True):
        del lane[:count]
    return taken


def _check_held(what: str, values: Values, lanes: int) -> None:
    """Refuse a feed whose held places are not one for every lane of its folds; of the last fold of
    rows, for as many as there are left."""
    held, folds = values["held_total"] + 1, 0 if values.get("hold_once") else values["outer"]
    last = held - folds * lanes
    whole = what == "weights" and not values["to_rows"]
    if not (last == lanes if whole else 1 <= last <= lanes):
        raise ValueError(f"{held} held places of {what}, for {folds + 1} folds of {lanes} lanes")
