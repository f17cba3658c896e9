"""Bad input: one line that says what, the rule and the value; exit code 2; nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nofm as package
from nofm.dataflow.accelerator import load, presets
from nofm.dataflow.methods import METHODS
from nofm.kernels.errors import InputError
from nofm.simulator.report import figures
from nofm.workloads.layer import Linear
from nofm.workloads.networks import NETWORKS
from nofm.workloads.trace import Trace
from nofm.workloads.trace_file import save, to_bytes

Run = Callable[..., Any]
KNOWN = {
    "network": ", ".join(NETWORKS),
    "method": ", ".join(METHODS),
    "preset": ", ".join(presets()),
}
PATTERNS = "1:2, 1:4, 2:4, 1:8, 2:8, 4:8, 1:16, 2:16, 4:16"
KIB = ("buffers.activation_kib", "buffers.weight_kib", "buffers.output_kib")
TINY = [*(f"--set={name}=1" for name in KIB), "--set=array.columns=4096"]

REFUSED = [
    (
        "simulate resnet19",
        "unknown network 'resnet19': did you mean resnet9 or resnet18 or resnet50? "
        f"(known: {KNOWN['network']})",
    ),
    ("simulate zzz", f"unknown network 'zzz': (known: {KNOWN['network']})"),
    (
        "simulate resnet9 --method bdw",
        f"unknown method 'bdw': did you mean bdwp or sdwp? (known: {KNOWN['method']})",
    ),
    (
        "simulate resnet9 --hardware sat-32",
        "unknown hardware preset 'sat-32': did you mean sat-32x32 or sat-4x4? "
        f"(known: {KNOWN['preset']})",
    ),
    ("simulate resnet9 --hardware none.toml", "cannot read none.toml: No such file or directory"),
    ("simulate resnet9 --pattern 8:2", "pattern 8:2: N must be from 1 to M = 2, not 8"),
    ("simulate resnet9 --pattern 0:4", "pattern 0:4: N must be from 1 to M = 4, not 0"),
    ("simulate resnet9 --pattern=-1:4", "pattern -1:4: N must be from 1 to M = 4, not -1"),
    ("simulate resnet9 --pattern 2:999", "pattern 2:999: M must be from 1 to 256, not 999"),
    (
        "simulate resnet9 --pattern half",
        "pattern must look like 2:8 or be 'dense', not 'half'",
    ),
    (
        "simulate resnet9 --pattern 3:7",
        f"accelerator 'sat-32x32' does not support pattern 3:7 (it has: {PATTERNS})",
    ),
    (
        "simulate resnet9 --hardware dense-32x32",
        "accelerator 'dense-32x32' does not support pattern 2:8 (it has: dense products only)",
    ),
    (
        "simulate resnet9 --batch 0",
        "batch must be a whole number from 1 to 2147483647, not 0",
    ),
    (
        "simulate resnet9 --batch=-3",
        "batch must be a whole number from 1 to 2147483647, not -3",
    ),
    (
        "simulate resnet9 --batch 99999999999",
        "batch must be a whole number from 1 to 2147483647, not 99999999999",
    ),
    (
        "simulate resnet9 --batch 2000000000",
        "layer 'prepare.0': its output has 131072000000000 elements, more than 2^46 = "
        "70368744177664",
    ),
    (
        "simulate --gemm 0x1x1",
        "gemm: M must be a whole number from 1 to 1099511627776, not 0",
    ),
    (
        "simulate --gemm 1x-2x1",
        "gemm: K must be a whole number from 1 to 1099511627776, not -2",
    ),
    (
        "simulate --gemm 1x1x1099511627777",
        "gemm: N must be a whole number from 1 to 1099511627776, not 1099511627777",
    ),
    ("simulate --gemm 4x4", "a gemm must look like 4096x1152x256 (M x K x N), not '4x4'"),
    ("simulate --gemm 4xx4", "a gemm must look like 4096x1152x256 (M x K x N), not '4xx4'"),
    (
        "simulate --gemm 1099511627776x1099511627776x1",
        "layer 'gemm': its input has 1208925819614629174706176 elements, "
        "more than 2^46 = 70368744177664",
    ),
    (
        "simulate --gemm 2097152x2097152x2097152",
        "a product has at most 2^60 multiply-accumulates, but 1 x 2097152 x 2097152 x 2097152 is "
        "9223372036854775808",
    ),
    (
        "simulate --gemm 9x9x9 --stage update",
        "unknown stage 'update': (known: ff, bp, wu)",
    ),
    (
        "simulate resnet9 --gemm 1x1x1",
        "a workload does not go with --gemm: give one of them",
    ),
    ("simulate", "a workload or a gemm is needed, not neither"),
    (
        "simulate resnet9 --dataflow is",
        "unknown dataflow 'is': did you mean ws or os? (known: ws, os)",
    ),
    (
        "simulate resnet9 --schedule best",
        "unknown schedule 'best': (known: offline, fixed, ws, os)",
    ),
    ("simulate resnet9 --set rows", "--set must look like array.rows=16, not 'rows'"),
    (
        "simulate resnet9 --set array.rows=0",
        "accelerator 'sat-32x32': array.rows: input should be greater than or equal to 1, not 0",
    ),
    (
        "simulate resnet9 --set dram.bandwidth_gbps=1e-9",
        "accelerator 'sat-32x32': DRAM must move from 2^-15 to 2^15 bytes a cycle, not 5e-09",
    ),
    (
        f"simulate --gemm 9x99x9999 --pattern dense {' '.join(TINY)}",
        "layer 'gemm', ff: the buffers of accelerator 'sat-32x32' cannot hold one tile of "
        "9 x 99 x 9999 (activation 1 KiB, weight 1 KiB, output 1 KiB)",
    ),
    ("simulate none.csv", "cannot read 'none.csv': No such file or directory"),
    ("simulate none.onnx", "cannot read 'none.onnx': No such file or directory"),
    (
        "simulate none.safetensors",
        "cannot read trace file 'none.safetensors': No such file or directory",
    ),
    (
        "simulate torch.nn:Linear",
        "torch.nn:Linear is a torch model: capture it first with nofm trace torch.nn:Linear "
        "--input SHAPE -o model.safetensors",
    ),
    ("simulate --peer scalesim", "--peer needs a SCALE-Sim topology CSV, not nothing"),
    ("simulate x.csv --peer gem5", "unknown peer 'gem5': (known: scalesim)"),
    ("trace resnet9 -o x.txt", "a trace file's name ends in .safetensors, not 'x.txt'"),
    (
        "trace torch.nn:Linear",
        "torch.nn:Linear needs its inputs' shapes, as --input 512x3x224x224",
    ),
    (
        "trace resnet9 --input 1x3x32x32",
        "--input goes with package.module:factory; a network has its own shapes",
    ),
    (
        "trace absent_package:f --input 1x3",
        "cannot import 'absent_package': ModuleNotFoundError: No module named 'absent_package'",
    ),
    ("nonsense", "No such command 'nonsense'."),
    ("simulate --nonsense", "No such option: --nonsense"),
    ("methods extra", "Got unexpected extra argument(s) (extra)"),
]


@pytest.mark.parametrize(("line", "reason"), REFUSED, ids=[line for line, _ in REFUSED])
def test_one_line(
    nofm: Run, line: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert nofm(*line.split()).refusal() == reason
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", ["simulate resnet9 --batch ten", "simulate resnet9 --gemm"])
def test_words_that_the_parser_refuses(nofm: Run, line: str) -> None:
    assert line.split()[2] in nofm(*line.split()).refusal()


@pytest.mark.parametrize("value", ["[" * 5000, "9" * 5000, "0x" + "f" * 5000, '"', "\n", "a\nb"])
def test_settings_are_only_values(nofm: Run, value: str) -> None:
    refusal = nofm("simulate", "resnet9", "--set", f"array.rows={value}").refusal()
    assert refusal.startswith("accelerator 'sat-32x32': array.rows: input should be ")
    assert len(refusal) < 300


def malformed(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"rows = ", b"a = " + b"[" * 9999, b"name = 3", b"x" * (1 << 21)]
)
def test_malformed_toml(nofm: Run, tmp_path: Path, content: bytes) -> None:
    path = malformed(tmp_path, "mine.toml", content)
    refusal = nofm("simulate", "--gemm", "8x8x8", "--hardware", path).refusal()
    assert refusal.startswith(str(path))


TRACE = Trace(
    name="mine",
    batch=4,
    layers=(Linear(name="fc", batch=4, in_features=64, out_features=48),),
)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 8,
        b"\xff" * 64,
        to_bytes(TRACE)[:-5],
        to_bytes(TRACE).replace(b"linear", b"lunear"),
        to_bytes(TRACE).replace(b"48", b"-8"),
        b"PK\x03\x04" + b"\x00" * 90,
        b"\x80\x04\x95" + b"\x00" * 90,  # how a pickle begins
    ],
    ids=["empty", "zeros", "ones", "cut", "kind", "size", "zip", "pickle"],
)
def test_malformed_traces(nofm: Run, tmp_path: Path, content: bytes) -> None:
    path = malformed(tmp_path, "mine.safetensors", content)
    assert str(path) in nofm("simulate", path).refusal()


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"\x00" * 99, b"\x08\x07" + b"\xff" * 40, b"not a model at all"],
)
def test_malformed_onnx(nofm: Run, tmp_path: Path, content: bytes) -> None:
    path = malformed(tmp_path, "mine.onnx", content)
    assert path.name in nofm("simulate", path).refusal()


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"Layer,\n", b"a,b,c\n1,2\n", b"Layer, M, N, K,\nx, 0, 1, 1,\n"],
)
def test_malformed_csv(nofm: Run, tmp_path: Path, content: bytes) -> None:
    path = malformed(tmp_path, "mine.csv", content)
    for arguments in ((), ("--peer", "scalesim")):
        assert path.name in nofm("simulate", path, *arguments).refusal()


def test_where_nothing_can_be_written(nofm: Run, tmp_path: Path) -> None:
    """A file in the way, above the folder or in its place."""
    file = malformed(tmp_path, "file", b"mine")
    shape = ("simulate", "--gemm", "64x64x64", "-o")
    for folder in (file, file / "below"):
        assert nofm(*shape, folder).refusal() == (
            f"cannot write to {folder}: {file} is not a folder"
        )
    path = tmp_path / "mine.safetensors"
    save(TRACE, path)
    for out in (file / "x.safetensors", tmp_path / "absent" / "x.safetensors"):
        assert str(out) in nofm("trace", path, "-o", out).refusal()
    assert file.read_bytes() == b"mine"
    assert sorted(tmp_path.iterdir()) == [file, path]


def test_nothing_half_written(nofm: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up while the report is made: old files stay, new ones do not appear."""
    folder = tmp_path / "out"
    folder.mkdir()
    old = malformed(folder, "layers.csv", b"old")

    def full(*_: object) -> bytes:
        raise OSError(28, "No space left on device", str(folder / "x"))

    monkeypatch.setattr(figures, "render", full)
    refusal = nofm("simulate", "--gemm", "64x64x64", "-o", folder).refusal()
    assert refusal == f"cannot use {folder / 'x'}: No space left on device"
    assert list(folder.iterdir()) == [old]
    assert old.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [folder]


