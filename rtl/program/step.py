"""Programs of whole training steps: a network's memory, its forward and its backward program.

Between the two the host reads what the network gave and writes the gradient of the loss. The
backward program computes every gradient, updates all parameters, and makes the weights and forms of
the next step: the same two programs run again and again on the same memory.

Maps that follow each other are the same memory: a layer adds its bias and does ReLU in place, and
ReLU's backward is done in place, too. Where no window reaches, a gradient keeps the zeros that
memory begins with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from nofm.dataflow.accelerator import hardware_record
from nofm.dataflow.mapping import candidates
from nofm.dataflow.methods import Method
from nofm.dataflow.products import Product, product_records, products
from nofm.kernels.errors import InputError
from nofm.kernels.optimizer import Sgd
from nofm.kernels.pattern import Pattern
from nofm.rtl.pregeneration.geometry import Geometry as UpdateGeometry
from nofm.rtl.program.encoding import Descriptor
from nofm.rtl.program.forms import TURNED, encode_columns, encode_forms, encode_rows, no_forms
from nofm.rtl.program.image import beat_order, by_tap, feature_map, form_halves
from nofm.rtl.program.layout import Beats, FeatureMap, Form, Tensors
from nofm.rtl.program.lower import lower
from nofm.rtl.program.product import Target, fitting
from nofm.rtl.program.relocate import checked_base, relocated
from nofm.rtl.program.sizes import HALF_BYTES, ChipSizes
from nofm.rtl.program.stream import as_halves, as_singles, encode_stream, one_run
from nofm.rtl.program.tiles import Cut
from nofm.rtl.program.update import STREAMS, plain
from nofm.rtl.program.vector import LINE, OPERATIONS, vector_fields
from nofm.rtl.program.walk import Loop, Nest
from nofm.rtl.sore.job import SoreJob
from nofm.rtl.wuve.job import hyper_parameters
from nofm.workloads.layer import Convolution, Linear, WeightLayer

Array = np.ndarray[Any, Any]
Halves = np.ndarray[Any, np.dtype[np.uint16]]

ALIGNED = 32
"""FP16 elements that tensors begin at a multiple of: a cache line."""

Choose = Callable[[str, str, Product], Cut]
"""The mapping of a product, by layer's name and stage."""


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """A convolution or a linear layer, its bias and perhaps ReLU. A linear layer after a map takes
    it position by position, channels adjacent."""

    layer: WeightLayer
    relu: bool = False


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Pooling over windows of `size` x `size` that do not overlap; what is left over at the end of
    a row or column is not read."""

    kind: Literal["largest", "average"]
    size: int


Operation = Weighted | Pool


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Where a layer's parameters lie, and how they are updated.

    Attributes:
        pruning: the pruner's job, whose order masters, momenta and the gradient have.
        pruned: whether it makes forms.
        masters, momenta, gradient: addresses.
        halves: address of the dense FP16 weights, where a stage reads them.
        forms: addresses of the forms with groups along rows and along columns.
    """

    pruning: SoreJob
    pruned: bool
    masters: int
    momenta: int
    gradient: int
    halves: int | None = None
    rows: int | None = None
    columns: int | None = None


@dataclass(frozen=True, kw_only=True)
class Placed:
    """An operation with its place in memory.

    Attributes:
        read, written: maps of activations.
        read_gradient, written_gradient: of their gradients; the first operation has no first one.
        weight, bias: parameters of a layer.
    """

    operation: Operation
    read: FeatureMap
    written: FeatureMap
    read_gradient: FeatureMap | None
    written_gradient: FeatureMap
    weight: Parameters | None = None
    bias: Parameters | None = None

    @property
    def layer(self) -> WeightLayer:
        """The layer of a weighted operation."""
        assert isinstance(self.operation, Weighted)
        return self.operation.layer


