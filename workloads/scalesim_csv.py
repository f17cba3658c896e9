"""SCALE-Sim topology files: the convolution form and the GEMM form.

SCALE-Sim 3.0.0 reads its CSV by position. It skips the first line, drops what follows the last
comma of every other line, and stops with a traceback at what it does not expect. This reader takes
the same files, keeps what SCALE-Sim would lose, and says so in `Topology.warnings`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nofm.kernels.errors import InputError, positive
from nofm.kernels.pattern import DENSE, Pattern
from nofm.workloads.bounded_file import read_bytes
from nofm.workloads.layer import MAX_ELEMENTS, Convolution, Layer, Linear
from nofm.workloads.trace import Trace

Form = Literal["conv", "gemm"]
COLUMNS: dict[Form, tuple[str, ...]] = {
    "conv": (
        "IFMAP height",
        "IFMAP width",
        "filter height",
        "filter width",
        "channels",
        "num filter",
        "strides",
    ),
    "gemm": ("M", "N", "K"),
}
"""The numbers of a row after its name; an N:M ratio may follow them."""

MAX_BYTES = 2**24
"""Largest file that is read."""
MAX_LAYERS = 100_000
"""Most layers of a topology, each channel of a depthwise row counted."""
MAX_NAME = 200
"""Most characters of a layer's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyRow:
    """One row of a topology file, as SCALE-Sim understands it.

    A GEMM row is the convolution of an M x K input with N filters of 1 x K. A depthwise row (a
    convolution with "DP" in its name) stands for one single-channel layer a channel.

    Attributes:
        name: the layer's name; SCALE-Sim does not ask that it be unique.
        line: where it stands in the file, from 1.
        ifmap, filter: height and width, in elements; there is no padding.
        stride: in elements, the same along both.
        pattern: the N:M ratio of the layer, along the reduction dimension.
    """

    name: str
    line: int
    ifmap: tuple[int, int]
    filter: tuple[int, int]
    channels: int
    filters: int
    stride: int
    pattern: Pattern = DENSE
    depthwise: bool = False

    @property
    def ofmap(self) -> tuple[int, int]:
        """Output height and width, rounded up where the stride leaves a rest."""
        height, width = (
            -(-(size - window) // self.stride) + 1
            for size, window in zip(self.ifmap, self.filter, strict=True)
        )
        return height, width

    @property
    def rounds_up(self) -> bool:
        """Whether the last window reaches past the input, where frameworks would leave it out."""
        return any(
            (size - window) % self.stride
            for size, window in zip(self.ifmap, self.filter, strict=True)
        )

    @property
    def m(self) -> int:
        """Rows of the product: output positions."""
        return math.prod(self.ofmap)

    @property
    def k(self) -> int:
        """The reduction dimension, before pruning."""
        return math.prod(self.filter) * (1 if self.depthwise else self.channels)

    @property
    def n(self) -> int:
        """Columns of the product: filters."""
        return self.filters

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The names of the layers it stands for, in SCALE-Sim's order."""
        if self.depthwise:
            return tuple(f"{self.name}Channel_{channel}" for channel in range(self.channels))
        return (self.name,)


@dataclass(frozen=True, slots=True)
class Topology:
    """A topology file.

    Attributes:
        name: the file's name without its ending.
        form: "conv" or "gemm".
        rows: in file order.
        warnings: what SCALE-Sim 3.0.0 would lose or refuse and what is not used, one line each.
    """

    name: str
    form: Form
    rows: tuple[TopologyRow, ...]
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Oddities:
    """What is odd about a file, by kind; each kind becomes one warning."""

    lines: dict[str, list[int]] = field(default_factory=dict)

    def note(self, text: str, line: int) -> None:
        self.lines.setdefault(text, []).append(line)

    def warnings(self) -> tuple[str, ...]:
        return tuple(f"{_lines(lines)}: {text}" for text, lines in self.lines.items())


def _lines(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:5])
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"line{'s' if len(numbers) > 1 else ''} {shown}{more}"


