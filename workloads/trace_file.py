"""Traces as files: one safetensors file that carries the trace as JSON in its metadata.

The file is what the safetensors library would write: eight bytes with the header's length, then
a JSON header. `__metadata__` of that header holds one entry, `nofm.trace`, the trace as a JSON
document of schema version 1:

    {"version": 1, "name": ..., "batch": ..., "source": ..., "notes": [...], "parameters": ...,
     "layers": [{"kind": "convolution", "name": ..., ...}, ...]}

A layer's fields are those of its class in `nofm.workloads.layer`; a field at its default is left
out, and so is the batch of a layer that has the trace's. Version 1 holds no tensors. Version 2 has,
in the file's data section, tensors of a real step, named `<layer>/<what>` in the header, and one
more entry in the document, `"trained": {<layer>: ["bdwp", "2:8"], ...}`: see `StepTensors`.

Files are taken from anywhere, so reading trusts nothing: every field is checked, and whatever is
wrong is one `InputError`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import reprlib
import typing
from collections import Counter
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nofm.kernels.errors import InputError, unknown
from nofm.kernels.pattern import Pattern
from nofm.workloads.layer import MAX_ELEMENTS, Convolution, Layer, Linear, MatMul, VectorWork
from nofm.workloads.step_tensors import WHAT, StepTensors, Trained
from nofm.workloads.trace import Trace

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
WITH_TENSORS = 2
"""Versions of the schema: of a trace alone, and of one that carries tensors."""
KEY = "nofm.trace"
MAX_FILE_BYTES = 2**24
"""Largest file that is read, tensors not counted; ten thousand layers take about a tenth of it."""

DTYPES = {"F16": ("<f2", 2), "F32": ("<f4", 4), "I32": ("<i4", 4)}
"""Element types of tensors by their names in a header: NumPy's name, and bytes of an element."""

CODES = {"float16": "F16", "float32": "F32", "int32": "I32"}

LAYERS: dict[str, type[Layer]] = {
    kind.kind: kind for kind in (Convolution, Linear, MatMul, VectorWork)
}
"""Every kind of layer that a trace file can hold."""

_ALIGNMENT = 8  # of safetensors headers


def save(trace: Trace, path: str | os.PathLike[str], tensors: StepTensors | None = None) -> None:
    """Write a trace; the same trace always gives the same bytes.

    The file appears whole or not at all.

    Args:
        tensors: of a real step, to go with it.

    Raises:
        InputError: the file cannot be written, or the trace could not be read back.
    """
    data = to_bytes(trace, tensors)
    target = Path(path)
    temporary = target.parent / f".{target.name}.{os.getpid()}.tmp"
    try:
        temporary.write_bytes(data)
        os.replace(temporary, target)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write trace file {str(target)!r}: {_reason(error)}") from None
    finally:
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink()


def load(path: str | os.PathLike[str]) -> Trace:
    """Read a trace.

    Raises:
        InputError: the file cannot be read or is malformed.
    """
    return _load(path)[0]


def load_tensors(path: str | os.PathLike[str]) -> StepTensors:
    """Read the tensors that a trace carries; there are none in a file of version 1.

    Raises:
        InputError: the file cannot be read or is malformed.
    """
    return load_step(path)[1]


def load_step(path: str | os.PathLike[str]) -> tuple[Trace, StepTensors]:
    """Read a trace and the tensors that it carries, if any.

    Raises:
        InputError: the file cannot be read or is malformed.
    """
    import numpy as np

    trace, entries, first, trained = _load(path)
    layers: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
    try:
        with open(path, "rb") as file:
            for name, (dtype, shape, offset) in entries.items():
                file.seek(first + offset)
                name_of_dtype, size = DTYPES[dtype]
                data = file.read(size * math.prod(shape))
                layer, _, what = name.rpartition("/")
                layers.setdefault(layer, {})[what] = np.frombuffer(data, name_of_dtype).reshape(
                    shape
                )
    except OSError as error:
        raise InputError(f"cannot read trace file {os.fspath(path)!r}: {_reason(error)}") from None
    tensors = StepTensors(layers, trained)
    with _naming(os.fspath(path)):
        tensors.check(trace)
    return trace, tensors


