"""Topology files of SCALE-Sim: what is taken, what is warned of, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nofm.kernels.errors import InputError
from nofm.kernels.pattern import DENSE, Pattern
from nofm.workloads.layer import Convolution, Linear
from nofm.workloads.scalesim_csv import MAX_BYTES, TopologyRow, load, read

CONV = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter,"
CONV_HEADER = f"{CONV} Strides, Sparsity,\n"
GEMM_HEADER = "Layer, M, N, K,\n"

COMMA = (
    "SCALE-Sim 3.0.0 drops the last field of a line that does not end with a comma, an N:M ratio "
    "without a word; it is kept here"
)
EXTRA = "fields behind the numbers that are no N:M ratio are not used"
ROUNDS_UP = (
    "the stride leaves a rest: SCALE-Sim rounds the output size up where frameworks round it down"
)


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "net.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


CONV1 = TopologyRow(
    name="Conv1", line=2, ifmap=(224, 225), filter=(7, 5), channels=3, filters=64, stride=1
)


def test_conv_form(tmp_path: Path) -> None:
    text = CONV_HEADER + "Conv1, 224, 225, 7, 5, 3, 64, 1,\nFC, 1, 1, 1, 1, 512, 1000, 1, 2:8,\n"
    topology = read(write(tmp_path, text))
    assert topology.name == "net"
    assert topology.form == "conv"
    assert topology.warnings == ()
    first, last = topology.rows
    assert first == CONV1
    assert (first.m, first.k, first.n) == (218 * 221, 7 * 5 * 3, 64)
    assert (last.m, last.k, last.n) == (1, 512, 1000)
    assert last.pattern == Pattern(2, 8)


def test_gemm_form_orders_its_columns_m_n_k(tmp_path: Path) -> None:
    topology = read(write(tmp_path, GEMM_HEADER + "qkv,128,1536,512,\nup,4,5,6,1:4,\n"))
    assert topology.form == "gemm"
    assert topology.warnings == ()
    assert [(row.m, row.n, row.k, row.pattern) for row in topology.rows] == [
        (128, 1536, 512, DENSE),
        (4, 5, 6, Pattern(1, 4)),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + CONV_HEADER + "Conv1,224,225,7,5,3,64,1,\n",
        CONV_HEADER + "\n  \nConv1,224,225,7,5,3,64,1,",
        CONV_HEADER.replace("\n", "\r\n") + "Conv1,224,225,7,5,3,64,1,\r\n\r\n",
        CONV_HEADER.replace("\n", "\r") + "Conv1,224,225,7,5,3,64,1,\r",
        CONV_HEADER.upper() + "\t Conv1 ,\t224, 225 ,7,5,3,64,1 , \n",
        CONV_HEADER.lower() + "Conv1,224,225,7,5,3,64,1,1:1,\n",
        "whatever\nConv1,224,225,7,5,3,64,1,\n",
        CONV_HEADER + "Conv1,224,225,7,5,3,64,1,,\n",
    ],
    ids=[
        "byte-order mark",
        "blank lines",
        "CRLF",
        "CR",
        "upper case and spaces",
        "lower case",
        "any header",
        "empty extra field",
    ],
)
def test_harmless_variations_change_nothing(tmp_path: Path, text: str) -> None:
    topology = read(write(tmp_path, text))
    (row,) = topology.rows
    assert {name: getattr(row, name) for name in TopologyRow.__slots__ if name != "line"} == {
        name: getattr(CONV1, name) for name in TopologyRow.__slots__ if name != "line"
    }
    assert topology.warnings == ()


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        (CONV_HEADER + "a,8,8,3,3,4,9,1,2:4\n", [f"line 2: {COMMA}"]),
        (CONV_HEADER + "a,8,8,3,3,4,9,1\nb,8,8,3,3,4,9,1\n", [f"lines 2, 3: {COMMA}"]),
        (GEMM_HEADER + "a,8,8,3\n", [f"line 2: {COMMA}"]),
        # The last field is one that SCALE-Sim drops as well: nothing of use is lost.
        (f"{CONV} Strides,, Target\na,8,8,3,3,4,9,1, NPU\n", [f"line 2: {EXTRA}"]),
        (CONV_HEADER + "a,8,8,3,3,4,9,1,2:4,#dw\n", [f"line 2: {EXTRA}"]),
        (CONV_HEADER + "a,9,8,2,3,4,9,2,\n", [f"line 2: {ROUNDS_UP}"]),
        (
            "a,8,8,3,3,4,9,1,\n",
            ["line 1: there is no header: SCALE-Sim 3.0.0 would skip this layer"],
        ),
        ("a,8,8,3,\n", ["line 1: there is no header: SCALE-Sim 3.0.0 would skip this layer"]),
        (
            "\n" + GEMM_HEADER + "a,8,8,3,\n",
            ["line 1: SCALE-Sim 3.0.0 takes the first line for the header, and stops: it is blank"],
        ),
        (
            "Layer,M,K,N,\na,8,8,3,\n",
            ["line 1: columns are read by position, as M, N, K, although the header says m, k, n"],
        ),
        (
            GEMM_HEADER + "a,8,8,3\n" * 8,
            [f"lines 2, 3, 4, 5, 6 and 3 more: {COMMA}"],
        ),
    ],
)
def test_warnings(tmp_path: Path, text: str, warnings: list[str]) -> None:
    assert list(read(write(tmp_path, text)).warnings) == warnings


def test_a_missing_last_comma_loses_nothing(tmp_path: Path) -> None:
    (row,) = read(write(tmp_path, CONV_HEADER + "a,8,8,3,3,4,9,1,2:4")).rows
    assert row.pattern == Pattern(2, 4)
    assert row.stride == 1


NUMBER = "must be a whole number from 1 to 2147483647, not"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "net.csv: a topology needs at least one layer, not none"),
        (" \n\n", "net.csv: a topology needs at least one layer, not none"),
        (GEMM_HEADER, "net.csv: a topology needs at least one layer, not none"),
        (b"\xff\xfe\x00", "net.csv: a topology must be UTF-8 text, but byte 0 is not"),
        (CONV_HEADER + "a,8,8,3,3,4,0,1,\n", f"net.csv, line 2: num filter {NUMBER} 0"),
        (CONV_HEADER + "a,-8,8,3,3,4,1,1,\n", f"net.csv, line 2: IFMAP height {NUMBER} -8"),
        (CONV_HEADER + "a,8,8.0,3,3,4,1,1,\n", f"net.csv, line 2: IFMAP width {NUMBER} '8.0'"),
        (GEMM_HEADER + "\na,8,8,,\n", f"net.csv, line 3: K {NUMBER} ''"),
        (GEMM_HEADER + f"a,8,8,{'9' * 9999},\n", f"net.csv, line 2: K {NUMBER} {'9' * 20}"),
        (
            CONV_HEADER + "a,8,8,3,3,4,\n",
            "net.csv, line 2: a conv row is a name and 7 numbers (IFMAP height, IFMAP width, "
            "filter height, filter width, channels, num filter, strides), not 6 fields",
        ),
        (
            GEMM_HEADER + "AlphaGoZero,\n",
            "net.csv, line 2: a gemm row is a name and 3 numbers (M, N, K), not 1 fields",
        ),
        (
            "name\na,8,8\n",
            "net.csv, line 2: a row is a name and 7 numbers (a convolution) or a name and M, N, K "
            "(a GEMM), not 3 fields",
        ),
        (
            GEMM_HEADER + ",8,8,3,\n",
            "net.csv, line 2: a layer's name must be 1 to 200 printable characters, not ''",
        ),
        (
            GEMM_HEADER + "a\x1b[2J,8,8,3,\n",
            "net.csv, line 2: a layer's name must be 1 to 200 printable characters, not "
            "'a\\x1b[2J'",
        ),
        (
            CONV_HEADER + "a,8,2,3,3,4,1,1,\n",
            "net.csv, line 2: the filter's width must not pass the IFMAP's 2, but it is 3",
        ),
        (
            CONV_HEADER + "a,8,8,3,3,4,1,1,5:4,\n",
            "net.csv, line 2: pattern 5:4: N must be from 1 to M = 4, not 5",
        ),
        (
            CONV_HEADER + "a,8,8,3,3,4,9,1,NPU\n",
            "net.csv, line 2: pattern must look like 2:8 or be 'dense', not 'NPU'",
        ),
        (
            GEMM_HEADER + "a,8,8,3,2:400,\n",
            "net.csv, line 2: pattern 2:400: M must be from 1 to 256, not 400",
        ),
        (
            GEMM_HEADER + "a,8,8,3,2:x,\n",
            "net.csv, line 2: pattern must look like 2:8 or be 'dense', not '2:x'",
        ),
        (
            GEMM_HEADER + "a,2147483647,8,2147483647,\n",
            "net.csv, line 2: the IFMAP may have 2^46 = 70368744177664 elements at most, not "
            "4611686014132420609",
        ),
        (
            GEMM_HEADER + "a,8,2147483647,2147483647,\n",
            "net.csv, line 2: the filters may have 2^46 = 70368744177664 elements at most, not "
            "4611686014132420609",
        ),
        (
            GEMM_HEADER + "a,2147483647,2147483647,8,\n",
            "net.csv, line 2: the OFMAP may have 2^46 = 70368744177664 elements at most, not "
            "4611686014132420609",
        ),
        (
            CONV_HEADER + "DP,2,2,1,1,100001,1,1,\n",
            "net.csv, line 2: a topology may have 100000 layers at most, not 100001 (each channel "
            "of a 'DP' layer is one)",
        ),
        (
            b"a" * (MAX_BYTES + 1),
            f"net.csv: a topology may have {MAX_BYTES} bytes at most, not more",
        ),
    ],
)
def test_errors(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(InputError) as error:
        read(write(tmp_path, text))
    assert str(error.value) == message


def test_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "none.csv"
    with pytest.raises(InputError) as error:
        read(path)
    assert str(error.value) == f"cannot read '{path}': No such file or directory"
    with pytest.raises(InputError) as error:
        read(tmp_path)
    assert str(error.value) == f"cannot read '{tmp_path}': Is a directory"
    with pytest.raises(InputError) as error:
        read("a\0b")
    assert str(error.value) == "cannot read 'a\\x00b': embedded null byte"


def test_load_conv(tmp_path: Path) -> None:
    text = (
        CONV_HEADER
        + "Conv,9,8,2,3,3,64,2,\n"
        + "DPdw,6,6,3,3,32,2,1,\n"
        + "Conv,6,6,1,1,64,16,1,2:4,\n"
        + "Conv,1,1,1,1,16,10,1,\n"
    )
    trace = load(write(tmp_path, text))
    assert (trace.name, trace.batch, trace.source) == ("net", 1, "SCALE-Sim topology net.csv")
    plain = {"stride": (1, 1), "dilation": (1, 1), "padding": ((0, 0), (0, 0))}
    assert trace.layers == (
        Convolution(
            name="Conv",
            in_channels=3,
            out_channels=64,
            size=(9, 8),
            kernel=(2, 3),
            stride=(2, 2),
            padding=((0, 1), (0, 1)),
            dilation=(1, 1),
            input_gradient=False,
            prunable=False,
        ),
        Convolution(
            name="DPdw",
            in_channels=32,
            out_channels=64,
            size=(6, 6),
            kernel=(3, 3),
            groups=32,
            **plain,
        ),
        Convolution(
            name="Conv#2", in_channels=64, out_channels=16, size=(6, 6), kernel=(1, 1), **plain
        ),
        Convolution(
            name="Conv#3", in_channels=16, out_channels=10, size=(1, 1), kernel=(1, 1), **plain
        ),
    )
    assert trace.notes == (
        f"line 2: {ROUNDS_UP}",
        "lines 4, 5: the name was there before, so a number was put behind it",
        "line 4: the N:M ratio is no part of a trace; give it as a pattern",
        "a SCALE-Sim topology has no padding, no dilation and no batch: none is assumed",
        "only products are in a SCALE-Sim topology: no normalisation, activation or pooling",
    )


def test_load_gemm(tmp_path: Path) -> None:
    trace = load(write(tmp_path, GEMM_HEADER + "q,128,96,64,\nup,128,256,96,\n"))
    assert trace.layers == (
        Linear(
            name="q",
            rows=128,
            in_features=64,
            out_features=96,
            input_gradient=False,
            prunable=False,
        ),
        Linear(name="up", rows=128, in_features=96, out_features=256),
    )
    assert trace.notes == (
        "a SCALE-Sim GEMM does not say whether its K x N operand is a weight: it is taken as one; "
        "M may already hold a batch",
        "only products are in a SCALE-Sim topology: no normalisation, activation or pooling",
    )


@given(
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    window=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    channels=st.integers(1, 9),
    filters=st.integers(1, 9),
    stride=st.integers(1, 6),
    name=st.sampled_from(["conv", "DP"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_loaded_layer_has_the_products_of_its_row(
    tmp_path: Path,
    size: tuple[int, int],
    window: tuple[int, int],
    channels: int,
    filters: int,
    stride: int,
    name: str,
) -> None:
    window = (min(window[0], size[0]), min(window[1], size[1]))
    numbers = (*size, *window, channels, filters, stride)
    path = write(tmp_path, CONV_HEADER + ",".join([name, *map(str, numbers)]) + ",\n")
    (row,) = read(path).rows
    (layer,) = load(path).layers
    assert isinstance(layer, Convolution)
    assert layer.output_size == row.ofmap
    copies = len(row.layer_names)
    assert layer.weight_elements == row.k * row.n * copies


def test_many_equal_names_are_quick(tmp_path: Path) -> None:
    trace = load(write(tmp_path, GEMM_HEADER + "a,1,1,1,\n" * 50_000))
    assert trace.layers[-1].name == "a#50000"


cells = st.one_of(
    st.text(max_size=8),
    st.integers(-5, 2**40).map(str),
    st.tuples(st.integers(-1, 300), st.integers(-1, 300)).map(lambda pair: f"{pair[0]}:{pair[1]}"),
    st.sampled_from(["DP", "", " ", "M", "K", "N", "IFMAP", "Sparsity", "\u0661", "1e3", "\ufeff"]),
)
tables = st.lists(st.lists(cells, max_size=12).map(",".join), max_size=8).map("\n".join)


def refusal(reader: Callable[[Path], object], path: Path) -> str:
    """The text of a reader's `InputError`, or nothing where it takes the file."""
    try:
        reader(path)
    except InputError as error:
        return str(error)
    return ""


@given(
    data=st.one_of(
        st.binary(max_size=200),
        tables.map(lambda text: text.encode(errors="replace")),
        tables.map(lambda text: (CONV_HEADER + text).encode(errors="replace")),
        tables.map(lambda text: (GEMM_HEADER + text).encode(errors="replace")),
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=500)
def test_anything_else_is_one_line_of_error(tmp_path: Path, data: bytes) -> None:
    path = write(tmp_path, data)
    for reader in (read, load):
        text = refusal(reader, path)
        assert "\n" not in text
        assert len(text) < 1000
