"""Products of a recorded training step as the array's RTL runs them: whole, or tiles of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product as cartesian
from typing import Any

import numpy as np

from nofm.dataflow.accelerator import Accelerator, DataflowName
from nofm.dataflow.methods import METHODS, Method
from nofm.dataflow.operands import Operands, operands, recorded_operands
from nofm.dataflow.products import Product, products
from nofm.kernels.compressed import Compressed, compress, decompress
from nofm.kernels.errors import InputError, positive, unknown
from nofm.kernels.pattern import DENSE, Pattern
from nofm.verification import STAGES, Gemm, mapped
from nofm.workloads import trace_file
from nofm.workloads.layer import WeightLayer
from nofm.workloads.step_tensors import StepTensors

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedGemm(Gemm):
    """A product of a recorded step, or a tile of its results over the whole reduction.

    Attributes:
        layer: by name.
        part: which one of the products of its stage.
        whole: the product that it is, or is a tile of.
        first: the first of its channel groups, rows and columns in `whole`.
        left: float16 [count, m, taps, length].
        right: its columns of the right operand.
    """

    layer: str
    part: int
    whole: Product
    first: tuple[int, int, int]
    left: Array
    right: Compressed

    def __str__(self) -> str:
        part = f" part {self.part}" if self.part else ""
        return f"{self.layer} {self.stage}{part}, {self.extent}: {self.work}"

    @property
    def extent(self) -> str:
        """Which results it computes."""
        if self.results == self.of:
            return "whole"
        group, row, column = self.first
        parts = [f"rows {row}-{row + self.m - 1}", f"columns {column}-{column + self.n - 1}"]
        if self.whole.count > 1:
            parts.insert(0, f"group {group}")
        return ", ".join(parts)

    @property
    def results(self) -> int:
        """How many results it computes."""
        return self.count * self.m * self.n

    @property
    def of(self) -> int:
        """How many its product has."""
        return self.whole.count * self.whole.m * self.whole.n

    def operands(self) -> tuple[Array, Compressed]:
        return self.left, self.right

    def document(self) -> dict[str, Any]:
        sizes = {name: getattr(self.whole, name) for name in ("count", "m", "taps", "length", "n")}
        group, row, column = self.first
        return {
            **super().document(),
            "recorded": {
                "layer": self.layer,
                "stage": self.stage,
                "part": self.part,
                "product": sizes | {"pattern": str(self.whole.pattern)},
                "first": {"group": group, "row": row, "column": column},
                "results": self.results,
                "of": self.of,
            },
        }


@dataclass(frozen=True)
class Selection:
    """What of a recorded step is run.

    Attributes:
        layer: by name; every layer that has tensors where None.
        stage: ff, bp or wu; all three where None.
        method, pattern: prune the dense tensors by magnitude as this method would; None for the
            operands that trained.
        dataflow: "ws" or "os"; None for the scheduler's choice.
        tiles: most tiles of a product that are run; a product that has no more is run whole.
    """

    layer: str | None = None
    stage: str | None = None
    method: Method | None = None
    pattern: Pattern = DENSE
    dataflow: DataflowName | None = None
    tiles: int = 2

    def __post_init__(self) -> None:
        positive("--tiles", self.tiles, at_most=100_000)
        if self.stage is not None and self.stage not in STAGES:
            raise unknown("stage", self.stage, STAGES)


def recorded_gemms(
    path: str | os.PathLike[str], accelerator: Accelerator, selection: Selection
) -> tuple[list[RecordedGemm], list[str]]:
    """What is to be run of the step in a trace file, and notes of what is run otherwise than it
    trained, or not at all.

    A tile is twice as high and wide as the array, with the whole reduction; those that are run are
    the first, the last, and others evenly between them. Dataflow and interleave are the scheduler's
    for the whole product.

    Raises:
        InputError: the file cannot be read, has no tensors, or not the layer or stage that is
            asked for; the accelerator lacks the pattern.
    """
    trace, tensors = trace_file.load_step(path)
    if not tensors.layers:
        raise InputError(
            f"trace file {os.fspath(path)!r} carries no tensors: nofm train --record and "
            "nofm.record write such as do"
        )
    if selection.layer is not None and selection.layer not in tensors.layers:
        raise unknown("layer with tensors", selection.layer, tensors.layers)
    if selection.method is not None:
        accelerator.require_pattern(selection.pattern)
    gemms: list[RecordedGemm] = []
    notes: list[str] = []
    cut = 0
    number = 0
    for layer in trace.weight_layers:
        if layer.name not in tensors.layers or selection.layer not in (None, layer.name):
            continue
        for stage in STAGES if selection.stage is None else (selection.stage,):
            for part, each in enumerate(_operands(layer, tensors, stage, selection, notes)):
                number += 1
                computed = _computable(each, accelerator, f"{layer.name} {stage}", notes)
                tiles = list(_tiles(computed, layer.name, stage, part, accelerator, selection))
                cut += sum(tile.results for tile in tiles) < tiles[0].of
                gemms += tiles
    if not gemms:
        asked = f"layer {selection.layer!r}" if selection.layer else "the trace"
        raise InputError(f"{asked} has no product in stage {selection.stage}: nothing needs it")
    if cut:
        high, wide = _tile(accelerator)
        notes.append(
            f"{cut} of {number} products are run in part: at most {selection.tiles} of their tiles "
            f"of {high} x {wide} results, over the whole reduction and spread evenly; --tiles runs "
            "more"
        )
    # The seed, which nothing is drawn from here, tells the waveforms of those that differ apart.
    return [replace(gemm, seed=seed) for seed, gemm in enumerate(gemms)], notes


def _operands(
    layer: WeightLayer, tensors: StepTensors, stage: str, selection: Selection, notes: list[str]
) -> tuple[Operands, ...]:
    own = tensors.layers[layer.name]
    if selection.method is not None:
        return operands(layer, own, stage, selection.method, selection.pattern)
    trained = tensors.trained.get(layer.name)
    found = recorded_operands(layer, own, stage, trained)
    if trained is not None:
        method = METHODS[trained.method]
        wanted = products(replace(layer, prunable=True), stage, method, trained.pattern)
        if any(a.pattern != b.product.pattern for a, b in zip(wanted, found, strict=True)):
            notes.append(
                f"{layer.name} {stage}: dense, since its {method.operand(stage)} was not "
                f"{trained.pattern} in the recorded step of {method.title}"
            )
    return found


def _computable(
    each: Operands, accelerator: Accelerator, name: str, notes: list[str]
) -> tuple[Product, Array, Compressed]:
    """The product and its operands, by a pattern that the accelerator has."""
    wanted = each.product.pattern
    has = accelerator.covering(wanted)
    right = each.right
    if has != wanted:
        notes.append(f"{name}: {wanted} computed as {has}, since {accelerator.name!r} lacks it")
    if not isinstance(right, Compressed):
        right = compress(right, has)
    elif has != wanted:
        right = compress(decompress(right), has)
    return replace(each.product, pattern=has), each.left, right


def _tile(accelerator: Accelerator) -> tuple[int, int]:
    """Rows and columns of results of a tile: a few folds of the array."""
    return 2 * accelerator.array.rows, 2 * accelerator.array.columns


def _tiles(
    found: tuple[Product, Array, Compressed],
    layer: str,
    stage: str,
    part: int,
    accelerator: Accelerator,
    selection: Selection,
) -> Iterator[RecordedGemm]:
    product, left, right = found
    dataflow, interleave = mapped(
        product, f"layer {layer!r}, {stage}", accelerator, selection.dataflow
    )
    high, wide = _tile(accelerator)
    places = list(
        cartesian(range(product.count), range(0, product.m, high), range(0, product.n, wide))
    )
    count = 1
    if len(places) <= selection.tiles:
        places, count, high, wide = [(0, 0, 0)], product.count, product.m, product.n
    chosen = np.linspace(0, len(places) - 1, min(selection.tiles, len(places))).round().astype(int)
    for group, row, column in (places[place] for place in chosen):
        rows = slice(row, min(row + high, product.m))
        columns = slice(column, min(column + wide, product.n))
        groups = slice(group, group + count)
        yield RecordedGemm(
            m=rows.stop - rows.start,
            length=product.length,
            n=columns.stop - columns.start,
            pattern=product.pattern,
            dataflow=dataflow,
            stage=stage,
            count=count,
            taps=product.taps,
            interleave=interleave,
            layer=layer,
            part=part,
            whole=product,
            first=(group, row, column),
            left=left[groups, rows],
            right=replace(
                right,
                values=right.values[groups, ..., columns],
                index=right.index[groups, ..., columns],
            ),
        )
