"""Trace files: round trips, exact bytes, and refusal of everything malformed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st

from nofm.kernels.errors import InputError
from nofm.workloads import trace_file
from nofm.workloads.layer import Convolution, Layer, Linear, MatMul, VectorWork
from nofm.workloads.trace import Trace

NAMES = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=12)
SIZES = st.integers(1, 40)
FLAGS = st.booleans()
COUNTS = st.integers(0, 2**20)


@st.composite
def convolutions(draw: st.DrawFn, batch: int) -> Convolution:
    rank = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 3))
    maps = draw(st.integers(1, 3))
    batched = draw(FLAGS)
    transposed = draw(FLAGS)

    def each(values: st.SearchStrategy[int]) -> tuple[int, ...]:
        return tuple(draw(values) for _ in range(rank))

    kernel = each(st.integers(1, 3))
    return Convolution(
        name="",
        batch=batch * maps if batched else draw(SIZES),
        batched=batched,
        maps=maps if batched else 1,
        in_channels=groups * draw(SIZES),
        out_channels=groups * draw(SIZES),
        groups=groups,
        size=each(st.integers(9, 20)),
        kernel=kernel,
        stride=each(st.integers(1, 3)),
        dilation=each(st.integers(1, 2)),
        padding=tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in kernel),
        transposed=transposed,
        output_padding=each(st.integers(0, 1)) if transposed else (),
        bias=draw(FLAGS),
        prunable=draw(FLAGS),
        weight=draw(st.just("") | NAMES),
        weight_gradient=draw(FLAGS),
        input_gradient=draw(FLAGS),
    )


@st.composite
def layers(draw: st.DrawFn, batch: int, name: str) -> Layer:
    kind = draw(st.sampled_from(sorted(trace_file.LAYERS)))
    batched = draw(FLAGS)
    common: dict[str, Any] = {"name": name, "batched": batched, "batch": batch if batched else 1}
    if kind == "convolution":
        found = draw(convolutions(batch))
        return Convolution(**{**vars(found), "name": name})
    if kind == "linear":
        return Linear(
            **common,
            rows=draw(SIZES),
            in_features=draw(SIZES),
            out_features=draw(SIZES),
            weight=draw(NAMES),
            bias=draw(FLAGS),
        )
    if kind == "matmul":
        return MatMul(
            **common,
            count=draw(SIZES),
            m=draw(SIZES),
            k=draw(SIZES),
            n=draw(SIZES),
            second_gradient=draw(FLAGS),
        )
    return VectorWork(
        **common,
        work=draw(st.sampled_from(["elementwise", "normalisation", "copy"])),
        forward_reads=draw(COUNTS),
        forward_writes=draw(COUNTS),
        backward_reads=draw(COUNTS),
        fixed_backward_writes=draw(COUNTS),
    )


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    batch = draw(st.integers(1, 64))
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    return Trace(
        name=draw(NAMES),
        batch=batch,
        layers=tuple(draw(layers(batch, name)) for name in names),
        source=draw(st.just("") | NAMES),
        notes=tuple(draw(st.lists(NAMES, max_size=3))),
        parameters=draw(COUNTS),
    )


def linear_trace(**fields: Any) -> Trace:
    layer = Linear(name="fc", batch=4, in_features=3, out_features=5, rows=2)
    return Trace(**{"name": "net", "batch": 4, "layers": (layer,), **fields})


def packed(header: object) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


def with_document(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The bytes of a valid trace after a change to its document."""
    document = json.loads(json.loads(trace_file.to_bytes(linear_trace())[8:])["__metadata__"][KEY])
    changed = change(document)
    text = json.dumps(document) if changed is None else changed
    return packed({"__metadata__": {KEY: text}})


KEY = trace_file.KEY


@given(traces())
def test_a_trace_comes_back_as_it_was(trace: Trace) -> None:
    assert trace_file.from_bytes(trace_file.to_bytes(trace)) == trace


@given(traces())
def test_the_bytes_are_those_of_the_safetensors_library(trace: Trace) -> None:
    data = trace_file.to_bytes(trace)
    document = json.loads(data[8:])["__metadata__"][KEY]
    assert data == safetensors.serialize({}, {KEY: document})


def test_a_file_round_trip_is_exact_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    trace_file.save(linear_trace(), path)
    first = path.read_bytes()
    trace_file.save(linear_trace(), path)
    assert path.read_bytes() == first == trace_file.to_bytes(linear_trace())
    assert trace_file.load(path) == linear_trace()
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.safetensors"]
    with safetensors.safe_open(path, framework="np") as file:
        assert list(file.keys()) == []
        assert list(file.metadata()) == [KEY]


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.safetensors"
    trace_file.save(linear_trace(), path)
    before = path.read_bytes()

    def fail(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError) as error:
        trace_file.save(linear_trace(name="other"), path)
    assert str(error.value) == f"cannot write trace file '{path}': No space left on device"
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_what_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    with pytest.raises(InputError) as error:
        trace_file.save(linear_trace(name="two\nlines"), path)
    assert str(error.value) == "name must be printable text, not 'two\\nlines'"
    with pytest.raises(InputError) as error:
        trace_file.save(linear_trace(notes=["a list is no tuple"]), path)
    assert str(error.value) == "trace 'net' cannot be written: its fields are not plain data"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/net.safetensors", "No such file or directory"),
        ("", "Is a directory"),
        ("a\0b", "embedded null byte"),
    ],
)
def test_unreadable_paths(tmp_path: Path, name: str, reason: str) -> None:
    path = str(tmp_path / name)
    with pytest.raises(InputError) as error:
        trace_file.load(path)
    assert str(error.value) == f"cannot read trace file {path!r}: {reason}"
    with pytest.raises(InputError) as error:
        trace_file.save(linear_trace(), path)
    assert str(error.value) == f"cannot write trace file {path!r}: {reason}"


