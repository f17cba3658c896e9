"""What is recorded of a training step: one `Event` for each ATen operator.

`nofm.workloads.step_log` records them, `nofm.workloads.lowering` makes layers of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from nofm.workloads.layer import VectorKind

Work = Literal["view", "product", "convolution", "convolution_backward", "unsupported", "vector"]


@dataclass(frozen=True)
class Origin:
    """What a tensor's elements depend on: the model's inputs, only parameters, or nothing.

    Attributes:
        data: they depend on an input (or on a gradient).
        deep: a weight layer or an embedding lies between the inputs and the tensor.
        parameters: names of the parameters they depend on, where they depend on no input.
    """

    data: bool = False
    deep: bool = False
    parameters: frozenset[str] = frozenset()

    @property
    def constant(self) -> bool:
        """Whether the elements are the same in every step."""
        return not self.data and not self.parameters

    def __or__(self, other: Origin) -> Origin:
        data = self.data or other.data
        parameters = frozenset() if data else self.parameters | other.parameters
        return Origin(data, self.deep or other.deep, parameters)


@dataclass(frozen=True)
class Operand:
    """A tensor as an operator saw it.

    Attributes:
        elements: distinct elements; an expanded dimension counts once.
        storage: tensors with the same storage are views of each other.
        parameter: name of the parameter that the storage belongs to, or "".
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    elements: int
    storage: int
    origin: Origin
    requires_grad: bool
    complex: bool
    parameter: str


@dataclass(frozen=True)
class Event:
    """One operator.

    Attributes:
        op: its plain name, see `aten_ops`.
        work, kind: what it is; `kind` where it moves elements, None where no table knows it.
        module: path of the innermost module that ran; "" is the model itself.
        args: its positional arguments, tensors as `Operand`.
        operands: all its tensor arguments.
        reads, writes: elements.
        constant: it depends on no input, gradient or parameter.
        gradient: it is gradient work of the backward pass.
        again: it is forward work that runs during a backward pass (activation checkpointing).
        node: the autograd node that a forward operator made, or that a gradient operator ran in.
        function: the node of the custom autograd function whose forward ran it.
        accumulated: name of the parameter whose gradient it accumulates, or "".
    """

    op: str
    work: Work
    kind: VectorKind | None
    module: str
    args: tuple[Any, ...]
    operands: tuple[Operand, ...]
    reads: int
    writes: int
    constant: bool
    gradient: bool
    again: bool
    node: int | None
    function: int | None
    accumulated: str


@dataclass(frozen=True)
class Parameter:
    """A model's parameter: its elements, and whether it is trained."""

    elements: int
    trainable: bool


@dataclass
class StepLog:
    """The operators of one training step.

    Attributes:
        modules: paths of all modules of the model.
        leaves: paths of those that come with torch and have no submodules.
        parameters: by name; a shared one has the first of its names.
    """

    modules: frozenset[str]
    leaves: frozenset[str]
    parameters: dict[str, Parameter]
    events: list[Event] = field(default_factory=list)
