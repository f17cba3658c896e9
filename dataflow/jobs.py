"""The jobs of a training step, in the order in which the accelerator runs them.

Forward through the layers, then backward: for each layer the gradient of its input, the gradient
of its weight, and the weight's update. Pruning is part of the update when weights are generated
ahead, and a job of its own before each product that needs it when they are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Literal

from nofm.dataflow.methods import Method
from nofm.dataflow.products import Product, products
from nofm.kernels.pattern import Pattern
from nofm.workloads.layer import Convolution, Layer, Linear, VectorWork, WeightLayer
from nofm.workloads.trace import Trace

Engine = Literal["array", "vector", "wuve", "sore", "wuve+sore"]
ENGINES: tuple[Engine, ...] = ("array", "vector", "wuve", "sore", "wuve+sore")
"""What a job runs on; its number in compiled code is its index. In "wuve+sore" new weights pass
the pruner on their way out."""

OTHER_PARAMETERS = "(other parameters)"
"""Name of the row that updates biases, scales and embeddings."""


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """What passes the pruner: `taps` runs of `length` rows and `columns` columns.

    Groups lie along the rows of a run; those of a second form, made in the same pass, along the
    columns of each row.
    """

    taps: int = 0
    length: int = 0
    columns: int = 0


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job of a step.

    Attributes:
        layer, kind: the layer's name and kind.
        stage: ff, bp, wu, update or prune.
        engine: what runs it.
        products: what the array computes (engine "array").
        elements: what another engine's lanes take one by one.
        forms: patterns of the compressed forms that the pruner makes of the elements; both of
            two have the same one, and are made in one pass.
        matrix: how the elements pass the pruner, if they do.
        read_bits, written_bits: what another engine moves, by tensor.
    """

    layer: str
    kind: str
    stage: str
    engine: Engine
    products: tuple[Product, ...] = ()
    elements: int = 0
    forms: tuple[Pattern, ...] = ()
    matrix: Matrix = Matrix()
    read_bits: dict[str, int] = field(default_factory=dict)
    written_bits: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Widths:
    """Bits of an element: of operands, and of master weights and optimizer state."""

    operand: int
    master: int


Patterns = Callable[[Layer], Pattern]
"""Each layer's own pattern, where N differs by layer."""


def jobs(
    trace: Trace,
    method: Method,
    pattern: Pattern | Patterns,
    *,
    widths: Widths,
    pregeneration: bool = True,
    fused: Collection[str] = (),
) -> tuple[Job, ...]:
    """The jobs of one training step.

    Args:
        pattern: of every layer that the method prunes, or a function that gives each layer's.
        widths: of the number formats.
        pregeneration: whether N:M weights are made when weights are updated.
        fused: kinds of vector work that cost nothing of their own.
    """
    pattern_of = pattern if callable(pattern) else lambda layer: pattern
    step = _Step(trace, method, widths, pregeneration)
    for layer in trace.layers:
        step.forward(layer, pattern_of(layer), fused)
    first_use = {
        layer.weight_name: layer for layer in reversed(trace.weight_layers) if layer.weight_gradient
    }
    for layer in reversed(trace.layers):
        step.backward(layer, pattern_of(layer), fused)
        if isinstance(layer, WeightLayer) and first_use.get(layer.weight_name) is layer:
            step.update(layer, pattern_of(layer))
    if trace.parameters:
        step.update_others(trace.parameters)
    return tuple(step.jobs)