def set_layer(**fields: object) -> Callable[[dict[str, Any]], object]:
    return lambda document: document["layers"][0].update(fields)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a file starts with 8 bytes of length, but this one has 0 bytes"),
        (
            (2**63).to_bytes(8, "little") + b"{}",
            "the header's length must be at most 2, the bytes that follow it, not "
            "9223372036854775808",
        ),
        (
            packed(b"{"),
            "the header is not JSON: Expecting property name enclosed in double "
            "quotes: line 1 column 2 (char 1)",
        ),
        (packed(b"\xff"), "the header is not UTF-8 text"),
        (packed([]), "the header must be an object, not []"),
        (packed({}), "the header lacks the key '__metadata__'"),
        (
            packed({"__metadata__": {KEY: "{}"}, "weight": {}}),
            "unknown key in the header 'weight': (known: __metadata__)",
        ),
        (packed({"__metadata__": {}}), f"__metadata__ lacks the key '{KEY}'"),
        (
            packed({"__metadata__": {"nofm.trce": ""}}),
            f"unknown key in __metadata__ 'nofm.trce': did you mean {KEY}? (known: {KEY})",
        ),
        (packed({"__metadata__": {KEY: 3}}), f"{KEY} must be text, not 3"),
        (
            packed(b'{"__metadata__": {}, "__metadata__": {}}'),
            "the header has the key '__metadata__' twice",
        ),
        (
            trace_file.to_bytes(linear_trace()) + b"tensor",
            "version 1 holds no tensors, but 6 bytes follow the header",
        ),
        (packed(b"[" * 100_000), "the header is nested too deeply"),
        (packed(b"1" * 5000), "the header holds a number that is too long"),
        (packed(b"[NaN]"), "the header holds only whole numbers, not 'NaN'"),
        (packed(b"[1.5]"), "the header holds only whole numbers, not '1.5'"),
    ],
)
def test_malformed_containers(data: bytes, message: str) -> None:
    with pytest.raises(InputError) as error:
        trace_file.from_bytes(data)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: "[]", "the trace must be an object, not []"),
        (lambda d: d.update(version=3), "the schema version must be 1 or 2, not 3"),
        (lambda d: d.pop("version") and None, "the trace lacks the key 'version'"),
        (lambda d: d.update(name=3), "name must be text, not 3"),
        (lambda d: d.update(batch="4"), "batch must be a whole number, not '4'"),
        (lambda d: d.update(batch=True), "batch must be a whole number, not True"),
        (
            lambda d: d.update(batch=0),
            "layer 'fc': batch must be a whole number of at least 1, not 0",
        ),
        (lambda d: d.update(layers={}), "layers must be a list, not {}"),
        (lambda d: d.update(layers=[]), "trace 'net': at least one layer is needed, not none"),
        (lambda d: d.update(notes="no"), "notes must be a list, not 'no'"),
        (lambda d: d.update(notes=[1]), "notes must be text, not 1"),
        (
            lambda d: d.update(parameters=2**46 + 1),
            "parameters must be from 0 to 2^46 = 70368744177664, not 70368744177665",
        ),
        (
            lambda d: d.update(layer=[]),
            "unknown key in the trace 'layer': did you mean layers? (known: version, name, "
            "batch, source, notes, parameters, layers)",
        ),
        (lambda d: d["layers"].append(7), "layer 1 must be an object, not 7"),
        (
            set_layer(kind="conv"),
            "unknown kind in layer 0 'conv': did you mean convolution? (known: convolution, "
            "linear, matmul, vector)",
        ),
        (
            set_layer(kind=None),
            "unknown kind in layer 0 'None': (known: convolution, linear, matmul, vector)",
        ),
        (
            set_layer(row=1),
            "unknown key in layer 0 'row': did you mean rows? (known: kind, name, in_features, "
            "out_features, batch, batched, input_gradient, weight, weight_gradient, "
            "prunable, bias, input_zeros_ppm, gradient_zeros_ppm, rows)",
        ),
        (lambda d: d["layers"][0].pop("name") and None, "layer 0 lacks the key 'name'"),
        (set_layer(rows=-1), "layer 0: rows must be from 0 to 2^46 = 70368744177664, not -1"),
        (set_layer(rows=0), "layer 'fc': rows must be a whole number of at least 1, not 0"),
        (
            set_layer(rows=2**45),
            f"layer 'fc': its input has {4 * 2**45 * 3} elements, more than 2^46 = 70368744177664",
        ),
        (set_layer(bias=1), "layer 0: bias must be true or false, not 1"),
        (set_layer(name="a\x1b"), "layer 0: name must be printable text, not 'a\\x1b'"),
        (set_layer(batch=4), "layer 0: batch is given only for layers that are not batched"),
        (
            lambda d: d["layers"].append(d["layers"][0]),
            "trace 'net': layer names must be unique, but 'fc' repeats",
        ),
        (
            lambda d: json.dumps(d)[:-1] + ', "name": "x"}',
            f"{KEY} has the key 'name' twice",
        ),
    ],
)
def test_malformed_documents(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(with_document(change))
    with pytest.raises(InputError) as error:
        trace_file.load(path)
    assert str(error.value) == f"trace file '{path}': {message}"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"padding": [[1, 1]]},
            "layer 'c': padding must have 2 entries like the input size, not 1",
        ),
        ({"padding": [1, 1]}, "layer 0: padding must be a list, not 1"),
        ({"padding": [[1], [1]]}, "layer 0: padding must be lists of 2, not of 1"),
        ({"kernel": 3}, "layer 0: kernel must be a list, not 3"),
        (
            {"kernel": [9, 9]},
            "layer 'c': the output size must be positive, but a kernel of (9, 9) "
            "over an input of (5, 5) gives (-3, -3)",
        ),
        (
            {"groups": 2},
            "layer 'c': groups must divide both channel counts, but 2 does not divide 3 and 4",
        ),
        ({"work": "copy"}, None),
    ],
)
def test_malformed_convolutions(fields: dict[str, object], message: str | None) -> None:
    layer = Convolution(
        name="c",
        batch=2,
        in_channels=3,
        out_channels=4,
        size=(5, 5),
        kernel=(3, 3),
        stride=(1, 1),
        padding=((0, 0), (0, 0)),
        dilation=(1, 1),
    )
    trace = Trace(name="net", batch=2, layers=(layer,))
    document = json.loads(json.loads(trace_file.to_bytes(trace)[8:])["__metadata__"][KEY])
    document["layers"][0].update(fields)
    with pytest.raises(InputError) as error:
        trace_file.from_bytes(packed({"__metadata__": {KEY: json.dumps(document)}}))
    assert message is None or str(error.value) == message


