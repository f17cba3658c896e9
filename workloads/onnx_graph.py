"""An ONNX file as a list of nodes with known sizes.

Where the file leaves the batch open it is measured at two batches, so that each size tells how it
grows with the batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nofm.kernels.errors import InputError
from nofm.workloads.layer import MAX_ELEMENTS
from nofm.workloads.onnx_model import open_model
from nofm.workloads.onnx_shapes import STANDARD, Tensors, infer

if TYPE_CHECKING:
    import onnx

OPEN_BATCHES = (2, 3)
"""The batches at which an open file is measured. Not 1, which squeezing and broadcasting treat
apart."""

SHAPE_MAKERS = ("Shape", "Size")
"""Operators whose result depends on their input's shape alone."""
RENAMING = (
    "Cast",
    "DequantizeLinear",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)
"""Operators after which a constant still is the same parameter, or rows of it."""


@dataclass(frozen=True, slots=True)
class Growth:
    """A count that grows with the batch: `each` a sample, and `fixed` whatever the batch."""

    each: int
    fixed: int

    def __add__(self, other: Growth) -> Growth:
        return Growth(self.each + other.each, self.fixed + other.fixed)

    @classmethod
    def sum(cls, growths: Iterable[Growth]) -> Growth:
        """What several counts come to."""
        return sum(growths, cls(0, 0))


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """One operator of the graph.

    Attributes:
        name: unique in the graph.
        operator: its type, with the domain before it where that is not ONNX's own.
        inputs, outputs: tensor names; "" where an optional one is left out.
        attributes: plain values by name; a subgraph is the set of operators it holds.
    """

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass(slots=True)
class OnnxGraph:
    """What a file computes.

    Attributes:
        name: the file's name without its ending.
        producer: what wrote the file.
        batch: the batch that the file fixes, or None where it leaves it open.
        nodes: in the order of computation.
        shapes: of each tensor, at each batch it was measured at (one where the file fixes it);
            None where shape inference does not know it.
        constants: tensors that depend on no input, each with the parameter that it comes from.
        floats: tensors of a floating-point type.
        stored: tensors that the file stores, rather than computes.
    """

    name: str
    producer: str
    batch: int | None
    nodes: list[OnnxNode]
    shapes: list[dict[str, tuple[int | None, ...]]]
    constants: dict[str, str]
    floats: set[str]
    stored: set[str]
    users: dict[str, list[OnnxNode]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in self.nodes:
            for name in node.inputs:
                self.users.setdefault(name, []).append(node)

    def shape(self, node: OnnxNode, name: str) -> list[tuple[int, ...]]:
        """The sizes of a tensor of `node`, at each batch it was measured at.

        Raises:
            InputError: a size is not known, or no tensor may have it.
        """
        return [self._shape(node, name, shapes) for shapes in self.shapes]

    def _shape(
        self, node: OnnxNode, name: str, shapes: dict[str, tuple[int | None, ...]]
    ) -> tuple[int, ...]:
        where = f"{self.name}: tensor {name[:80]!r} of {node.operator} {node.name!r}"
        shape = shapes.get(name)
        if shape is None:
            raise InputError(f"{where} must have a known shape, but shape inference gives none")
        known = []
        for axis, size in enumerate(shape):
            if size is None:
                raise InputError(
                    f"{where} must have fixed sizes beyond the batch, but its dimension {axis} is "
                    "open"
                )
            if size < 0:
                raise InputError(f"{where} must have sizes of at least 0, not {size}")
            known.append(size)
        if (elements := math.prod(known)) > MAX_ELEMENTS:
            raise InputError(
                f"{where} may have 2^46 = {MAX_ELEMENTS} elements at most, not {elements}"
            )
        return tuple(known)

    def growth(self, counts: Sequence[int]) -> Growth:
        """How a count grows with the batch, from its values at the measured batches.

        Where the file fixes the batch, a count that it divides is taken to grow with it.
        """
        if self.batch is not None:
            (count,) = counts
            return Growth(0, count) if count % self.batch else Growth(count // self.batch, 0)
        low, high = counts
        each = (high - low) // (OPEN_BATCHES[1] - OPEN_BATCHES[0])
        return Growth(each, low - OPEN_BATCHES[0] * each)

    def elements(self, node: OnnxNode, name: str) -> Growth:
        """How many elements a tensor of `node` has; a constant's do not grow.

        Raises:
            InputError: as `shape`.
        """
        counts = [math.prod(shape) for shape in self.shape(node, name)]
        return Growth(0, counts[0]) if name in self.constants else self.growth(counts)

    def is_parameter(self, name: str) -> bool:
        """Whether a tensor is a constant of a floating-point type."""
        return name in self.constants and name in self.floats

    def is_stored_parameter(self, name: str) -> bool:
        """Whether a tensor is a parameter that the file stores, or a view or rows of one."""
        return self.is_parameter(name) and self.constants[name] in self.stored


def read(path: str | Path) -> OnnxGraph:
    """Read an ONNX file.

    Raises:
        InputError: the file cannot be read, is not an ONNX model, has sizes open beyond the first
            dimension of its inputs, or local functions; or the onnx package is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise InputError(
            "reading an ONNX file needs the onnx package: pip install 'nofm[onnx]'"
        ) from error
    path = Path(path)
    model = open_model(path, onnx)
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    batch = _batch(path.name, [value for value in graph.input if value.name not in constants])
    measured = [
        _measure(path.name, model, constants, size, onnx)
        for size in ((batch,) if batch is not None else OPEN_BATCHES)
    ]
    nodes = list(_nodes(graph, onnx))
    types = measured[0].types
    return OnnxGraph(
        name=path.name,
        producer=" ".join((model.producer_name[:40], model.producer_version[:40])).strip(),
        batch=batch,
        nodes=nodes,
        shapes=[tensors.shapes() for tensors in measured],
        constants=_constants(
            path.name, nodes, {value.name for value in graph.input} - constants, constants
        ),
        floats={
            name for name, kind in types.items() if kind.tensor_type.elem_type in _float_types(onnx)
        },
        stored=constants,
    )


def _measure(
    file: str, model: onnx.ModelProto, constants: set[str], batch: int, onnx: Any
) -> Tensors:
    """The tensors of a model at one batch."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    inputs = [value for value in model.graph.input if value.name not in constants]
    _fix_batch(file, model.graph, inputs, batch)
    return infer(file, model, {value.name: value.type for value in inputs}, onnx)


def _batch(file: str, inputs: list[onnx.ValueInfoProto]) -> int | None:
    """The batch that the inputs fix, or None where they leave it open."""
    first: int | None = None
    is_open = False
    for value in inputs:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.WhichOneof("value") == "dim_value":
                if dim.dim_value < 1:
                    raise InputError(
                        f"{file}: input {value.name[:80]!r} must have sizes of at least 1, but its "
                        f"dimension {axis} is {dim.dim_value}"
                    )
                if axis == 0 and first is None:
                    first = dim.dim_value
            elif axis == 0:
                is_open = True
    return None if is_open else first or 1


def _fix_batch(
    file: str, graph: onnx.GraphProto, inputs: list[onnx.ValueInfoProto], batch: int
) -> None:
    """Give every open batch its size; the file may leave nothing else open."""
    names = {value.name for value in inputs}
    opened = _open_names(inputs)
    for value in (*graph.input, *graph.value_info):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            kind = dim.WhichOneof("value")
            if kind == "dim_value":
                continue
            if (axis == 0 and value.name in names) or (kind and dim.dim_param in opened):
                dim.dim_value = batch
            elif value.name in names:
                name = f" ({dim.dim_param[:80]!r})" if kind else ""
                raise InputError(
                    f"{file}: input {value.name[:80]!r} may leave only its first dimension, the "
                    f"batch, open, but its dimension {axis}{name} is open too"
                )


def _open_names(inputs: list[onnx.ValueInfoProto]) -> set[str]:
    """The names that the inputs give to an open batch."""
    firsts = (value.type.tensor_type.shape.dim[:1] for value in inputs)
    return {dim.dim_param for dims in firsts for dim in dims if dim.dim_param}


def _float_types(onnx: Any) -> tuple[int, ...]:
    kinds = onnx.TensorProto
    return (kinds.FLOAT, kinds.FLOAT16, kinds.BFLOAT16, kinds.DOUBLE)


def _nodes(graph: onnx.GraphProto, onnx: Any) -> Iterator[OnnxNode]:
    seen: set[str] = set()
    for index, node in enumerate(graph.node):
        name = "".join(c if c.isprintable() else "?" for c in node.name[:200]).strip("/")
        name = name or f"{node.op_type[:80]}_{index}"
        if name in seen:
            name = f"{name}#{index}"
        seen.add(name)
        yield OnnxNode(
            name=name,
            operator=_operator(node),
            inputs=tuple(node.input),
            outputs=tuple(node.output),
            attributes={item.name: _plain(item, onnx) for item in node.attribute},
        )


def _operator(node: onnx.NodeProto) -> str:
    name = node.op_type if node.domain in STANDARD else f"{node.domain}.{node.op_type}"
    return "".join(c if c.isprintable() else "?" for c in name[:80])


def _plain(attribute: onnx.AttributeProto, onnx: Any) -> Any:
    """An attribute as a plain value; a tensor counts for nothing here, and becomes None."""
    kinds = onnx.AttributeProto
    if attribute.type == kinds.INT:
        return attribute.i
    if attribute.type == kinds.FLOAT:
        return attribute.f
    if attribute.type == kinds.STRING:
        return attribute.s.decode(errors="replace")
    if attribute.type == kinds.INTS:
        return tuple(attribute.ints)
    if attribute.type in (kinds.GRAPH, kinds.GRAPHS):
        return frozenset(_inside((attribute.g, *attribute.graphs)))
    return None


def _inside(graphs: Sequence[onnx.GraphProto]) -> Iterator[str]:
    """The operators of subgraphs, and of theirs. Parsing bounds how deep they can lie."""
    for graph in graphs:
        for node in graph.node:
            yield _operator(node)
            for attribute in node.attribute:
                yield from _inside((attribute.g, *attribute.graphs))


def _constants(
    file: str, nodes: list[OnnxNode], inputs: set[str], parameters: set[str]
) -> dict[str, str]:
    """The tensors that depend on no input, each with the parameter it is."""
    constants = {name: name for name in parameters}
    known = inputs | parameters
    for node in nodes:
        given = [name for name in node.inputs if name]
        for name in given:
            if name not in known:
                raise InputError(
                    f"{file}: {node.operator} {node.name!r} needs tensor {name[:80]!r}, which "
                    "nothing before it makes"
                )
        known.update(node.outputs)
        if node.operator in SHAPE_MAKERS or all(name in constants for name in given):
            same = node.operator in RENAMING and given
            constants.update({name: constants[given[0]] if same else name for name in node.outputs})
    return constants
