"""Layers from a recorded training step.

A step is recorded at two batches. What doubles with the batch is work of a sample; what stays the
same is done once, whatever the batch.

- A product of an activation with a parameter, or with what is computed from parameters alone, is a
  weight layer; of two activations, a `MatMul`.
- Every other operator that makes or changes elements is a `VectorWork`; views are free. Elements
  read are those of its distinct tensors, elements written those of its results.
- What depends on neither inputs nor parameters (tables, masks) is made once and not in every step:
  it is left out. A dropout mask therefore counts as read, never as written.
- Gradient work goes to the layer of its forward operator. Where that is a product, it is a
  `VectorWork` of its own: `<layer>.bias` sums the gradient of a bias, `<layer>.add` adds gradients
  that arrive along several branches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nofm.kernels.errors import InputError
from nofm.workloads.backward_work import BackwardWork, Factors, backward_work, factors
from nofm.workloads.layer import (
    Convolution,
    Layer,
    Linear,
    MatMul,
    VectorKind,
    VectorWork,
    WeightLayer,
)
from nofm.workloads.layer_names import LayerNames
from nofm.workloads.layer_weights import Weights, weight_of
from nofm.workloads.step_events import Event, Operand, StepLog

Sizes = dict[str, int]


@dataclass(frozen=True)
class Lowered:
    """Layers, notes and parameters of a trace, see `nofm.workloads.trace.Trace`.

    `scales` says whether all sizes grow in proportion to the batch or not at all.
    """

    layers: tuple[Layer, ...]
    notes: tuple[str, ...]
    parameters: int
    scales: bool


def lower(
    name: str,
    log: StepLog,
    doubled: StepLog | None,
    *,
    batch: int,
    inner: bool = False,
    allow_unsupported: bool = False,
) -> Lowered:
    """The layers of a step.

    Args:
        name: of the model, for errors.
        log: the step at `batch`.
        doubled: the step at twice that; None where it could not be recorded.
        inner: the model is an inner part of a network: no layer is its first or its head.
        allow_unsupported: note products that have no layer instead of refusing them.

    Raises:
        InputError: a product has no layer, or there is nothing to lower.
    """
    notes = []
    if doubled is not None and _operators(doubled) != _operators(log):
        notes.append(
            "the operators that run depend on the batch: all sizes are those of batch "
            f"{batch}, whatever the trace's batch"
        )
        doubled = None
    lowering = _Lowering(name, log, doubled, batch, allow_unsupported, notes)
    layers = lowering.run()
    if not layers:
        raise InputError(f"model {name!r}: it does no work that a trace could hold")
    return Lowered(
        tuple(layers if inner else lowering.without_first_and_head(layers)),
        tuple(dict.fromkeys(lowering.notes)),
        lowering.weights.unnamed(),
        lowering.scales,
    )


def _operators(log: StepLog) -> list[tuple[str, str, bool]]:
    return [(event.op, event.module, event.gradient) for event in log.events]


class _Lowering:
    def __init__(
        self,
        model: str,
        log: StepLog,
        doubled: StepLog | None,
        batch: int,
        allow_unsupported: bool,
        notes: list[str],
    ) -> None:
        self.model = model
        self.log = log
        self.doubled = doubled
        self.batch = batch
        self.allow_unsupported = allow_unsupported
        self.notes = notes
        self.layers: list[Layer] = []
        self.scales = doubled is not None
        products = {e.module for e in log.events if e.work in ("product", "convolution")}
        self.names = LayerNames(log.modules, log.leaves - products)
        self.weights = Weights(log.parameters)
        self._first: set[str] = set()  # weight layers right behind the inputs
        self._last: WeightLayer | None = None

    def run(self) -> list[Layer]:
        """All layers, in forward order."""
        works = backward_work(self.log.events)
        for index, event in enumerate(self.log.events):
            if not event.gradient:
                self._lower(index, event, works[index])
        again = sum(event.again and event.work != "view" for event in self.log.events)
        if again:
            self.notes.append(
                f"{again} operators of the forward pass run during a backward pass, as in "
                "activation checkpointing: they count as forward work, in the order they run in"
            )
        return self.layers

    def _lower(self, index: int, event: Event, work: BackwardWork) -> None:
        if event.constant and not work:
            return
        if event.work == "product":
            self._moves(self._product(index, event, work), event, work)
        elif event.work == "convolution":
            self._moves(self._convolution(index, event, work), event, work)
        elif event.work == "view":
            self._moves(event.module, event, work)
        else:
            if event.work != "vector":
                self._refuse(event)
            elif event.kind is None:
                self.notes.append(
                    f"operator {event.op} of {_module(event)} is in no table: it counts as "
                    "elementwise work"
                )
            name = self.names.vector(event.module, event.op)
            self._vector(name, event.kind or "elementwise", [index], work.moves)
        for extra in work.products:
            self._extra(extra, event)

    # Batch

    def _later(self, index: int) -> Event | None:
        return None if self.doubled is None else self.doubled.events[index]

    def _scaled(
        self, layer: str, index: int, sizes: Callable[[Event], Sizes], scaling: Sequence[str]
    ) -> tuple[str | None, Sizes]:
        """Sizes a sample, and which of them grows with the batch (None: none does)."""
        now = sizes(self.log.events[index])
        later = self._later(index)
        then = now if later is None else sizes(later)
        changed = [what for what in now if now[what] != then[what]]
        if not changed:
            return None, now
        (what, *others) = changed
        if others or what not in scaling or then[what] != 2 * now[what] or now[what] % self.batch:
            self.scales = False
            self.notes.append(
                f"layer {layer!r}: {' and '.join(changed)} do not grow in proportion to the batch: "
                f"its sizes are those of batch {self.batch}"
            )
            return None, now
        return what, {**now, what: now[what] // self.batch}

    # Products

    def _product(self, index: int, event: Event, work: BackwardWork) -> str:
        of = factors(event)
        weight = weight_of(event, of.first, of.second)
        if of.first.complex or of.second.complex:
            self._refuse(event, "of complex numbers")
            return self._moved_only(index, event, work)
        copies = weight is not None and of.count > 1 and weight.strides[0] != 0
        if copies and self._count_grows(index):
            name = self.names.product(event.module, "matmul")
            self.notes.append(
                f"layer {name!r}: its weight is copied for every sample, so it is a product of "
                "activations and no pattern applies"
            )
            self._matmul(index, event, work, name)
        elif weight is None:
            name = self.names.product(event.module, "matmul")
            self._matmul(index, event, work, name)
        else:
            name = self.names.product(event.module, "linear")
            self._linear(index, event, of, weight, work, name, grouped=copies)
        if of.added is not None and not self._is_bias(of):
            self._addend(index, name)
        return name

    def _count_grows(self, index: int) -> bool:
        later = self._later(index)
        return later is not None and factors(later).count != factors(self.log.events[index]).count

    def _is_bias(self, of: Factors) -> bool:
        return of.added is not None and not of.added.origin.data and of.added.elements <= of.n

    def _matmul(self, index: int, event: Event, work: BackwardWork, name: str) -> None:
        def sizes(event: Event) -> Sizes:
            of = factors(event)
            return {"count": of.count, "m": of.m, "k": of.k, "n": of.n}

        grows, found = self._scaled(name, index, sizes, ["count", "m", "k", "n"])
        if grows not in (None, "count"):
            self.notes.append(
                f"layer {name!r}: an operand that all samples share counts once for each sample"
            )
        self._add(
            MatMul(
                name=name,
                batch=self.batch if grows else 1,
                batched=grows is not None,
                **found,
                input_gradient=work.first is not None,
                second_gradient=work.second is not None,
            )
        )

    def _linear(
        self,
        index: int,
        event: Event,
        of: Factors,
        weight: Operand,
        work: BackwardWork,
        name: str,
        *,
        grouped: bool,
    ) -> None:
        right = weight is of.second

        def sizes(event: Event) -> Sizes:
            of = factors(event)
            rows, out = (of.m, of.n) if right else (of.n, of.m)
            found = {"rows": rows, "in_features": of.k, "out_features": out}
            return {**found, "count": of.count} if grouped else {**found, "rows": rows * of.count}

        grows, found = self._scaled(name, index, sizes, ["rows"])
        gradients = (work.first, work.second) if right else (work.second, work.first)
        common = self._weight_fields(name, weight, gradients)
        common |= found if not grouped else {}
        common |= {"batch": self.batch if grows else 1, "batched": grows is not None}
        common["bias"] = self._is_bias(of)
        layer: WeightLayer
        if grouped:
            # One matrix for each group of channels: a grouped convolution of kernel 1.
            count = found["count"]
            layer = Convolution(
                name=name,
                in_channels=count * found["in_features"],
                out_channels=count * found["out_features"],
                groups=count,
                size=(found["rows"],),
                kernel=(1,),
                stride=(1,),
                padding=((0, 0),),
                dilation=(1,),
                **common,
            )
        else:
            layer = Linear(name=name, **common)
        self._add_weight_layer(layer, event, of.first if right else of.second)

    def _addend(self, index: int, name: str) -> None:
        """What a product adds to its result, where that is no bias."""

        def counts(log: StepLog) -> Sizes:
            of = factors(log.events[index])
            product = of.count * of.m * of.n
            return _moved((of.added.elements if of.added else 0) + product, product, 0, 0)

        self._add_vector(self.names.unique(f"{name}.add"), "elementwise", counts)

    def _convolution(self, index: int, event: Event, work: BackwardWork) -> str:
        data, weight = event.args[0], event.args[1]
        if weight.origin.data or data.complex:
            why = "of complex numbers" if data.complex else "with a weight computed from the inputs"
            self._refuse(event, why)
            return self._moved_only(index, event, work)
        name = self.names.product(event.module, "convolution")

        def sizes(event: Event) -> Sizes:
            shape = event.args[0].shape
            return {"maps": shape[0], **{f"size {i}": s for i, s in enumerate(shape[2:])}}

        grows, found = self._scaled(name, index, sizes, ["maps"])
        rank = len(data.shape) - 2
        stride, padding, dilation = (_spread(event.args[i], rank) for i in (3, 4, 5))
        transposed, output_padding, groups = event.args[6:9]
        layer = Convolution(
            name=name,
            in_channels=data.shape[1],
            out_channels=weight.shape[1] * groups if transposed else weight.shape[0],
            size=tuple(data.shape[2:]),
            kernel=tuple(weight.shape[2:]),
            stride=stride,
            padding=tuple((p, p) for p in padding),
            dilation=dilation,
            groups=groups,
            transposed=bool(transposed),
            output_padding=_spread(output_padding, rank) if any(output_padding) else (),
            maps=found["maps"] if grows else 1,
            batch=self.batch * found["maps"] if grows else found["maps"],
            batched=grows is not None,
            bias=event.args[2] is not None,
            **self._weight_fields(name, weight, (work.first, work.second)),
        )
        self._add_weight_layer(layer, event, data)
        return name

    def _weight_fields(
        self, name: str, weight: Operand, gradients: tuple[int | None, int | None]
    ) -> dict[str, Any]:
        """What `WeightLayer` has, but for the bias."""
        sources = sorted(weight.origin.parameters)
        if len(sources) > 1:
            self.notes.append(f"layer {name!r}: its weight is computed from {', '.join(sources)}")
        return {
            "weight": self.weights.name(weight),
            "input_gradient": gradients[0] is not None,
            "weight_gradient": gradients[1] is not None,
            # Tables and fixed filters are no parameters, and what a product gives is none either.
            "prunable": bool(weight.origin.parameters) and not weight.origin.deep,
        }

    def _add_weight_layer(self, layer: WeightLayer, event: Event, data: Operand) -> None:
        self._add(layer)
        if data.origin.data and not data.origin.deep:
            self._first.add(layer.weight_name)
        if not event.again:
            self._last = layer

    def without_first_and_head(self, layers: list[Layer]) -> list[Layer]:
        """The layers, those dense that N:M methods leave dense: the first ones and the head."""
        dense = set(self._first)
        if self._last is not None and _is_head(self._last):
            dense.add(self._last.weight_name)
        return [
            replace(layer, prunable=False)
            if isinstance(layer, WeightLayer) and layer.weight_name in dense
            else layer
            for layer in layers
        ]

    # What is no layer

    def _refuse(self, event: Event, why: str = "") -> None:
        what = f"{event.op} {why}".strip()
        if not self.allow_unsupported:
            raise InputError(
                f"model {self.model!r}: {_module(event)} uses {what}, which may be a product but "
                "has no layer in a trace"
            )
        self.notes.append(
            f"{_module(event)} uses {what}, which has no layer: its tensors count as moved, its "
            "products do not"
        )

    def _moved_only(self, index: int, event: Event, work: BackwardWork) -> str:
        """A product that was refused but allowed: what it moves."""
        name = self.names.vector(event.module, event.op)
        gradients = sorted({index for index in (work.first, work.second) if index is not None})
        self._vector(name, "elementwise", [index], gradients)
        return name

    def _extra(self, index: int, forward: Event) -> None:
        """A product of the backward pass that is no gradient of its forward operator's operands."""
        event = replace(self.log.events[index], module=forward.module)
        if event.work != "product":
            self._refuse(event, "in its backward pass")
            self._vector(self.names.vector(event.module, event.op), "elementwise", [], [index])
            return
        name = self.names.unique(f"{forward.module or 'matmul'}.backward")
        self.notes.append(
            f"layer {name!r}: a product of the backward pass that gives no operand's gradient; it "
            "counts as forward work"
        )
        self._matmul(index, event, BackwardWork(), name)

    # Vector work

    def _vector(self, name: str, kind: VectorKind, forward: list[int], backward: list[int]) -> None:
        def counts(log: StepLog) -> Sizes:
            there = [log.events[index] for index in forward]
            back = [log.events[index] for index in backward]
            return _moved(
                sum(event.reads for event in there),
                sum(event.writes for event in there),
                sum(event.reads for event in back),
                sum(event.writes for event in back),
            )

        self._add_vector(name, kind, counts)

    def _moves(self, name: str, event: Event, work: BackwardWork) -> None:
        """Gradient work beside a product, or of a view: one layer for each operator."""
        by_op: dict[str, list[int]] = {}
        for index in work.moves:
            gradient = self.log.events[index]
            if gradient.work != "view":
                by_op.setdefault(gradient.op, []).append(index)
        for op, indices in by_op.items():
            part = "bias" if op == "sum" and event.work == "product" else op.strip("_")
            kind = self.log.events[indices[0]].kind or "elementwise"
            wanted = f"{name}.{part}" if name else part
            self._vector(self.names.unique(wanted), kind, [], indices)
        if (bias := work.bias) is not None:

            def counts(log: StepLog) -> Sizes:
                gradient = log.events[bias].args[0]
                return _moved(0, 0, gradient.elements, gradient.shape[1])

            self._add_vector(self.names.unique(f"{name}.bias"), "reduction", counts)

    def _add_vector(self, name: str, kind: VectorKind, counts: Callable[[StepLog], Sizes]) -> None:
        now = counts(self.log)
        then = now if self.doubled is None else counts(self.doubled)
        if max(*now.values(), *then.values()) <= 2:
            return  # single numbers, such as the step counter of a normalisation
        each = {what: (then[what] - now[what]) // self.batch for what in now}
        fixed = {what: now[what] - self.batch * each[what] for what in now}
        if any(
            (then[what] - now[what]) % self.batch or each[what] < 0 or fixed[what] < 0
            for what in now
        ):
            self.scales = False
            self.notes.append(
                f"layer {name!r}: what it moves does not grow in proportion to the batch: its "
                f"sizes are those of batch {self.batch}"
            )
            each, fixed = dict.fromkeys(now, 0), now
        if not any(each.values()):
            whole: dict[str, Any] = dict(fixed)
            self._add(VectorWork(name=name, work=kind, batched=False, **whole))
            return
        moved: dict[str, Any] = {
            **each,
            **{f"fixed_{what}": count for what, count in fixed.items()},
        }
        self._add(VectorWork(name=name, work=kind, batch=self.batch, **moved))

    def _add(self, layer: Layer) -> None:
        self.layers.append(layer)


def _moved(
    forward_reads: int, forward_writes: int, backward_reads: int, backward_writes: int
) -> Sizes:
    return {
        "forward_reads": forward_reads,
        "forward_writes": forward_writes,
        "backward_reads": backward_reads,
        "backward_writes": backward_writes,
    }


def _module(event: Event) -> str:
    return f"module {event.module!r}" if event.module else "the model"


def _spread(values: Sequence[int], rank: int) -> tuple[int, ...]:
    """One value for each dimension, where one may stand for all."""
    return tuple(values) * rank if len(values) == 1 else tuple(values)


def _is_head(layer: WeightLayer) -> bool:
    """Whether the last weight layer is one that N:M methods leave dense: linear, or kernel 1."""
    return isinstance(layer, Linear) or (
        isinstance(layer, Convolution) and all(size == 1 for size in layer.kernel)
    )