class TrainingStep:
    """The programs of a network's training step on a chip.

    Args:
        target: the chip.
        network: operations in their order; the first one has a layer.
        method, pattern: how prunable layers are pruned.
        by: hyper-parameters of the update.
        choose: mappings; the first one that the scheduler tries, where not given.
        base: where memory begins, in bytes; a multiple of 4096.

    Attributes:
        placed: the operations in memory. Their addresses count FP16 elements from its begin on.
        input, output, loss_gradient: what the host writes before the forward program, and reads and
            writes after it.
        elements: FP16 elements of memory.
        base: where memory begins, in bytes.
        forward, backward: the programs, with the addresses of memory that begins there.
        cuts: how the products of a layer's stage are cut.

    Raises:
        InputError: what the chip cannot do.
    """

    def __init__(
        self,
        target: Target,
        network: Sequence[Operation],
        method: Method,
        pattern: Pattern,
        by: Sgd,
        choose: Choose | None = None,
        base: int = 0,
    ) -> None:
        self.target, self.method, self.pattern, self.by = target, method, pattern, by
        self.updates = UpdateGeometry.of(target.accelerator)
        self.choose = choose or self._first
        self.elements = 0
        self.cuts: dict[tuple[str, str], list[Cut]] = {}
        self.placed = list(self._place(network))
        self.input, self.output = self.placed[0].read, self.placed[-1].written
        self.loss_gradient = self.placed[-1].written_gradient
        self.base = checked_base(base, HALF_BYTES * self.elements)
        self.forward = relocated(finished(self._forward()), base)
        self.backward = relocated(finished(self._backward()), base)

    def memory(self, weights: Mapping[str, Array], biases: Mapping[str, Array]) -> Halves:
        """Memory before the first step: uint16 [elements].

        Args:
            weights, biases: float32 by layer's name, in torch's shapes.
        """
        memory = np.zeros(self.elements, np.uint16)
        for each in self.placed:
            if each.weight is not None and each.bias is not None:
                layer = each.layer
                taps = by_tap(layer, weights[layer.name].astype(np.float32))
                self._write(memory, each.weight, taps)
                self._write(memory, each.bias, biases[layer.name].astype(np.float32))
        return memory

    def masters(self, memory: Halves, of: Parameters) -> Array:
        """Master weights in the order of the matrix [taps, rows, columns], float32."""
        return self._singles(memory, of, of.masters)

    def momenta(self, memory: Halves, of: Parameters) -> Array:
        """Momenta, as `masters`."""
        return self._singles(memory, of, of.momenta)

    def _singles(self, memory: Halves, of: Parameters, at: int) -> Array:
        order = self._order(of)
        values = np.empty(len(order), np.float32)
        values[order] = as_singles(memory[at : at + 2 * len(order)])
        return values

    def _order(self, of: Parameters) -> Array:
        job = of.pruning
        beats = Beats(job.pattern.m, job.elements(self.updates.sore))
        return beat_order(job.taps, job.length, job.columns, beats)

    def _write(self, memory: Halves, of: Parameters, values: Array) -> None:
        masters = as_halves(values.reshape(-1)[self._order(of)])
        memory[of.masters : of.masters + len(masters)] = masters
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if of.halves is not None:
            memory[of.halves : of.halves + half.size] = as_halves(half)
        for address, large in ((of.rows, True), (of.columns, False)):
            if address is not None:
                form = form_halves(half, of.pruning.pattern, large=large)
                memory[address : address + len(form)] = form

    def _first(self, layer: str, stage: str, product: Product) -> Cut:
        """The first mapping that the scheduler looks at."""
        hardware = np.atleast_1d(hardware_record(self.target.accelerator))
        found, _ = candidates(hardware, product_records([product]))
        if not len(found):
            raise InputError(f"layer {layer!r}: the buffers hold no tile of stage {stage}")
        return Cut.of(found[0])

    def _place(self, network: Sequence[Operation]) -> Iterator[Placed]:
        read: FeatureMap | None = None
        gradient: FeatureMap | None = None
        for operation in network:
            if isinstance(operation, Pool):
                if read is None:
                    raise InputError("a network must begin with a layer, not with pooling")
                height, width = (max(1, n // operation.size) for n in (read.height, read.width))
                if min(read.height, read.width) < operation.size:
                    raise InputError(
                        f"a window of pooling must fit the map of {read.height} x {read.width}, "
                        f"not {operation.size}"
                    )
                written = self._map(replace(read, height=height, width=width))
                onward = self._map(written)
                yield Placed(
                    operation=operation,
                    read=read,
                    written=written,
                    read_gradient=gradient,
                    written_gradient=onward,
                )
            else:
                layer = operation.layer
                given, wanted = self._maps(layer)
                if read is None:
                    read = self._map(given)
                elif given.elements != read.elements or (
                    isinstance(layer, Convolution) and replace(given, address=read.address) != read
                ):
                    raise InputError(
                        f"layer {layer.name!r}: its input must be what the operation before it "
                        f"gives, {_shape(read)}, not {_shape(given)}"
                    )
                else:
                    read = replace(given, address=read.address)
                    if gradient is not None:
                        gradient = replace(given, address=gradient.address)
                written, onward = self._map(wanted), self._map(wanted)
                yield Placed(
                    operation=operation,
                    read=read,
                    written=written,
                    read_gradient=gradient,
                    written_gradient=onward,
                    weight=self._parameters(operation.layer, first=gradient is None),
                    bias=self._plain(wanted.channels),
                )
            read, gradient = written, onward

    def _maps(self, layer: WeightLayer) -> tuple[FeatureMap, FeatureMap]:
        """Shapes of a layer's input and output."""
        if isinstance(layer, Linear):
            size: tuple[int, ...] = (layer.rows,)
            return (
                feature_map(layer, size, layer.in_features, 0),
                feature_map(layer, size, layer.out_features, 0),
            )
        assert isinstance(layer, Convolution)
        return (
            feature_map(layer, layer.size, layer.in_channels, 0),
            feature_map(layer, layer.output_size, layer.out_channels, 0),
        )

    def _room(self, elements: int) -> int:
        at = self.elements
        self.elements += -(-elements // ALIGNED) * ALIGNED
        return at

    def _map(self, shape: FeatureMap) -> FeatureMap:
        return replace(shape, address=self._room(shape.elements))

    def _plain(self, elements: int) -> Parameters:
        """Parameters that are not pruned, in one row."""
        return Parameters(
            pruning=plain(self.updates, elements),
            pruned=False,
            masters=self._room(2 * elements),
            momenta=self._room(2 * elements),
            gradient=self._room(elements),
            halves=self._room(elements),
        )

    def _parameters(self, layer: WeightLayer, *, first: bool) -> Parameters:
        """Room for a weight and its forms."""
        sparse = {
            stage: [
                not product.pattern.dense
                for product in products(layer, stage, self.method, self.pattern)
            ]
            for stage in (("ff",) if first else ("ff", "bp"))
        }
        used = {stage: any(found) for stage, found in sparse.items()}
        if not any(used.values()):
            return self._plain(layer.weight_elements)
        groups, taps, rows, columns = _matrix(layer)
        turned = isinstance(layer, Convolution) and layer.transposed
        along = {"ff": not turned, "bp": turned}
        # The pruner makes the form along rows, or both.
        wanted = {along[stage] for stage in used if used[stage]}
        job = SoreJob(
            pattern=self.pattern,
            taps=groups * taps,
            length=rows,
            columns=columns,
            both=False in wanted,
        )
        if True not in wanted:
            raise InputError(
                f"layer {layer.name!r}: a form along columns alone is not made; "
                f"method {self.method.name} needs it"
            )
        if job.both and self.pattern.groups(columns) > TURNED:
            raise InputError(
                f"layer {layer.name!r}: column groups of a weight must be {TURNED} at most, "
                f"not {self.pattern.groups(columns)}"
            )
        dense = not all(used.values())
        if dense and (rows % self.pattern.m or columns % job.elements(self.updates.sore)):
            raise InputError(
                f"layer {layer.name!r}: a weight that is read both pruned and dense must have "
                f"rows in whole groups of {self.pattern.m} and columns in whole beats of "
                f"{job.elements(self.updates.sore)}, not {rows} x {columns}"
            )
        elements = layer.weight_elements
        by_rows = Form(0, self.pattern, columns).rows(job.taps, rows)
        by_columns = Form(0, self.pattern, rows).rows(job.taps, columns)
        return Parameters(
            pruning=job,
            pruned=True,
            masters=self._room(2 * elements),
            momenta=self._room(2 * elements),
            gradient=self._room(elements),
            halves=self._room(elements) if dense else None,
            rows=self._room(by_rows),
            columns=self._room(by_columns) if job.both else None,
        )

    def _tensors(self, each: Placed) -> Tensors:
        """Where a layer's tensors lie."""
        weight = each.weight
        assert weight is not None
        beats = None
        if weight.pruned:
            job = weight.pruning
            beats = Beats(job.pattern.m, job.elements(self.updates.sore))
        return Tensors(
            input=each.read,
            output=each.written,
            input_gradient=each.read_gradient,
            gradient=each.written_gradient,
            weight=weight.halves,
            along_large=weight.rows,
            along_small=weight.columns,
            weight_gradient=weight.gradient,
            beats=beats,
        )

    def _forward(self) -> Iterator[Descriptor]:
        for each in self.placed:
            if isinstance(each.operation, Pool):
                yield from self._pool(each, each.operation)
                continue
            assert each.bias is not None
            assert each.bias.halves is not None
            yield from self._products(each, "ff")
            yield from self._channels(
                "add_held",
                each.written,
                each.written,
                held=each.bias.halves,
                relu=each.operation.relu,
            )

    def _backward(self) -> Iterator[Descriptor]:
        for each in reversed(self.placed):
            if isinstance(each.operation, Pool):
                yield from self._pool_backward(each, each.operation)
                continue
            assert each.weight is not None
            assert each.bias is not None
            gradient = each.written_gradient
            if each.operation.relu:
                at, count = gradient.address, gradient.elements
                yield self._vector(
                    "gate",
                    a=self._one("a_", each.written.address, count),
                    b=self._one("b_", at, count),
                    out=self._one("out_", at, count),
                    run=count,
                )
            yield from self._channels("sum", gradient, None, out=each.bias.gradient)
            if each.read_gradient is not None:
                yield from self._products(each, "bp")
            yield from self._products(each, "wu")
            # All that reads the weight has been done.
            yield self._update(each.weight)
            yield self._update(each.bias)

    def _products(self, each: Placed, stage: str) -> Iterator[Descriptor]:
        layer = each.layer
        whole = products(layer, stage, self.method, self.pattern)
        parts = lower(layer, stage, self.method, self.pattern, self._tensors(each))
        for product, own in zip(whole, parts, strict=True):
            cut, found = fitting(self.target, own, self.choose(layer.name, stage, product))
            self.cuts.setdefault((layer.name, stage), []).append(cut)
            yield from found

    @property
    def _sizes(self) -> ChipSizes:
        return self.target.sizes

    def _one(self, prefix: str, address: int, elements: int) -> dict[str, int]:
        return one_run(self._sizes, prefix, address, elements)

    def _vector(
        self,
        name: str,
        *,
        run: int,
        passes: int = 1,
        rounds: int = 1,
        relu: bool = False,
        scale: float = 1.0,
        a: Mapping[str, int] | None = None,
        b: Mapping[str, int] | None = None,
        out: Mapping[str, int],
    ) -> Descriptor:
        """A job of the vector unit, after all that is under way."""
        values = dict.fromkeys(vector_fields(self._sizes), 0) | {
            "opcode": OPERATIONS[name].opcode,
            "relu": int(relu),
            "scale": int(np.float32(scale).view(np.uint32)),
            "run": run - 1,
            "passes": passes - 1,
            "rounds": rounds - 1,
            **(a or {}),
            **(b or {}),
            **out,
        }
        self.target.check({"vector": values})
        return Descriptor("vector", {"vector": values}, self.target.units)

    def _channels(
        self,
        name: str,
        read: FeatureMap,
        written: FeatureMap | None,
        *,
        held: int | None = None,
        out: int = 0,
        relu: bool = False,
    ) -> Iterator[Descriptor]:
        """Jobs over all positions of a map, some channels at a time."""
        positions = read.elements // read.channels
        for first in range(0, read.channels, LINE):
            run = min(LINE, read.channels - first)
            over = Loop(positions, {"address": read.channels})

            def stream(prefix: str, address: int, run: int = run, over: Loop = over) -> Any:
                if run == read.channels:
                    return self._one(prefix, address, positions * run)
                return encode_stream(self._sizes, prefix, Nest({"address": address}, (over,)), run)

            if written is None:
                to = self._one("out_", out + first, run)
            else:
                to = stream("out_", written.address + first)
            yield self._vector(
                name,
                run=run,
                passes=positions,
                relu=relu,
                a=stream("a_", read.address + first),
                b=None if held is None else self._one("b_", held + first, run),
                out=to,
            )

    def _windows(
        self, of: FeatureMap, pooled: FeatureMap, size: int, image: int, first: int
    ) -> Nest:
        """Positions of one map by windows: places of a window, then windows."""
        row = of.width * of.channels
        start = of.address + image * of.height * row + first
        return Nest(
            {"address": start},
            (
                Loop(size, {"address": of.channels}),
                Loop(size, {"address": row}),
                Loop(pooled.width, {"address": size * of.channels}),
                Loop(pooled.height, {"address": size * row}),
            ),
        )

    def _pool(self, each: Placed, pool: Pool) -> Iterator[Descriptor]:
        average = pool.kind == "average"
        for nest, run, out in self._pooled(each.read, each.written, pool):
            yield self._vector(
                "sum" if average else "largest",
                run=run,
                passes=pool.size**2,
                rounds=each.written.height * each.written.width,
                scale=1 / pool.size**2 if average else 1.0,
                a=encode_stream(self._sizes, "a_", nest, run),
                out=encode_stream(self._sizes, "out_", out, run),
            )

    def _pool_backward(self, each: Placed, pool: Pool) -> Iterator[Descriptor]:
        if each.read_gradient is None:
            return
        average, gap = pool.kind == "average", 0
        gradients = self._pooled(each.read_gradient, each.written_gradient, pool)
        for (read, run, written), (to, _, by) in zip(
            self._pooled(each.read, each.written, pool), gradients, strict=True
        ):
            rounds = each.written.height * each.written.width
            if average:
                yield self._vector(
                    "spread",
                    run=run,
                    passes=pool.size**2,
                    rounds=rounds,
                    scale=1 / pool.size**2,
                    b=encode_stream(self._sizes, "b_", by, run),
                    out=encode_stream(self._sizes, "out_", to, run),
                )
                continue
            # Of each window, what it gave and then its gradient.
            gap = by.start["address"] - written.start["address"]
            held = Nest(written.start, (Loop(2, {"address": gap}), *written.loops))
            yield self._vector(
                "route",
                run=run,
                passes=pool.size**2,
                rounds=rounds,
                a=encode_stream(self._sizes, "a_", read, run),
                b=encode_stream(self._sizes, "b_", held, run),
                out=encode_stream(self._sizes, "out_", to, run),
            )

    def _pooled(
        self, of: FeatureMap, pooled: FeatureMap, pool: Pool
    ) -> Iterator[tuple[Nest, int, Nest]]:
        """By map and by channels of a line: a walk over windows, elements of a run, and a walk over
        what windows give."""
        windows = pooled.height * pooled.width
        for image in range(of.batch):
            for first in range(0, of.channels, LINE):
                run = min(LINE, of.channels - first)
                start = pooled.address + image * windows * pooled.channels + first
                out = Nest({"address": start}, (Loop(windows, {"address": pooled.channels}),))
                yield self._windows(of, pooled, pool.size, image, first), run, out

    def _update(self, of: Parameters) -> Descriptor:
        """A job of the update unit, after all that is under way."""
        sizes, job = self._sizes, of.pruning
        elements = job.taps * job.length * job.columns
        places = {
            "weight_": (of.masters, 2),
            "momentum_": (of.momenta, 2),
            "gradient_": (of.gradient, 1),
            "new_weight_": (of.masters, 2),
            "new_momentum_": (of.momenta, 2),
            # Dense weights are written only where a stage reads them.
            "half_": (of.masters if of.halves is None else of.halves, 1),
        }
        values = {**job.fields(self.updates.sore), **hyper_parameters(self.by)}
        values["halves"] = int(of.halves is not None)
        for prefix in STREAMS:
            address, words = places[prefix]
            values |= one_run(sizes, prefix, address, words * elements)
        if of.pruned and of.halves is not None:
            values |= self._by_rows(job, of.halves)
        if of.pruned:
            assert of.rows is not None
            rows = encode_rows(sizes, job, of.rows)
            columns = None if of.columns is None else encode_columns(sizes, job, of.columns)
            values |= encode_forms(sizes, job, rows, columns)
        else:
            values |= no_forms(sizes)
        self.target.check({"update": values})
        return Descriptor("update", {"update": values}, self.target.units)

    def _by_rows(self, job: SoreJob, address: int) -> dict[str, int]:
        """Dense weights, which come in the order of beats, to the order of rows."""
        run, group = job.elements(self.updates.sore), job.pattern.m
        loops = (
            Loop(group, {"address": job.columns}),
            Loop(job.columns // run, {"address": run}),
            Loop(job.taps * job.length // group, {"address": group * job.columns}),
        )
        return encode_stream(self._sizes, "half_", Nest({"address": address}, loops), run)


def finished(program: Iterable[Descriptor]) -> list[Descriptor]:
    """A program that ends with its last descriptor, when all units are idle."""
    found = list(program)
    return [*found[:-1], replace(found[-1], last=True)]


def _matrix(layer: WeightLayer) -> tuple[int, int, int, int]:
    """Channel groups, taps, channels of the large and of the small map."""
    if isinstance(layer, Linear):
        return 1, 1, layer.in_features, layer.out_features
    assert isinstance(layer, Convolution)
    channels = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    large, small = channels[::-1] if layer.transposed else channels
    return layer.groups, math.prod(layer.kernel), large, small


def _shape(of: FeatureMap) -> str:
    return f"{of.batch} x {of.height} x {of.width} x {of.channels}"