class _Step:
    """Collects the jobs of one step."""

    def __init__(self, trace: Trace, method: Method, widths: Widths, pregeneration: bool) -> None:
        self.jobs: list[Job] = []
        self.trace, self.method = trace, method
        self.widths, self.pregeneration = widths, pregeneration
        self.pruned: set[tuple[str, str]] = set()
        self.passed_back = {x.weight_name for x in trace.weight_layers if x.input_gradient}

    def forward(self, layer: Layer, pattern: Pattern, fused: Collection[str]) -> None:
        if isinstance(layer, VectorWork):
            self.vector(layer, "ff", fused)
        else:
            self.product(layer, "ff", pattern)

    def backward(self, layer: Layer, pattern: Pattern, fused: Collection[str]) -> None:
        if isinstance(layer, VectorWork):
            self.vector(layer, "bp", fused)
        else:
            self.product(layer, "bp", pattern)
            self.product(layer, "wu", pattern)

    def vector(self, layer: VectorWork, stage: Literal["ff", "bp"], fused: Collection[str]) -> None:
        reads, writes = layer.elements(stage)
        if layer.work in fused or reads + writes == 0:
            return
        tensor = "activation" if stage == "ff" else "gradient"
        self.jobs.append(
            Job(
                layer=layer.name,
                kind=layer.kind,
                stage=stage,
                engine="vector",
                elements=max(reads, writes),
                read_bits={tensor: reads * self.widths.operand},
                written_bits={tensor: writes * self.widths.operand},
            )
        )

    def product(self, layer: Layer, stage: str, pattern: Pattern) -> None:
        found = products(layer, stage, self.method, pattern)
        if not found:
            return
        sparse = next((product for product in found if not product.pattern.dense), None)
        operand = self.method.operand(stage)
        if sparse is not None and isinstance(layer, WeightLayer):
            if operand == "gradient":
                self.prune(layer, "gradient", _gradient_elements(layer), sparse)
            elif not self.pregeneration and (layer.weight_name, stage) not in self.pruned:
                self.pruned.add((layer.weight_name, stage))
                self.prune(layer, "weight", layer.weight_elements, sparse)
        self.jobs.append(
            Job(layer=layer.name, kind=layer.kind, stage=stage, engine="array", products=found)
        )

    def prune(self, layer: Layer, tensor: str, elements: int, product: Product) -> None:
        read = {tensor: elements * self.widths.operand}
        if tensor == "weight" and self.method.stored_mask:
            read["optimizer"] = elements
        self.jobs.append(
            Job(
                layer=layer.name,
                kind=layer.kind,
                stage="prune",
                engine="sore",
                elements=elements,
                forms=(product.pattern,),
                matrix=_matrix(elements, product, tensor),
                read_bits=read,
                written_bits={tensor: _compressed_bits(elements, product, self.widths.operand)},
            )
        )

    def update(self, layer: WeightLayer, pattern: Pattern) -> None:
        elements = layer.weight_elements
        # What the next step needs: the weight's form in FF, and in BP unless no layer has one.
        stages = ("ff", "bp") if layer.weight_name in self.passed_back else ("ff",)
        forms = [
            product
            for stage in stages
            if self.method.operand(stage) == "weight"
            for product in products(
                replace(layer, input_gradient=True), stage, self.method, pattern
            )[:1]
            if not product.pattern.dense
        ]
        ahead = self.pregeneration and bool(forms)
        written = {"optimizer": 2 * elements * self.widths.master, "weight": 0}
        if ahead:
            written["weight"] = sum(
                _compressed_bits(elements, form, self.widths.operand) for form in forms
            )
        if not ahead or len(forms) < len(stages):
            written["weight"] += elements * self.widths.operand
        read = {
            "weight_gradient": elements * self.widths.operand,
            "optimizer": 2 * elements * self.widths.master,
        }
        if ahead and self.method.stored_mask:
            read["optimizer"] += elements
        self.jobs.append(
            Job(
                layer=layer.name,
                kind=layer.kind,
                stage="update",
                engine="wuve+sore" if ahead else "wuve",
                elements=elements,
                forms=tuple(form.pattern for form in forms) if ahead else (),
                matrix=_passed(elements, forms) if ahead else Matrix(),
                read_bits=read,
                written_bits=written,
            )
        )

    def update_others(self, elements: int) -> None:
        self.jobs.append(
            Job(
                layer=OTHER_PARAMETERS,
                kind="vector",
                stage="update",
                engine="wuve",
                elements=elements,
                read_bits={
                    "weight_gradient": elements * self.widths.operand,
                    "optimizer": 2 * elements * self.widths.master,
                },
                written_bits={
                    "optimizer": 2 * elements * self.widths.master,
                    "weight": elements * self.widths.operand,
                },
            )
        )


def _matrix(elements: int, product: Product, tensor: str) -> Matrix:
    """A sparse tensor as its product reads it."""
    length = product.length
    if tensor == "weight":
        return Matrix(taps=elements // (length * product.n), length=length, columns=product.n)
    # A gradient's positions may be read under several taps, but each passes once.
    return Matrix(taps=product.count, length=length, columns=elements // (length * product.count))


def _passed(elements: int, forms: list[Product]) -> Matrix:
    """A weight as it passes the pruner once for all `forms`: with two, those of FF and BP, the
    columns are the reduction of the second."""
    if len(forms) == 1:
        return _matrix(elements, forms[0], "weight")
    length, columns = (form.length for form in forms)
    return Matrix(taps=elements // (length * columns), length=length, columns=columns)


def _compressed_bits(elements: int, product: Product, operand_bits: int) -> int:
    """Bits of a tensor in the compressed form that `product` reads."""
    kept = elements // product.length * product.pattern.kept(product.length)
    return kept * (operand_bits + product.pattern.index_bits)


def _gradient_elements(layer: WeightLayer) -> int:
    """Elements of the gradient of a layer's output."""
    if isinstance(layer, Convolution):
        return layer.batch * layer.out_channels * math.prod(layer.output_size)
    assert isinstance(layer, Linear)
    return layer.batch * layer.rows * layer.out_features