def test_bad_input_writes_nothing(nofm: Run, tmp_path: Path) -> None:
    for arguments in (("resnet9", "--pattern", "3:7"), ("resnet19",), ("--gemm", "0x0x0")):
        nofm("simulate", *arguments, "-o", tmp_path / "out").refusal()
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"gemm": (4.5, 1, 1)}, "a gemm must look like 4096x1152x256 (M x K x N), not (4.5, 1, 1)"),
        ({"gemm": (1, 1)}, "a gemm must look like 4096x1152x256 (M x K x N), not (1, 1)"),
        ({"gemm": 7}, "a gemm must look like 4096x1152x256 (M x K x N), not 7"),
        ({"gemm": (0, 1, 1)}, "gemm: M must be a whole number from 1 to 1099511627776, not 0"),
        (
            {"workload": "resnet9", "batch": 2.0},
            "batch must be a whole number from 1 to 2147483647, not 2.0",
        ),
        (
            {"workload": "resnet9", "batch": True},
            "batch must be a whole number from 1 to 2147483647, not True",
        ),
        (
            {"workload": "resnet9", "pattern": "2:3"},
            f"accelerator 'sat-32x32' does not support pattern 2:3 (it has: {PATTERNS})",
        ),
        ({}, "a workload or a gemm is needed, not neither"),
    ],
)
def test_from_python(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError) as caught:
        package.simulate(**values)
    assert str(caught.value) == reason


