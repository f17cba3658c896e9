"""An ONNX file as a list of nodes with known sizes; nothing in it is evaluated.

Sizes come from ONNX's own shape inference, at two batches where the file leaves the batch open, so
that a size tells how it grows with the batch. Only the small integer constants that shapes are
made of are kept: weights are dropped once their shape is known, and external files are never
opened.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nofm.kernels.errors import InputError
from nofm.workloads.layer import MAX_ELEMENTS

if TYPE_CHECKING:
    import onnx

MAX_BYTES = 2**31 - 1
"""Largest file: a protocol buffer holds no more (larger weights lie in external files)."""
MAX_NODES = 100_000
"""Most nodes of a graph."""
MAX_SHAPE_CONSTANT = 4096
"""Most elements of an integer constant that may be part of a shape computation."""
MAX_VECTOR = 2**20
"""Most elements of a tensor of one dimension: shape inference follows each of them."""
OPEN_BATCHES = (2, 3)
"""The batches at which an open file is measured. Not 1, which squeezing and broadcasting treat
apart."""

STANDARD = ("", "ai.onnx")
"""The names of ONNX's own operator domain."""
SHAPE_MAKERS = ("Shape", "Size")
"""Operators whose result depends on their input's shape alone."""
RENAMING = (
    "Cast",
    "DequantizeLinear",
    "Expand",
    "Flatten",
    "Identity",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)
"""Operators after which a constant still is the same parameter."""


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
    """

    name: str
    producer: str
    batch: int | None
    nodes: list[OnnxNode]
    shapes: list[dict[str, tuple[int | None, ...]]]
    constants: dict[str, str]
    floats: set[str]
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
    model = _parse(path, onnx)
    if not _is_text(model, onnx):
        raise InputError(f"{path.name}: names in an ONNX model must be UTF-8 text")
    graph = model.graph
    if not graph.node:
        raise InputError(f"{path.name}: an ONNX graph needs at least one node, not none")
    if len(graph.node) > MAX_NODES:
        raise InputError(
            f"{path.name}: an ONNX graph may have {MAX_NODES} nodes at most, not {len(graph.node)}"
        )
    if model.functions:
        raise InputError(
            f"{path.name}: local functions must be inlined (onnx.inliner), but it has "
            f"{model.functions[0].name[:80]!r}"
        )
    parameters = _strip(path.name, graph, onnx)
    # A message frees its memory only as a whole: this lets go of the weights.
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    inputs = [value for value in graph.input if value.name not in parameters]
    batch = _batch(path.name, inputs)
    _forget_inferred(graph)
    shapes = [
        _infer(path.name, model, inputs, size, onnx)
        for size in ((batch,) if batch is not None else OPEN_BATCHES)
    ]
    nodes = list(_nodes(graph, onnx))
    types = shapes[0][1]
    return OnnxGraph(
        name=path.name,
        producer=" ".join((model.producer_name[:40], model.producer_version[:40])).strip(),
        batch=batch,
        nodes=nodes,
        shapes=[shape for shape, _ in shapes],
        constants=_constants(path.name, nodes, {value.name for value in inputs}, parameters),
        floats={name for name, kind in types.items() if kind in _float_types(onnx)},
    )


def _parse(path: Path, onnx: Any) -> onnx.ModelProto:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"cannot read {str(path)!r}: {error}") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"{path.name}: an ONNX file may have {MAX_BYTES} bytes at most, not more")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise InputError(
            f"{path.name}: not an ONNX model: it is no such protocol buffer"
        ) from error
    return model


def _is_text(message: Any, onnx: Any) -> bool:
    """Whether all strings of a message are text; protobuf hands others over as bytes."""
    if isinstance(message, onnx.TensorProto):
        # Not its other fields: to list them is to copy the weights.
        return isinstance(message.name, str)
    for kind, value in message.ListFields():
        values = value if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
        if kind.type == kind.TYPE_STRING:
            if isinstance(value, bytes) or not all(isinstance(item, str) for item in values):
                return False
        elif kind.type == kind.TYPE_MESSAGE and not all(_is_text(item, onnx) for item in values):
            return False
    return True


def _strip(file: str, graph: onnx.GraphProto, onnx: Any) -> set[str]:
    """Replace the constants by inputs of their shape, small integers apart; their names.

    Shape inference then holds no weights, and never looks for external data.
    """
    names = set()
    kept = []
    listed = {value.name for value in graph.input}
    for tensor in graph.initializer:
        names.add(tensor.name)
        _check_dims(file, tensor.name, tensor.dims)
        if _small_integers(tensor, onnx):
            kept.append(tensor)
        elif tensor.name not in listed:
            graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    for sparse in graph.sparse_initializer:
        name = sparse.values.name
        names.add(name)
        _check_dims(file, name, sparse.dims)
        if name not in listed:
            graph.input.append(
                onnx.helper.make_tensor_value_info(name, sparse.values.data_type, list(sparse.dims))
            )
    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del graph.initializer[:], graph.sparse_initializer[:]
    graph.initializer.extend(kept)
    return names


def _check_dims(file: str, name: str, dims: Sequence[int]) -> None:
    if any(size < 0 for size in dims) or math.prod(dims) > MAX_ELEMENTS:
        raise InputError(
            f"{file}: constant {name[:80]!r} must have sizes of at least 0 and "
            f"2^46 = {MAX_ELEMENTS} elements at most, but has {tuple(dims)}"[:400]
        )


def _small_integers(tensor: onnx.TensorProto, onnx: Any) -> bool:
    return (
        tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
        and tensor.data_location != onnx.TensorProto.EXTERNAL
        and math.prod(tensor.dims) <= MAX_SHAPE_CONSTANT
    )


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


def _forget_inferred(graph: onnx.GraphProto) -> None:
    """Drop the shapes that ONNX's own operators will be given anew, at another batch perhaps."""
    ours = {name for node in graph.node if node.domain in STANDARD for name in node.output}
    kept = [value for value in graph.value_info if value.name not in ours]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    for value in graph.output:
        if value.name in ours:
            value.type.tensor_type.ClearField("shape")