_Entries = dict[str, tuple[str, tuple[int, ...], int]]
"""Type, shape and place of each tensor."""


_File = tuple[Trace, _Entries, int, dict[str, Trained]]
"""What a file says: its trace, its tensors, where their data begins, how layers trained."""


def _load(path: str | os.PathLike[str]) -> _File:
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
            size = os.fstat(file.fileno()).st_size
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read trace file {name!r}: {_reason(error)}") from None
    with _naming(name):
        return _read(data, max(size, len(data)))


@contextlib.contextmanager
def _naming(path: str) -> typing.Iterator[None]:
    """Errors of what a file says begin with its name."""
    try:
        yield
    except InputError as error:
        raise InputError(f"trace file {path!r}: {error}") from None


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


def to_bytes(trace: Trace, tensors: StepTensors | None = None) -> bytes:
    """The bytes of a trace's file.

    Raises:
        InputError: the trace could not be read back, for example because a name is not printable;
            a tensor is of no layer of the trace, or of a type that a file cannot hold.
    """
    found = to_document(trace)
    entries: dict[str, Any] = {}
    parts: list[bytes] = []
    if tensors is not None:
        tensors.check(trace)
        found["version"] = WITH_TENSORS
        found["trained"] = {
            name: [how.method, f"{how.pattern.n}:{how.pattern.m}"]
            for name, how in tensors.trained.items()
        }
        offset = 0
        for name, array in tensors.items():
            code = CODES[array.dtype.name]
            parts.append(array.astype(DTYPES[code][0]).tobytes())
            place = [offset, offset + len(parts[-1])]
            entries[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": place}
            offset = place[1]
    document = json.dumps(found, separators=(",", ":"))
    whole = {"__metadata__": {KEY: document}, **entries}
    header = json.dumps(whole, separators=(",", ":")).encode("ascii")
    header += b" " * (-len(header) % _ALIGNMENT)
    data = len(header).to_bytes(8, "little") + header + b"".join(parts)
    if from_bytes(data) != trace:
        raise InputError(f"trace {trace.name!r} cannot be written: its fields are not plain data")
    return data


def from_bytes(data: bytes) -> Trace:
    """The trace in the bytes of a file.

    Raises:
        InputError: they are malformed; the text does not name a file.
    """
    return _read(data, len(data))[0]


def _read(data: bytes, size: int) -> _File:
    """What the first bytes of a file of `size` bytes say. Of one with tensors only the header need
    be there."""
    if len(data) < 8:
        raise InputError(
            f"a file starts with 8 bytes of length, but this one has {len(data)} bytes"
        )
    length = int.from_bytes(data[:8], "little")
    if 8 + min(length, size) > MAX_FILE_BYTES:
        raise InputError(f"a file has at most {MAX_FILE_BYTES} bytes, but this one has more")
    if length > size - 8:
        raise InputError(
            f"the header's length must be at most {size - 8}, the bytes that follow it, "
            f"not {length}"
        )
    header = _parse("the header", data[8 : 8 + length])
    named = [key for key in header if key != "__metadata__"] if isinstance(header, dict) else []
    header = _members(header, "the header", ["__metadata__"], named)
    metadata = _members(header["__metadata__"], "__metadata__", [KEY])
    if not isinstance(metadata[KEY], str):
        raise InputError(f"{KEY} must be text, not {_shown(metadata[KEY])}")
    document = _parse(KEY, metadata[KEY])
    version = document.get("version") if isinstance(document, dict) else None
    if version != WITH_TENSORS:
        _members(header, "the header", ["__metadata__"])
        if size != 8 + length:
            raise InputError(
                f"version {VERSION} holds no tensors, but {size - 8 - length} bytes follow the "
                "header"
            )
        return _decode(document), {}, 8 + length, {}
    document = {**typing.cast(dict[str, object], document), "version": VERSION}
    trained = _trained(document.pop("trained", {}))
    trace = _decode(document)
    entries = _entries({key: header[key] for key in named}, trace)
    held = sum(DTYPES[dtype][1] * math.prod(shape) for dtype, shape, _ in entries.values())
    if size != 8 + length + held:
        raise InputError(
            f"the tensors take {held} bytes, but {size - 8 - length} follow the header"
        )
    return trace, entries, 8 + length, trained


def _trained(value: object) -> dict[str, Trained]:
    """How layers trained, by name."""
    if not isinstance(value, dict):
        raise InputError(f"trained must be an object, not {_shown(value)}")
    found = {}
    for name, how in value.items():
        method, pattern = _value(how, tuple[str, str], f"trained: {_clip(name)}")
        found[name] = Trained(_clip(method), Pattern.parse(_clip(pattern)))
    return found


def _entries(header: dict[str, Any], trace: Trace) -> _Entries:
    """The tensors that a header names: each checked, and one after the other in the file."""
    known = {f"{layer.name}/{what}" for layer in trace.weight_layers for what in WHAT}
    found: _Entries = {}
    offset = 0
    for name, value in header.items():
        if name not in known:
            raise InputError(f"the tensor {_clip(name)!r} belongs to no layer of the trace")
        entry = _members(value, f"tensor {name}", ["dtype", "shape", "data_offsets"])
        dtype = entry["dtype"]
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise unknown(f"dtype of tensor {name}", _clip(dtype), DTYPES)
        shape = _value(entry["shape"], tuple[int, ...], f"tensor {name}: shape")
        place = _value(entry["data_offsets"], tuple[int, int], f"tensor {name}: data_offsets")
        end = offset + DTYPES[dtype][1] * math.prod(shape)
        if place != (offset, end):
            raise InputError(
                f"tensor {name}: data_offsets must be [{offset}, {end}], not {list(place)}"
            )
        found[name] = (dtype, shape, offset)
        offset = end
    return found


def to_document(trace: Trace) -> dict[str, Any]:
    """The JSON document that a trace's file carries."""
    return {
        "version": VERSION,
        "name": trace.name,
        "batch": trace.batch,
        "source": trace.source,
        "notes": list(trace.notes),
        "parameters": trace.parameters,
        "layers": [_encode_layer(layer) for layer in trace.layers],
    }


def _encode_layer(layer: Layer) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": layer.kind}
    for field in fields(layer):
        value = getattr(layer, field.name)
        if value != field.default and not (field.name == "batch" and layer.batched):
            found[field.name] = value
    return found


def _parse(what: str, text: str | bytes) -> object:
    """Strict JSON: no repeated keys, no fractions, no NaN, no depth that exhausts the stack."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            repeated = next(
                key for key, count in Counter(key for key, _ in pairs).items() if count > 1
            )
            raise InputError(f"{what} has the key {_shown(repeated)} twice")
        return found

    def whole(text: str) -> object:
        raise InputError(f"{what} holds only whole numbers, not {_shown(text)}")

    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        return json.loads(text, object_pairs_hook=once, parse_float=whole, parse_constant=whole)
    except InputError:
        raise
    except RecursionError:
        raise InputError(f"{what} is nested too deeply") from None
    except UnicodeDecodeError:
        raise InputError(f"{what} is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{what} is not JSON: {error}") from None
    except ValueError:
        raise InputError(f"{what} holds a number that is too long") from None


def _shown(value: object) -> str:
    """A value in an error: short, and on one line."""
    return reprlib.repr(value)


def _members(
    value: object, where: str, required: list[str], optional: typing.Iterable[str] = ()
) -> dict[str, Any]:
    """`value` as an object that has the required keys and none but the optional ones besides."""
    if not isinstance(value, dict):
        raise InputError(f"{where} must be an object, not {_shown(value)}")
    known = dict.fromkeys([*required, *optional])
    for key in value:
        if key not in known:
            raise unknown(f"key in {where}", _clip(key), known)
    for key in required:
        if key not in value:
            raise InputError(f"{where} lacks the key {key!r}")
    return value


def _clip(name: object) -> str:
    """A name of unknown length for an error."""
    text = name if isinstance(name, str) else _shown(name)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _value(value: object, hint: Any, where: str) -> Any:
    """`value` as the type that a field is annotated with."""
    origin = typing.get_origin(hint)
    if hint is bool:
        if not isinstance(value, bool):
            raise InputError(f"{where} must be true or false, not {_shown(value)}")
    elif hint is int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise InputError(f"{where} must be a whole number, not {_shown(value)}")
        if not 0 <= value <= MAX_ELEMENTS:
            raise InputError(
                f"{where} must be from 0 to 2^46 = {MAX_ELEMENTS}, not {_shown(value)}"
            )
    elif hint is str:
        if not isinstance(value, str):
            raise InputError(f"{where} must be text, not {_shown(value)}")
        if not value.isprintable():
            raise InputError(f"{where} must be printable text, not {_shown(value)}")
    elif origin is Literal:
        if value not in typing.get_args(hint):
            raise unknown(where, _clip(value), typing.get_args(hint))
    elif origin is tuple:
        if not isinstance(value, list):
            raise InputError(f"{where} must be a list, not {_shown(value)}")
        inner = typing.get_args(hint)
        if inner[-1] is Ellipsis:
            return tuple(_value(item, inner[0], where) for item in value)
        if len(value) != len(inner):
            raise InputError(f"{where} must be lists of {len(inner)}, not of {len(value)}")
        return tuple(_value(item, kind, where) for item, kind in zip(value, inner, strict=True))
    else:
        raise TypeError(f"{where}: a field of type {hint} cannot be read")
    return value


def _decode(value: object) -> Trace:
    keys = ["version", "name", "batch", "source", "notes", "parameters", "layers"]
    if isinstance(value, dict) and value.get("version", VERSION) != VERSION:
        raise InputError(
            f"the schema version must be {VERSION} or {WITH_TENSORS}, not "
            f"{_shown(value['version'])}"
        )
    document = _members(value, "the trace", keys)
    batch = _value(document["batch"], int, "batch")
    if not isinstance(document["layers"], list):
        raise InputError(f"layers must be a list, not {_shown(document['layers'])}")
    return Trace(
        name=_value(document["name"], str, "name"),
        batch=batch,
        layers=tuple(
            _decode_layer(layer, index, batch) for index, layer in enumerate(document["layers"])
        ),
        source=_value(document["source"], str, "source"),
        notes=_value(document["notes"], tuple[str, ...], "notes"),
        parameters=_value(document["parameters"], int, "parameters"),
    )


def _hints(kind: type[Layer]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


_HINTS = {name: _hints(kind) for name, kind in LAYERS.items()}
_REQUIRED = {
    name: [field.name for field in fields(kind) if field.default is MISSING]
    for name, kind in LAYERS.items()
}


def _decode_layer(value: object, index: int, batch: int) -> Layer:
    where = f"layer {index}"
    if not isinstance(value, dict):
        raise InputError(f"{where} must be an object, not {_shown(value)}")
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in LAYERS:
        raise unknown(f"kind in {where}", _clip(kind), LAYERS)
    hints = _HINTS[kind]
    members = _members(value, where, ["kind", *_REQUIRED[kind]], hints)
    chosen = {
        name: _value(item, hints[name], f"{where}: {name}")
        for name, item in members.items()
        if name != "kind"
    }
    if chosen.get("batched", True):
        if "batch" in chosen:
            raise InputError(f"{where}: batch is given only for layers that are not batched")
        chosen["batch"] = batch * chosen.get("maps", 1)
    return LAYERS[kind](**chosen)