WORDS = st.sampled_from(
    [
        *("simulate", "methods", "trace", "hardware", "resnet9", "resnet", "x.csv", "", "-", "--"),
        *("--gemm", "8x8x8", "64X9x1", "0x0x0", "--stage", "ff", "wu", "--json", "--all"),
        *("--pattern", "2:8", "dense", "9:8", "--method", "bdwp", "sdgp", "--dataflow", "ws"),
        *("--batch", "1", "0", "1e3", "--set", "array.rows=3", "array.rows=", "=", "clock_mhz=nan"),
        *("--no-interleave", "--schedule", "os", "--hardware", "sat-4x4", "--peer", "scalesim"),
        *("--array", "8x8", "é\n", "%s", "{0}", "[red]", "--input", "1x3"),
    ]
)


@settings(max_examples=150)
@given(first=st.sampled_from([["simulate"], ["simulate", "--gemm", "8x8x8"], []]), data=st.data())
def test_any_words_are_run_or_refused(nofm: Run, first: list[str], data: st.DataObject) -> None:
    ran = nofm(*first, *data.draw(st.lists(WORDS | st.text(max_size=4), max_size=5)))
    assert ran.code in (0, 2)
    if ran.code == 2 and ran.err:
        ran.refusal()
    elif "--json" in ran.out.split():
        json.loads(ran.out)


def test_markup_in_names_is_inert(nofm: Run, tmp_path: Path) -> None:
    """A name is text, also where it looks like markup."""
    trace = Trace(name="[red]net[/red]", batch=4, layers=TRACE.layers)
    path = tmp_path / "mine.safetensors"
    save(trace, path)
    assert "[red]net[/red]" in nofm("simulate", path).out
    machine = load("sat-4x4").with_values(name="[/]")
    hardware = malformed(tmp_path, "odd.toml", machine.to_toml().encode())
    assert nofm("simulate", path, "--hardware", hardware).code == 0