Inferred = tuple[dict[str, tuple[int | None, ...]], dict[str, int]]


def _infer(
    file: str,
    model: onnx.ModelProto,
    inputs: list[onnx.ValueInfoProto],
    batch: int,
    onnx: Any,
) -> Inferred:
    """Shapes and element types of all tensors at one batch."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    names = {value.name for value in inputs}
    opened = _open_names(inputs)
    for value in (*model.graph.input, *model.graph.value_info):
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
    # Following values takes memory for each element of a vector: without, see how long they are.
    _check_vectors(file, _shapes(model.graph)[0])
    _check_vectors(file, _shapes(_inferred(file, model, onnx, follow_values=False))[0])
    return _shapes(_inferred(file, model, onnx, follow_values=True))


def _inferred(
    file: str, model: onnx.ModelProto, onnx: Any, *, follow_values: bool
) -> onnx.GraphProto:
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=follow_values).graph
    # The C++ side raises whatever it likes: InferenceError, RuntimeError, TypeError ...
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise InputError(f"{file}: ONNX's shape inference refuses the model: {text}") from error


def _shapes(graph: onnx.GraphProto) -> Inferred:
    shapes: dict[str, tuple[int | None, ...]] = {}
    types: dict[str, int] = {}
    for tensor in graph.initializer:
        shapes[tensor.name] = tuple(tensor.dims)
        types[tensor.name] = tensor.data_type
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        types[value.name] = kind.elem_type
        if kind.HasField("shape"):
            shapes[value.name] = tuple(
                dim.dim_value if dim.WhichOneof("value") == "dim_value" else None
                for dim in kind.shape.dim
            )
    return shapes, types


def _check_vectors(file: str, shapes: dict[str, tuple[int | None, ...]]) -> None:
    for name, shape in shapes.items():
        if len(shape) == 1 and (shape[0] or 0) > MAX_VECTOR:
            raise InputError(
                f"{file}: a tensor of one dimension may have 2^20 = {MAX_VECTOR} elements at most, "
                f"but {name[:80]!r} has {shape[0]}"
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