def read(path: str | Path) -> Topology:
    """Read a topology file.

    Byte-order mark, blank lines, spaces, any line ending, a missing last comma, a missing header
    and a header in any case are all taken.

    Raises:
        InputError: the file cannot be read, is not text, or a row is malformed; the text has the
            file, the line, the rule and the value.
    """
    path = Path(path)
    lines = [
        (number, line)
        for number, text in enumerate(re.split(r"\r\n|\r|\n", _text(path)), start=1)
        if (line := text.strip())
    ]
    odd = _Oddities()
    if lines and lines[0][0] > 1:
        odd.note("SCALE-Sim 3.0.0 takes the first line for the header, and stops: it is blank", 1)
    header: list[str] = []
    header_line = 0
    if lines and _is_header(cells := _cells(lines[0][1])):
        header = [cell.lower() for cell in cells]
        header_line = lines.pop(0)[0]
    elif lines:
        odd.note("there is no header: SCALE-Sim 3.0.0 would skip this layer", lines[0][0])
    if not lines:
        raise InputError(f"{path.name}: a topology needs at least one layer, not none")
    form = _form(path.name, header, lines[0])
    if form == "gemm" and header[1:4] not in ([], ["m", "n", "k"]):
        order = ", ".join(header[1:4])
        odd.note(
            f"columns are read by position, as M, N, K, although the header says {order}",
            header_line,
        )
    rows = []
    layers = 0
    for number, line in lines:
        row = _row(f"{path.name}, line {number}", number, line, form, header, odd)
        layers += row.channels if row.depthwise else 1
        if layers > MAX_LAYERS:
            raise InputError(
                f"{path.name}, line {number}: a topology may have {MAX_LAYERS} layers at most, "
                f"not {layers} (each channel of a 'DP' layer is one)"
            )
        rows.append(row)
    return Topology(path.stem, form, tuple(rows), odd.warnings())


def _text(path: Path) -> str:
    data = read_bytes(path, "a topology", MAX_BYTES)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path.name}: a topology must be UTF-8 text, but byte {error.start} is not"
        ) from error


def _cells(line: str) -> list[str]:
    """The fields of a line; the nothing that follows a last comma is none."""
    cells = [cell.strip() for cell in line.split(",")]
    return cells[:-1] if len(cells) > 1 and not cells[-1] else cells


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+", text, re.ASCII) is not None


def _is_header(cells: list[str]) -> bool:
    return not any(_is_number(cell) for cell in cells[1:])


def _form(file: str, header: list[str], first: tuple[int, str]) -> Form:
    if {"m", "n", "k"} <= set(header):
        return "gemm"
    if any("ifmap" in cell or "filter" in cell for cell in header):
        return "conv"
    number, line = first
    fields = len(_cells(line))
    if fields > len(COLUMNS["conv"]):
        return "conv"
    if len(COLUMNS["gemm"]) < fields <= len(COLUMNS["gemm"]) + 2:
        return "gemm"
    raise InputError(
        f"{file}, line {number}: a row is a name and 7 numbers (a convolution) or a name and M, N, "
        f"K (a GEMM), not {fields} fields"
    )


def _row(
    where: str, number: int, line: str, form: Form, header: list[str], odd: _Oddities
) -> TopologyRow:
    columns = COLUMNS[form]
    cells = _cells(line)
    name, *rest = cells
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise InputError(
            f"{where}: a layer's name must be 1 to {MAX_NAME} printable characters, not "
            f"{name[:MAX_NAME]!r}"
        )
    if len(rest) < len(columns):
        raise InputError(
            f"{where}: a {form} row is a name and {len(columns)} numbers ({', '.join(columns)}), "
            f"not {len(cells)} fields"
        )
    values = [
        positive(f"{where}: {column}", int(text[:20]) if _is_number(text[:20]) else text[:20])
        for column, text in zip(columns, rest, strict=False)
    ]
    pattern, extra = _pattern(where, rest[len(columns) :], header[1 + len(columns) :])
    if any(extra):
        odd.note("fields behind the numbers that are no N:M ratio are not used", number)
    elif not line.endswith(","):
        odd.note(
            "SCALE-Sim 3.0.0 drops the last field of a line that does not end with a comma, "
            "an N:M ratio without a word; it is kept here",
            number,
        )
    if form == "gemm":
        m, n, k = values
        values = [m, k, 1, k, 1, n, 1]
    height, width, filter_height, filter_width, channels, filters, stride = values
    row = TopologyRow(
        name=name,
        line=number,
        ifmap=(height, width),
        filter=(filter_height, filter_width),
        channels=channels,
        filters=filters,
        stride=stride,
        pattern=pattern,
        depthwise=form == "conv" and "DP" in name,
    )
    _check(where, row)
    if row.rounds_up:
        odd.note(
            "the stride leaves a rest: SCALE-Sim rounds the output size up where frameworks "
            "round it down",
            number,
        )
    return row


