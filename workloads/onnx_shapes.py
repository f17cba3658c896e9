"""Sizes of an ONNX graph's tensors, node by node, with ONNX's own shape inference.

Where a graph computes sizes (`Shape`, `Concat`, `Reshape` ...), those few numbers are followed, by
the operators of `_FOLDED` and for tensors of up to 4096 elements. Nothing else is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nofm.kernels.errors import InputError
from nofm.workloads.onnx_model import MAX_VALUES

if TYPE_CHECKING:
    import onnx

MAX_VECTOR = 2**20
"""Most elements of a vector of whole numbers: it may be a shape, and its length then a rank."""
STANDARD = ("", "ai.onnx")
"""The names of ONNX's own operator domain."""

Values = NDArray[Any]
Shape = tuple[int | None, ...]


@dataclass(slots=True)
class Tensors:
    """What is known of a graph's tensors.

    Attributes:
        types: element type and, where it is known, shape, as protocol buffers.
        values: of small tensors whose numbers are known.
    """

    types: dict[str, onnx.TypeProto] = field(default_factory=dict)
    values: dict[str, Values] = field(default_factory=dict)

    def shapes(self) -> dict[str, Shape]:
        """The shapes that are known; None stands for a size that is not."""
        return {
            name: shape for name, kind in self.types.items() if (shape := _shape(kind)) is not None
        }


def _shape(kind: onnx.TypeProto) -> Shape | None:
    if not kind.tensor_type.HasField("shape"):
        return None
    return tuple(
        dim.dim_value if dim.WhichOneof("value") == "dim_value" else None
        for dim in kind.tensor_type.shape.dim
    )


def infer(
    file: str, model: onnx.ModelProto, inputs: Mapping[str, onnx.TypeProto], onnx: Any
) -> Tensors:
    """The tensors of a model whose inputs have the given types.

    Args:
        file: its name, for errors.
        model: as `onnx_model.open_model` gives it.
        inputs: types of the inputs, with every size fixed.
        onnx: the onnx package.

    Raises:
        InputError: an operator set is not known, or ONNX's shape inference refuses a node.
    """
    tensors = Tensors(dict(inputs))
    for tensor in model.graph.initializer:
        kind = onnx.helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
        tensors.types[tensor.name] = kind
        _keep(tensors, tensor.name, _numbers(tensor, onnx))
    declared = {value.name: value.type for value in model.graph.value_info}
    versions = _versions(file, model, onnx)
    for node in model.graph.node:
        domain = "" if node.domain in STANDARD else node.domain
        if not onnx.defs.has(node.op_type, domain):
            # Only the file itself can tell what another's operator gives.
            types = {name: declared[name] for name in node.output if name in declared}
        else:
            types = _inferred(file, node, tensors, versions, domain, onnx)
        tensors.types.update(types)
        if len(node.output) == 1 and node.output[0] in types and domain == "":
            _keep(tensors, node.output[0], _folded(node, tensors, onnx))
    return tensors


def _versions(file: str, model: onnx.ModelProto, onnx: Any) -> dict[str, int]:
    versions = {
        "" if opset.domain in STANDARD else opset.domain: opset.version
        for opset in model.opset_import
    }
    newest = onnx.defs.onnx_opset_version()
    if not 1 <= versions.get("", 0) <= newest:
        raise InputError(
            f"{file}: an ONNX model must name an operator set from 1 to {newest}, the newest that "
            f"the installed onnx package knows, not {versions.get('', 0)}"
        )
    return versions


def _inferred(
    file: str,
    node: onnx.NodeProto,
    tensors: Tensors,
    versions: dict[str, int],
    domain: str,
    onnx: Any,
) -> dict[str, onnx.TypeProto]:
    """Types of a node's outputs; none where an input has none."""
    given = {name: tensors.types.get(name) for name in node.input if name}
    if any(kind is None for kind in given.values()):
        return {}
    for name, kind in given.items():
        _check_vector(file, name, kind, onnx)
    values = {
        name: onnx.numpy_helper.from_array(tensors.values[name], name)
        for name in given
        if name in tensors.values
    }
    try:
        schema = onnx.defs.get_schema(node.op_type, versions.get(domain, 1), domain)
        found: dict[str, onnx.TypeProto] = onnx.shape_inference.infer_node_outputs(
            schema,
            node,
            # A subgraph sees all tensors around it.
            tensors.types if any(item.HasField("g") for item in node.attribute) else given,
            values,
            opset_imports=[onnx.helper.make_opsetid(*item) for item in versions.items()],
        )
    # The C++ side raises whatever it likes: InferenceError, RuntimeError, TypeError ...
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise InputError(
            f"{file}: ONNX's shape inference refuses {node.op_type[:80]} {node.name[:80]!r}: {text}"
        ) from error
    return found


def _check_vector(file: str, name: str, kind: Any, onnx: Any) -> None:
    if kind.tensor_type.elem_type == onnx.TensorProto.INT64:
        shape = _shape(kind)
        if shape is not None and len(shape) == 1 and (shape[0] or 0) > MAX_VECTOR:
            raise InputError(
                f"{file}: a vector of whole numbers may have 2^20 = {MAX_VECTOR} elements at most, "
                f"but {name[:80]!r} has {shape[0]}"
            )