def test_unknown_kind_of_vector_work() -> None:
    layer = VectorWork(name="v", work="copy", forward_reads=1, forward_writes=1)
    data = trace_file.to_bytes(Trace(name="net", batch=1, layers=(layer,)))
    with pytest.raises(InputError) as error:
        trace_file.from_bytes(data.replace(b'"copy', b'"coby'))
    assert str(error.value) == (
        "unknown layer 0: work 'coby': did you mean copy? (known: elementwise, normalisation, "
        "pooling, softmax, embedding, reduction, copy)"
    )


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    with path.open("wb") as file:
        file.write(trace_file.MAX_FILE_BYTES.to_bytes(8, "little"))
        file.truncate(trace_file.MAX_FILE_BYTES + 8)
    with pytest.raises(InputError) as error:
        trace_file.load(path)
    assert str(error.value) == (
        f"trace file '{path}': a file has at most 16777216 bytes, but this one has more"
    )


def one_line_or_nothing(data: bytes) -> None:
    """Reading gives a trace or one `InputError` of one line, nothing else."""
    try:
        trace = trace_file.from_bytes(data)
    except InputError as error:
        message = str(error)
    else:
        message = ""
        assert trace_file.from_bytes(trace_file.to_bytes(trace)) == trace
    assert message.isprintable()


@given(st.binary(max_size=400))
def test_random_bytes(data: bytes) -> None:
    one_line_or_nothing(data)
    one_line_or_nothing(len(data).to_bytes(8, "little") + data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["__metadata__", KEY, "layers", "name", "kind", "batch", "rows"])
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_random_json(value: object) -> None:
    one_line_or_nothing(packed(value))
    one_line_or_nothing(packed({"__metadata__": {KEY: json.dumps(value)}}))


@given(traces(), st.data())
def test_mutated_files(trace: Trace, data: st.DataObject) -> None:
    valid = bytearray(trace_file.to_bytes(trace))
    one_line_or_nothing(bytes(valid[: data.draw(st.integers(0, len(valid)))]))
    for _ in range(data.draw(st.integers(1, 3))):
        valid[data.draw(st.integers(0, len(valid) - 1))] = data.draw(st.integers(0, 255))
    one_line_or_nothing(bytes(valid))


@given(traces(), st.data())
def test_mutated_documents(trace: Trace, data: st.DataObject) -> None:
    document = json.loads(json.loads(trace_file.to_bytes(trace)[8:])["__metadata__"][KEY])
    layer = data.draw(st.sampled_from(document["layers"]))
    target = data.draw(st.sampled_from([document, layer]))
    key = data.draw(st.sampled_from(sorted(target)))
    target[key] = data.draw(JSON | st.integers(-2, 2**70) | st.lists(st.integers(0, 2**50)))
    one_line_or_nothing(packed({"__metadata__": {KEY: json.dumps(document)}}))
