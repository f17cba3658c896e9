"""A layer's products as the chip computes them: where operands lie, and where results go.

As `dataflow.operands` writes operands out, so here they are described: by windows over feature maps
and by taps of a weight. Products with a `count` fall into as many *parts*.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product as cartesian

from nofm.dataflow.methods import Method
from nofm.dataflow.products import Product, products
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.rtl.program.layout import FeatureMap, Form, Tensors
from nofm.rtl.program.out import MapOut, WeightOut
from nofm.rtl.program.walk import Loop
from nofm.rtl.program.window import Axis, Window
from nofm.workloads.layer import Convolution, Linear, WeightLayer


@dataclass(frozen=True)
class Left:
    """The operand that streams: a map, read through a window.

    Attributes:
        channel, channels: the first channel that is read, and their number.
        reduced: whether the product reduces positions (WU), and its rows are channels times taps.
    """

    map: FeatureMap
    window: Window
    channel: int
    channels: int
    reduced: bool = False


@dataclass(frozen=True)
class Taps:
    """Taps of a weight: (count, from one to the next) along x and along y, from `first` on."""

    first: int = 0
    x: tuple[int, int] = (1, 1)
    y: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class DenseRight:
    """A dense right operand: element (tap, k, n) lies at address + tap tap_pitch + k k_pitch + n
    n_pitch, and k or n has pitch 1."""

    address: int
    k_pitch: int
    n_pitch: int
    tap_pitch: int = 0
    taps: Taps = Taps()


@dataclass(frozen=True)
class KeptRight:
    """A compressed right operand of `groups` N:M groups a tap; its columns may be those of
    `column_taps` taps, one tap after the other."""

    form: Form
    groups: int
    taps: Taps = Taps()
    column_taps: int = 1


@dataclass(frozen=True)
class Part:
    """One product of a left by a right operand, and its place."""

    product: Product
    left: Left
    right: DenseRight | KeptRight
    out: MapOut | WeightOut


def lower(
    layer: WeightLayer, stage: str, method: Method, pattern: Pattern, at: Tensors
) -> list[list[Part]]:
    """The parts of each of a layer's products in one stage, as `dataflow.products` lists them.

    Raises:
        InputError: the chip cannot compute a product, or a tensor has no place.
    """
    found = products(layer, stage, method, pattern)
    if not found:
        return []
    if any(product.left == "weight" for product in found):
        raise InputError(f"layer {layer.name!r}: BP with a sparse gradient has no program yet")
    lowering = _Lowering(_as_convolution(layer), at)
    parts = getattr(lowering, stage)(found)
    return [
        [of(group) for group in range(each.count)] for each, of in zip(found, parts, strict=True)
    ]


def _as_convolution(layer: WeightLayer) -> Convolution:
    """A linear layer as a convolution of kernel 1 over maps of one place."""
    if isinstance(layer, Convolution):
        if len(layer.size) > 2:
            raise InputError(
                f"layer {layer.name!r}: a program has convolutions of 1 or 2 dimensions, not "
                f"{len(layer.size)}"
            )
        return layer
    assert isinstance(layer, Linear)
    return Convolution(
        name=layer.name,
        batch=layer.batch * layer.rows,
        in_channels=layer.in_features,
        out_channels=layer.out_features,
        size=(1,),
        kernel=(1,),
        stride=(1,),
        padding=((0, 0),),
        dilation=(1,),
    )


Maker = Callable[[int], Part]


class _Lowering:
    def __init__(self, layer: Convolution, at: Tensors) -> None:
        self.layer, self.at = layer, at
        outer, inner = layer.size, layer.output_size
        turned = layer.transposed
        self.large, self.small = (inner, outer) if turned else (outer, inner)
        channels = layer.in_channels, layer.out_channels
        wide, narrow = channels[::-1] if turned else channels
        self.on_large, self.on_small = wide // layer.groups, narrow // layer.groups
        self.rank = len(layer.size)

    def ff(self, found: tuple[Product, ...]) -> list[Maker]:
        if self.layer.transposed:
            return self._scatter(found, self._map("input"), self._map("output"))
        return self._gather(found, self._map("input"), self._map("output"))

    def bp(self, found: tuple[Product, ...]) -> list[Maker]:
        gradient, result = self._map("gradient"), self._map("input_gradient")
        if self.layer.transposed:
            return self._gather(found, gradient, result)
        return self._scatter(found, gradient, result)

    def wu(self, found: tuple[Product, ...]) -> list[Maker]:
        large, small = self._map("input"), self._map("gradient")
        if self.layer.transposed:
            large, small = small, large
        (whole,) = found
        window, elements = self._window(), self._taps() * self.on_large * self.on_small
        address = self._address("weight_gradient")

        def part(group: int) -> Part:
            left = Left(large, window, group * self.on_large, self.on_large, reduced=True)
            right: DenseRight | KeptRight
            if whole.pattern.dense:
                right = DenseRight(small.address + group * self.on_small, small.channels, 1)
            else:
                form = Form(self._address("gradient_form"), whole.pattern, self.on_small)
                groups = whole.pattern.groups(whole.length)
                right = KeptRight(_moved(form, group * form.rows(1, whole.length)), groups)
            out = WeightOut(
                address + group * elements,
                self._taps(),
                self.on_large,
                self.on_small,
                self.at.beats,
            )
            return Part(whole, left, right, out)

        return [part]

    def _gather(
        self, found: tuple[Product, ...], read: FeatureMap, written: FeatureMap
    ) -> list[Maker]:
        (whole,) = found
        window, rows = self._window(), _positions(written)
        kernel = [1] * (2 - self.rank) + list(self.layer.kernel)
        taps = Taps(0, (kernel[1], 1), (kernel[0], kernel[1]))

        def part(group: int) -> Part:
            left = Left(read, window, group * self.on_large, self.on_large)
            right = self._right(whole, group, taps, large=True)
            return Part(
                whole, left, right, MapOut(written, group * self.on_small, self.on_small, rows)
            )

        return [part]

    def _scatter(
        self, found: tuple[Product, ...], read: FeatureMap, written: FeatureMap
    ) -> list[Maker]:
        by_dimension = [self._phases(dimension) for dimension in range(self.rank)]
        if len(found) == 1 and not self._overlapping():
            return [self._apart(found[0], read, written)]
        chosen = list(cartesian(*by_dimension))
        return [
            self._phase(product, phase, read, written)
            for product, phase in zip(found, chosen, strict=True)
        ]

    def _phase(
        self, product: Product, phase: tuple[_Phase, ...], read: FeatureMap, written: FeatureMap
    ) -> Maker:
        y, x = ([_Phase(Axis(), 0, 1, 0, 1)] * (2 - self.rank)) + list(phase)
        window = Window(self.layer.batch, y.axis, x.axis)
        width = self.layer.kernel[-1]
        taps = Taps(
            y.tap * width + x.tap, (x.axis.taps, x.taps_apart), (y.axis.taps, y.taps_apart * width)
        )
        first = (y.place * written.width + x.place) * written.channels
        rows = (
            Loop(x.axis.positions, {"address": x.places_apart * written.channels}),
            Loop(y.axis.positions, {"address": y.places_apart * written.width * written.channels}),
            Loop(self.layer.batch, {"address": written.elements // written.batch}),
        )

        def part(group: int) -> Part:
            left = Left(read, window, group * self.on_small, self.on_small)
            right = self._right(product, group, taps, large=False)
            out = MapOut(written, group * self.on_large, self.on_large, rows, (first,))
            return Part(product, left, right, out)

        return part

    def _apart(self, product: Product, read: FeatureMap, written: FeatureMap) -> Maker:
        """Windows that do not overlap: one product whose columns are taps times channels."""
        layer, batch = self.layer, self.layer.batch
        sizes = [Axis(positions=size, size=size) for size in self.small]
        y, x = [Axis()] * (2 - self.rank) + sizes
        window = Window(batch, y, x)
        # Place of each tap at the first position, and the positions at which it is in the map.
        by_dimension, inside = [], []
        for d, (size, count) in enumerate(zip(self.large, self.small, strict=True)):
            begin = [
                tap * layer.dilation[d] - layer.padding[d][0] for tap in range(layer.kernel[d])
            ]
            by_dimension.append(begin)
            stride = layer.stride[d]
            ends = [
                (
                    min(count, max(0, -(at // stride))),
                    max(0, min(count, (size - at - 1) // stride + 1)),
                )
                for at in begin
            ]
            inside.append(ends)
        steps = [1] * (2 - self.rank) + list(layer.stride)
        down, right_ = ([[0]] * (2 - self.rank)) + by_dimension
        row = written.width * written.channels
        starts = tuple(a * row + b * written.channels for a in down for b in right_)
        tall, wide = ([[(0, 1)]] * (2 - self.rank)) + inside
        reach = tuple((a, b) for a in tall for b in wide)
        rows = (
            Loop(x.positions, {"address": steps[1] * written.channels}),
            Loop(y.positions, {"address": steps[0] * row}),
            Loop(batch, {"address": written.elements // written.batch}),
        )

        def part(group: int) -> Part:
            left = Left(read, window, group * self.on_small, self.on_small)
            right = self._right(product, group, Taps(), large=False)
            if isinstance(right, KeptRight):
                right = replace(right, column_taps=self._taps())
            out = MapOut(written, group * self.on_large, self.on_large, rows, starts, reach)
            return Part(product, left, right, out)

        return part

    def _right(
        self, product: Product, group: int, taps: Taps, *, large: bool
    ) -> DenseRight | KeptRight:
        """The weight, reduced along the channels of the large or of the small map."""
        tap = self.on_large * self.on_small
        if product.pattern.dense:
            pitches = (self.on_small, 1) if large else (1, self.on_small)
            start = self._address("weight") + group * self._taps() * tap
            return DenseRight(start, *pitches, tap, taps)
        length, columns = (
            (self.on_large, self.on_small) if large else (self.on_small, self.on_large)
        )
        address = self._address("along_large" if large else "along_small")
        form = Form(address, product.pattern, columns)
        form = _moved(form, group * form.rows(self._taps(), length))
        return KeptRight(form, product.pattern.groups(length), taps)

    def _window(self) -> Window:
        """The large map, read at every position of the small one."""
        layer = self.layer
        axes = [
            Axis(
                positions=self.small[d],
                step=layer.stride[d],
                taps=layer.kernel[d],
                apart=layer.dilation[d],
                offset=-layer.padding[d][0],
                size=self.large[d],
            )
            for d in range(self.rank)
        ]
        return Window(layer.batch, *([Axis()] * (2 - self.rank)), *axes)

    def _phases(self, d: int) -> list[_Phase]:
        """Phases of a dimension of the large map that any tap hits."""
        layer = self.layer
        size, stride, dilation = self.large[d], layer.stride[d], layer.dilation[d]
        before, found = layer.padding[d][0], []
        for phase in range(min(stride, size + before)):
            taps = [tap for tap in range(layer.kernel[d]) if tap * dilation % stride == phase]
            first = (phase - before) % stride
            positions = len(range(first, size, stride))
            if not taps or not positions:
                continue
            between = taps[1] - taps[0] if len(taps) > 1 else 1
            axis = Axis(
                positions=positions,
                taps=len(taps),
                apart=-between * dilation // stride if len(taps) > 1 else 1,
                offset=(first + before - dilation * taps[0]) // stride,
                size=self.small[d],
            )
            found.append(_Phase(axis, taps[0], between, first, stride))
        return found

    def _overlapping(self) -> bool:
        layer = self.layer
        return any(
            layer.dilation[d] * (layer.kernel[d] - 1) + 1 > layer.stride[d] and self.small[d] > 1
            for d in range(self.rank)
        )

    def _taps(self) -> int:
        count = 1
        for kernel in self.layer.kernel:
            count *= kernel
        return count

    def _map(self, name: str) -> FeatureMap:
        found = getattr(self.at, name)
        if found is None:
            raise InputError(f"layer {self.layer.name!r}: its {name} has no place in memory")
        assert isinstance(found, FeatureMap)
        return found

    def _address(self, name: str) -> int:
        found = getattr(self.at, name)
        if found is None:
            raise InputError(f"layer {self.layer.name!r}: its {name} has no place in memory")
        return int(found)


@dataclass(frozen=True)
class _Phase:
    """Places of the large map that some taps hit: how they read the small one, the first tap and
    the distance to the next, the first place and the distance to the next."""

    axis: Axis
    tap: int
    taps_apart: int
    place: int
    places_apart: int


def _moved(form: Form, by: int) -> Form:
    return replace(form, address=form.address + by)


def _positions(of: FeatureMap) -> tuple[Loop, ...]:
    """Loops over all places of a map."""
    return (
        Loop(of.width, {"address": of.channels}),
        Loop(of.height, {"address": of.width * of.channels}),
        Loop(of.batch, {"address": of.height * of.width * of.channels}),
    )