def _pattern(where: str, cells: list[str], header: list[str]) -> tuple[Pattern, list[str]]:
    """The N:M ratio among the fields behind the numbers, and the fields that are not used."""
    text = cells[0].replace(" ", "") if cells else ""
    named = bool(header) and "spars" in header[0]
    if ":" not in text and not (named and text):
        return DENSE, cells
    try:
        return Pattern.parse(text[:40]), cells[1:]
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _check(where: str, row: TopologyRow) -> None:
    for side, size, window in zip(("height", "width"), row.ifmap, row.filter, strict=True):
        if window > size:
            raise InputError(
                f"{where}: the filter's {side} must not pass the IFMAP's {size}, but it is {window}"
            )
    copies = row.channels if row.depthwise else 1
    for what, elements in (
        ("IFMAP", math.prod(row.ifmap) * row.channels),
        ("filters", row.k * row.n * copies),
        ("OFMAP", row.m * row.n * copies),
    ):
        if elements > MAX_ELEMENTS:
            raise InputError(
                f"{where}: the {what} may have 2^46 = {MAX_ELEMENTS} elements at most, "
                f"not {elements}"
            )


def load(path: str | Path) -> Trace:
    """Read a topology file as a trace of batch 1.

    Convolutions get no padding, except behind the last row and column where SCALE-Sim rounds the
    output size up, so that the products are those that SCALE-Sim counts. GEMM rows become linear
    layers with M rows a sample. The first layer needs no input gradient and stays dense.

    Raises:
        InputError: as `read`.
    """
    topology = read(path)
    layers = to_layers(topology)
    return Trace(
        name=topology.name,
        batch=1,
        layers=layers,
        source=f"SCALE-Sim topology {Path(path).name}",
        notes=(*topology.warnings, *_notes(topology, layers)),
    )


def to_layers(topology: Topology) -> tuple[Layer, ...]:
    """The layers of a topology, one for each row, as `load` describes them."""
    build = _linear if topology.form == "gemm" else _convolution
    names = _unique(row.name for row in topology.rows)
    return tuple(
        build(row, name, first=index == 0)
        for index, (row, name) in enumerate(zip(topology.rows, names, strict=True))
    )


def _convolution(row: TopologyRow, name: str, *, first: bool) -> Layer:
    return Convolution(
        name=name,
        in_channels=row.channels,
        out_channels=row.filters * (row.channels if row.depthwise else 1),
        size=row.ifmap,
        kernel=row.filter,
        stride=(row.stride, row.stride),
        padding=tuple(
            (0, (outputs - 1) * row.stride + window - size)
            for outputs, window, size in zip(row.ofmap, row.filter, row.ifmap, strict=True)
        ),
        dilation=(1, 1),
        groups=row.channels if row.depthwise else 1,
        input_gradient=not first,
        prunable=not first,
    )


def _linear(row: TopologyRow, name: str, *, first: bool) -> Layer:
    return Linear(
        name=name,
        rows=row.m,
        in_features=row.k,
        out_features=row.n,
        input_gradient=not first,
        prunable=not first,
    )


def _unique(names: Iterable[str]) -> Iterator[str]:
    """The names, with "#2", "#3" ... behind those that were there before."""
    seen: set[str] = set()
    counts: Counter[str] = Counter()
    for name in names:
        candidate = name
        while candidate in seen:
            counts[name] += 1
            candidate = f"{name}#{counts[name] + 1}"
        seen.add(candidate)
        yield candidate


def _notes(topology: Topology, layers: tuple[Layer, ...]) -> Iterator[str]:
    renamed = [
        row.line for row, layer in zip(topology.rows, layers, strict=True) if row.name != layer.name
    ]
    if renamed:
        yield f"{_lines(renamed)}: the name was there before, so a number was put behind it"
    pruned = [row.line for row in topology.rows if not row.pattern.dense]
    if pruned:
        yield f"{_lines(pruned)}: the N:M ratio is no part of a trace; give it as a pattern"
    if topology.form == "conv":
        yield "a SCALE-Sim topology has no padding, no dilation and no batch: none is assumed"
    else:
        yield (
            "a SCALE-Sim GEMM does not say whether its K x N operand is a weight: it is taken as "
            "one; M may already hold a batch"
        )
    yield "only products are in a SCALE-Sim topology: no normalisation, activation or pooling"
