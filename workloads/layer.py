"""What a network computes, layer by layer: convolutions, linear layers, products, moved bytes.

Sizes are those of one sample; `batch` says how many samples pass through a layer together. A
layer that does the same work whatever the batch has `batched=False`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from nofm.kernels.errors import InputError

VectorKind = Literal[
    "elementwise",
    "normalisation",
    "pooling",
    "softmax",
    "embedding",
    "reduction",
    "copy",
]
MAX_ELEMENTS = 2**46
"""Largest number of elements of any tensor: byte and cycle counts then fit 63 bits."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One piece of work of a network's training step.

    Attributes:
        name: unique in its trace, usually the module's path.
        batch: samples that pass together; fixed when `batched` is False (then mostly 1).
        batched: whether the work grows with the batch.
        input_gradient: whether the backward pass needs the gradient of the (first) input; a
            network's first layer does not.
    """

    kind: ClassVar[str]
    name: str
    batch: int = 1
    batched: bool = True
    input_gradient: bool = True

    @property
    def passes(self) -> int:
        """How often one sample passes through the layer at once: 1 but for some convolutions."""
        return 1

    def describe(self) -> str:
        """The work in a few words, for people."""
        raise NotImplementedError

    def with_batch(self, batch: int) -> Layer:
        """The same layer for another batch of the network."""
        return replace(self, batch=batch * self.passes) if self.batched else self

    def _check(self, at_least: int = 1, **sizes: int) -> None:
        for what, value in {"batch": self.batch, **sizes}.items():
            low = 1 if what == "batch" else at_least
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise InputError(
                    f"layer {self.name!r}: {what} must be a whole number of at least {low}, "
                    f"not {value!r}"
                )
            if value > MAX_ELEMENTS:
                raise InputError(
                    f"layer {self.name!r}: {what} must be at most 2^46 = {MAX_ELEMENTS}, "
                    f"not {value}"
                )

    def _check_total(self, what: str, *factors: int) -> None:
        if (total := math.prod(factors)) > MAX_ELEMENTS:
            raise InputError(
                f"layer {self.name!r}: {what} has {total} elements, more than 2^46 = {MAX_ELEMENTS}"
            )


@dataclass(frozen=True, kw_only=True)
class WeightLayer(Layer):
    """A layer with a trainable weight: the layers that N:M patterns apply to.

    Attributes:
        weight: name of the parameter; layers that share it have the same one and it is updated
            once a step.
        weight_gradient: False when the weight is frozen.
        prunable: False for layers that N:M methods leave dense (the first layer and the head).
        bias: whether a bias is added (it costs no product).
        input_zeros_ppm, gradient_zeros_ppm: zeros among the elements of the input and of the
            output's gradient that were measured in a real step, in parts per million; 0 also where
            nothing was measured. No cost depends on them.
    """

    weight: str = ""
    weight_gradient: bool = True
    prunable: bool = True
    bias: bool = False
    input_zeros_ppm: int = 0
    gradient_zeros_ppm: int = 0

    @property
    def weight_elements(self) -> int:
        """Elements of the weight, bias not counted."""
        raise NotImplementedError

    @property
    def weight_name(self) -> str:
        """The parameter's name, or the layer's where none was given."""
        return self.weight or self.name


@dataclass(frozen=True, kw_only=True)
class Convolution(WeightLayer):
    """A convolution over 1, 2 or 3 spatial dimensions, or its transpose.

    Attributes:
        in_channels, out_channels: Ci and Co, over all groups.
        size: input positions by spatial dimension, e.g. (H, W).
        kernel, stride, dilation: by spatial dimension.
        padding: (before, after) by spatial dimension.
        groups: channel groups; Ci in a depthwise convolution.
        transposed: a transposed convolution; `size` is then still its input's, and
            `output_padding` is added to its output.
        maps: feature maps a sample of the network, such as the frames of a video; `batch` counts
            all of them.
    """

    kind: ClassVar[str] = "convolution"
    in_channels: int
    out_channels: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1
    transposed: bool = False
    output_padding: tuple[int, ...] = ()
    maps: int = 1

    def __post_init__(self) -> None:
        rank = len(self.size)
        if not 1 <= rank <= 3:
            raise InputError(
                f"layer {self.name!r}: a convolution has 1 to 3 spatial dimensions, not {rank}"
            )
        for what in ("kernel", "stride", "padding", "dilation"):
            if len(getattr(self, what)) != rank:
                raise InputError(
                    f"layer {self.name!r}: {what} must have {rank} entries like the input size, "
                    f"not {len(getattr(self, what))}"
                )
            if what != "padding":
                for value in getattr(self, what):
                    self._check(**{what: value})
        for value in self.size:
            self._check(size=value)
        self._check(
            in_channels=self.in_channels,
            out_channels=self.out_channels,
            groups=self.groups,
        )
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise InputError(
                f"layer {self.name!r}: groups must divide both channel counts, but {self.groups} "
                f"does not divide {self.in_channels} and {self.out_channels}"
            )
        if any(size < 1 for size in self.output_size):
            raise InputError(
                f"layer {self.name!r}: the output size must be positive, but a kernel of "
                f"{self.kernel} over an input of {self.size} gives {self.output_size}"
            )
        self._check_total("its input", self.batch, self.in_channels, *self.size)
        self._check_total("its output", self.batch, self.out_channels, *self.output_size)
        self._check_total("its weight", self.weight_elements)

    @property
    def passes(self) -> int:
        return self.maps

    @property
    def output_size(self) -> tuple[int, ...]:
        """Output positions by spatial dimension."""
        extra = self.output_padding or (0,) * len(self.size)
        return tuple(
            (s - 1) * st - sum(p) + d * (k - 1) + 1 + e
            if self.transposed
            else (s + sum(p) - d * (k - 1) - 1) // st + 1
            for s, k, st, p, d, e in zip(
                self.size,
                self.kernel,
                self.stride,
                self.padding,
                self.dilation,
                extra,
                strict=True,
            )
        )

    def describe(self) -> str:
        sizes = "x".join(map(str, (self.batch, self.in_channels, *self.size)))
        strides = set(self.stride)
        stride = f" stride {self.stride[0]}" if strides != {1} else ""
        groups = f" in {self.groups} groups" if self.groups > 1 else ""
        transposed = " transposed" if self.transposed else ""
        kernel = "x".join(map(str, self.kernel))
        return f"{sizes} to {self.out_channels}, {kernel}{stride}{groups}{transposed}"

    @property
    def weight_elements(self) -> int:
        return self.in_channels // self.groups * self.out_channels * math.prod(self.kernel)


@dataclass(frozen=True, kw_only=True)
class Linear(WeightLayer):
    """A linear layer on `rows` vectors a sample: Y[batch*rows, out] = X[batch*rows, in] W."""

    kind: ClassVar[str] = "linear"
    rows: int = 1
    in_features: int
    out_features: int

    def __post_init__(self) -> None:
        self._check(rows=self.rows, in_features=self.in_features, out_features=self.out_features)
        self._check_total("its input", self.batch, self.rows, self.in_features)
        self._check_total("its output", self.batch, self.rows, self.out_features)
        self._check_total("its weight", self.weight_elements)

    def describe(self) -> str:
        return f"{self.batch * self.rows} x {self.in_features} to {self.out_features}"

    @property
    def weight_elements(self) -> int:
        return self.in_features * self.out_features


@dataclass(frozen=True, kw_only=True)
class MatMul(Layer):
    """`batch * count` products of two activations, [m, k] by [k, n] (attention, for example).

    `second_gradient` says whether the backward pass needs the gradient of the [k, n] operand.
    """

    kind: ClassVar[str] = "matmul"
    count: int = 1
    m: int
    k: int
    n: int
    second_gradient: bool = True

    def describe(self) -> str:
        return f"{self.batch * self.count} times {self.m} x {self.k} by {self.k} x {self.n}"

    def __post_init__(self) -> None:
        self._check(count=self.count, m=self.m, k=self.k, n=self.n)
        for what, rows, columns in (
            ("its first operand", self.m, self.k),
            ("its second operand", self.k, self.n),
            ("its output", self.m, self.n),
        ):
            self._check_total(what, self.batch, self.count, rows, columns)


@dataclass(frozen=True, kw_only=True)
class VectorWork(Layer):
    """Work that is bytes moved rather than products: elements read and written.

    Attributes:
        work: what kind of work it is; accelerators may fuse some kinds into their neighbours.
        forward_reads, forward_writes: elements a sample in the forward pass.
        backward_reads, backward_writes: elements a sample in the backward pass (0 when there is
            none).
        fixed_forward_reads, fixed_forward_writes, fixed_backward_reads, fixed_backward_writes:
            elements moved besides, once a pass whatever the batch: the scales of a normalisation,
            the gradient of an embedding table.
    """

    kind: ClassVar[str] = "vector"
    work: VectorKind
    forward_reads: int
    forward_writes: int
    backward_reads: int = 0
    backward_writes: int = 0
    fixed_forward_reads: int = 0
    fixed_forward_writes: int = 0
    fixed_backward_reads: int = 0
    fixed_backward_writes: int = 0

    def describe(self) -> str:
        moved = self.forward_reads + self.forward_writes
        back = self.backward_reads + self.backward_writes
        return f"{self.work}, {self.batch * moved} elements forward, {self.batch * back} backward"

    def __post_init__(self) -> None:
        for what in ("forward_reads", "forward_writes", "backward_reads", "backward_writes"):
            value, fixed = getattr(self, what), getattr(self, f"fixed_{what}")
            self._check(at_least=0, **{what: value, f"fixed_{what}": fixed})
            if (total := self.batch * value + fixed) > MAX_ELEMENTS:
                raise InputError(
                    f"layer {self.name!r}: {what} come to {total} elements, more than "
                    f"2^46 = {MAX_ELEMENTS}"
                )

    def elements(self, stage: Literal["ff", "bp"]) -> tuple[int, int]:
        """Elements read and written in one stage, over the whole batch."""
        if stage == "ff":
            return (
                self.batch * self.forward_reads + self.fixed_forward_reads,
                self.batch * self.forward_writes + self.fixed_forward_writes,
            )
        return (
            self.batch * self.backward_reads + self.fixed_backward_reads,
            self.batch * self.backward_writes + self.fixed_backward_writes,
        )
