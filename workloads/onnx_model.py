"""Open an ONNX file: what it may hold at most, and its messages without the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nofm.kernels.errors import InputError
from nofm.workloads.bounded_file import read_bytes
from nofm.workloads.layer import MAX_ELEMENTS

if TYPE_CHECKING:
    import onnx

MAX_BYTES = 2**31 - 1
"""Largest file: a protocol buffer holds no more (larger weights lie in external files)."""
MAX_NODES = 100_000
"""Most nodes of a graph."""
MAX_VALUES = 4096
"""Most elements of a constant whose values may matter to shapes; others lose their values."""


def open_model(path: Path, onnx: Any) -> onnx.ModelProto:
    """The model in a file, without the values of its weights; external files are not opened.

    Raises:
        InputError: the file cannot be read, is not an ONNX model, has no nodes or too many, or has
            local functions.
    """
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
    for tensor in graph.initializer:
        _check_sizes(path.name, tensor.name, tensor.dims)
        _empty(tensor, onnx)
    for sparse in graph.sparse_initializer:
        _check_sizes(path.name, sparse.values.name, sparse.dims)
        sparse.values.dims[:] = sparse.dims
        _empty(sparse.values, onnx, at_most=-1)
        graph.initializer.append(sparse.values)
    del graph.sparse_initializer[:]
    for node in graph.node:
        for attribute in node.attribute:
            _check_sizes(path.name, node.name, attribute.t.dims)
            _empty(attribute.t, onnx)
    # A message frees its memory only as a whole: this lets go of the weights.
    return onnx.ModelProto.FromString(model.SerializeToString())


def _parse(path: Path, onnx: Any) -> onnx.ModelProto:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    data = read_bytes(path, "an ONNX file", MAX_BYTES)
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


def _check_sizes(file: str, name: str, sizes: Sequence[int]) -> None:
    if any(size < 0 for size in sizes) or math.prod(sizes) > MAX_ELEMENTS:
        raise InputError(
            f"{file}: constant {name[:80]!r} must have sizes of at least 0 and "
            f"2^46 = {MAX_ELEMENTS} elements at most, but has {tuple(sizes)}"[:400]
        )


def _empty(tensor: onnx.TensorProto, onnx: Any, at_most: int = MAX_VALUES) -> None:
    """Drop the values of a tensor with more than `at_most` elements, or that lie elsewhere."""
    if (
        math.prod(tensor.dims) > at_most
        or tensor.data_location == onnx.TensorProto.EXTERNAL
        or len(tensor.raw_data) > 16 * MAX_VALUES
    ):
        name, kind, sizes = tensor.name, tensor.data_type, list(tensor.dims)
        tensor.Clear()
        tensor.name, tensor.data_type = name, kind
        tensor.dims.extend(sizes)