def _numbers(tensor: onnx.TensorProto, onnx: Any) -> Values | None:
    """The values of a tensor, None where they were dropped or do not fit its shape."""
    kinds = onnx.TensorProto
    plain = (kinds.INT64, kinds.INT32, kinds.BOOL, kinds.FLOAT, kinds.DOUBLE)
    if tensor.data_type not in plain or math.prod(tensor.dims) > MAX_VALUES:
        return None
    try:
        values: Values = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError):
        return None
    return values


def _keep(tensors: Tensors, name: str, values: Values | None) -> None:
    """Keep values that have the shape that inference gives."""
    if values is not None and values.shape == _shape(tensors.types[name]):
        tensors.values[name] = values


def _folded(node: onnx.NodeProto, tensors: Tensors, onnx: Any) -> Values | None:
    """The values of a node's one output, where its operator is folded and they are few."""
    shape = _shape(tensors.types[node.output[0]])
    fold = _FOLDED.get(node.op_type)
    if fold is None or shape is None or None in shape:
        return None
    sizes = [size for size in shape if size is not None]
    if any(size < 0 for size in sizes) or math.prod(sizes) > MAX_VALUES:
        return None
    if node.op_type in ("Shape", "Size"):
        whole = _shape(tensors.types[node.input[0]]) if node.input else None
        if whole is None or None in whole:
            return None
        given = [np.array(whole, np.int64)]
    else:
        known = [tensors.values.get(name) for name in node.input]
        if any(values is None for values in known):
            return None
        given = [values for values in known if values is not None]
    try:
        attributes = {item.name: _attribute(item, onnx) for item in node.attribute}
        kind = onnx.helper.tensor_dtype_to_np_dtype(
            tensors.types[node.output[0]].tensor_type.elem_type
        )
        with np.errstate(all="ignore"):
            values = np.asarray(fold(given, attributes, tuple(sizes)))
            return values.astype(kind).reshape(sizes)
    # Malformed operands; the sizes are then simply not known.
    except (ValueError, TypeError, IndexError, KeyError, OverflowError):
        return None


def _attribute(item: onnx.AttributeProto, onnx: Any) -> Any:
    value = onnx.helper.get_attribute_value(item)
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


Attributes = Mapping[str, Any]
Fold = Callable[[list[Values], Attributes, tuple[int, ...]], Any]


def _constant(given: list[Values], attributes: Attributes, shape: tuple[int, ...]) -> Any:
    (value,) = attributes.values()
    return value


def _same(given: list[Values], attributes: Attributes, shape: tuple[int, ...]) -> Any:
    """For operators that change only the shape or the type, which the caller gives the result."""
    return given[0]


def _pointwise(compute: Callable[..., Any]) -> Fold:
    return lambda given, attributes, shape: compute(*given)


def _divide(a: Values, b: Values) -> Any:
    """Division as in C: whole numbers are rounded towards zero."""
    if a.dtype.kind != "i":
        return a / b
    return np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))


def _slice(given: list[Values], attributes: Attributes, shape: tuple[int, ...]) -> Any:
    data, *rest = given
    # Attributes before operator set 10, inputs since.
    bounds: list[Any] = rest or [
        attributes[name] for name in ("starts", "ends", "axes") if name in attributes
    ]
    starts, ends = bounds[:2]
    axes = bounds[2] if len(bounds) > 2 else range(len(starts))
    steps = bounds[3] if len(bounds) > 3 else [1] * len(starts)
    cut = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        # An end before the first element is none at all when counting down.
        stop = None if step < 0 and end < -data.shape[axis] else int(end)
        cut[axis] = slice(int(start), stop, int(step))
    return data[tuple(cut)]


_FOLDED: dict[str, Fold] = {
    "Add": _pointwise(np.add),
    "And": _pointwise(np.logical_and),
    "Cast": _same,
    "Ceil": _pointwise(np.ceil),
    "Concat": lambda given, attributes, shape: np.concatenate(given, attributes["axis"]),
    "Constant": _constant,
    "ConstantOfShape": lambda given, attributes, shape: np.full(shape, attributes.get("value", 0)),
    "Div": _pointwise(_divide),
    "Equal": _pointwise(np.equal),
    "Expand": lambda given, attributes, shape: np.broadcast_to(given[0], shape),
    "Flatten": _same,
    "Floor": _pointwise(np.floor),
    "Gather": lambda given, attributes, shape: np.take(
        given[0], given[1], attributes.get("axis", 0)
    ),
    "Greater": _pointwise(np.greater),
    "Identity": _same,
    "Less": _pointwise(np.less),
    "Max": lambda given, attributes, shape: np.maximum.reduce(given),
    "Min": lambda given, attributes, shape: np.minimum.reduce(given),
    "Mul": _pointwise(np.multiply),
    "Neg": _pointwise(np.negative),
    "Not": _pointwise(np.logical_not),
    "Or": _pointwise(np.logical_or),
    "Range": lambda given, attributes, shape: np.arange(*(values.item() for values in given)),
    "Reshape": _same,
    "Shape": lambda given, attributes, shape: given[0][
        attributes.get("start", 0) : attributes.get("end", len(given[0]))
    ],
    "Size": _pointwise(np.prod),
    "Slice": _slice,
    "Squeeze": _same,
    "Sub": _pointwise(np.subtract),
    "Transpose": lambda given, attributes, shape: given[0].transpose(attributes.get("perm")),
    "Unsqueeze": _same,
    "Where": _pointwise(np.where),
}
"""How the values of a tensor follow from those of a node's inputs."""
