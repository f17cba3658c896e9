"""The ARM kernel on an emulated processor: its bits, its memory, and what is counted of it."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nofm.kernels import measure, measure_arm, spmm
from nofm.kernels.arm import build, counted, elf, emulate, estimate, native
from nofm.kernels.arm.emulate import Emulator, Fault
from nofm.kernels.arm.spmm import LANES, VECTORS, matmul, prepare
from nofm.kernels.compressed import compress, decompress
from nofm.kernels.errors import InputError
from nofm.kernels.measure import Case
from nofm.kernels.pattern import Pattern

Array = np.ndarray[Any, Any]

PATTERNS = ["dense", "1:2", "2:4", "1:4", "1:8", "2:8", "4:8", "2:16", "3:5", "7:32", "32:32"]
SHARINGS = [1, 2, 3, 4, 8, 12, 16]
INSTANCES = re.findall(r"X\((\d), (\d)\)", build.SOURCE.read_text())


@pytest.fixture(scope="module")
def library() -> Path:
    return build.library()


def draw_values(seed: int, shape: tuple[int, ...], special: float, dtype: Any) -> Array:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape) * 2.0 ** rng.integers(-8, 8, shape)
    specials = rng.choice([np.inf, -np.inf, np.nan, 0.0, -0.0], shape)
    return np.where(rng.random(shape) < special, specials, values).astype(dtype)


def by_x86(a: Array, weights: Any) -> Array:
    """The product [m, n] by the CPU kernel, its reduction in the same blocks, all in singles."""
    rows = np.gcd(weights.sharing, max(VECTORS))
    singles = replace(weights, values=weights.values.astype(np.float32))
    prepared = spmm.prepare(singles, {min(rows, 4): VECTORS[rows]}, LANES)
    # More samples than a vector has: those take the code that other tests have compiled.
    more = np.concatenate((a, np.zeros((17, a.shape[1]), a.dtype))).astype(np.float32)
    return spmm.matmul(more, prepared)[: len(a)]


def assert_product(
    library: Path,
    seed: int,
    sizes: tuple[int, int, int, int],
    pattern: Pattern,
    sharing: int,
    dtype: Any,
    layout: str,
    special: float = 0.0,
) -> None:
    m, taps, length, n = sizes
    a = draw_values(seed, (m, taps * length), special, dtype)
    dense = draw_values(seed + 1, (taps, length, n), special, dtype)
    with np.errstate(over="ignore"):
        weights = compress(dense, pattern, sharing)
    prepared = prepare(weights)
    given_a = a if layout == "rows" else np.ascontiguousarray(a.T)
    expected = by_x86(a, weights)
    for at_end in (True, False):
        found = matmul(Emulator(library, at_end), given_a, prepared, layout=layout)
        found = found if layout == "rows" else found.T
        number = ~np.isnan(expected)
        np.testing.assert_array_equal(np.isnan(found), ~number)
        bits = (np.ascontiguousarray(one).view(np.uint32)[number] for one in (found, expected))
        np.testing.assert_array_equal(*bits)
    if not special:
        kept = decompress(weights).reshape(-1, n).astype(np.float64)
        exact, magnitude = a.astype(np.float64) @ kept, np.abs(a).astype(np.float64) @ np.abs(kept)
        bound = spmm.error_bound(prepared.roundings) * magnitude + 2.0**-140
        assert np.all(np.abs(found - exact) <= bound)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern(library: Path, pattern: str, dtype: Any) -> None:
    for nth, sharing in enumerate(SHARINGS):
        layout = ("rows", "columns")[nth % 2]
        sizes = (LANES * VECTORS[np.gcd(sharing, 8)] + 3, 2, 37, 13)
        assert_product(library, nth, sizes, Pattern.parse(pattern), sharing, dtype, layout)


@pytest.mark.parametrize("layout", ["rows", "columns"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("sharing", [1, 8])
def test_one_element(library: Path, sharing: int, dtype: Any, layout: str) -> None:
    assert_product(library, 1, (1, 1, 1, 1), Pattern(1, 1), sharing, dtype, layout)


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    m = draw(st.integers(1, 32))
    return Pattern(draw(st.integers(1, m)), m)


@settings(max_examples=50)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 70), st.integers(1, 2), st.integers(1, 60), st.integers(1, 30)),
    patterns(),
    st.sampled_from(SHARINGS),
    st.sampled_from([np.float32, np.float16]),
    st.sampled_from(["rows", "columns"]),
    st.sampled_from([0, 0, 0.02, 0.3]),
)
def test_any_product(
    seed: int,
    sizes: tuple[int, int, int, int],
    pattern: Pattern,
    sharing: int,
    dtype: Any,
    layout: str,
    special: float,
) -> None:
    library = build.library()
    assert_product(library, seed, sizes, pattern, sharing, dtype, layout, special)


def test_several_blocks_and_stretches(library: Path) -> None:
    """More inputs than a panel holds, more weights than a stretch, more samples than a part."""
    assert_product(library, 1, (3, 1, 1700, 5), Pattern(2, 8), 8, np.float16, "rows")
    assert_product(library, 2, (70, 1, 200, 90), Pattern(4, 8), 1, np.float32, "columns")
    assert_product(library, 3, (2, 1, 384, 130), Pattern(1, 1), 4, np.float32, "rows")


def test_both_directions_of_training_from_one_master(library: Path) -> None:
    rng = np.random.default_rng(1)
    master = rng.standard_normal((40, 56)).astype(np.float32)
    for dense in (master, master.T):
        weights = compress(dense[np.newaxis], Pattern(2, 8), 4)
        a = rng.standard_normal((9, len(dense))).astype(np.float32)
        found = matmul(Emulator(library), a, prepare(weights))
        np.testing.assert_array_equal(found, by_x86(a, weights))


def test_samples_of_a_part(library: Path) -> None:
    """What no one asked for is left alone: so threads share out the samples."""
    rng = np.random.default_rng(2)
    a = rng.standard_normal((21, 16)).astype(np.float32)
    weights = prepare(compress(rng.standard_normal((1, 16, 8)).astype(np.float32), Pattern(2, 4)))
    whole = matmul(Emulator(library), a, weights)
    out = np.full_like(whole, 77)
    matmul(Emulator(library), a, weights, samples=(3, 12), out=out)
    np.testing.assert_array_equal(out[3:12], whole[3:12])
    assert np.all(out[:3] == 77)
    assert np.all(out[12:] == 77)


def test_threads_share_out_the_samples(library: Path) -> None:
    """On an emulated processor, one part after the other; on a real one all at a time."""
    rng = np.random.default_rng(3)
    a = rng.standard_normal((21, 16)).astype(np.float32)
    weights = prepare(compress(rng.standard_normal((1, 16, 8)).astype(np.float32), Pattern(2, 4)))
    runner = native.Native(library) if build.native() else Emulator(library)
    expected = matmul(Emulator(library), a, weights)
    out = np.zeros_like(expected)
    for edges in native.parts(21, 4):
        matmul(runner, a, weights, samples=edges, out=out)
    np.testing.assert_array_equal(out, expected)


# A function for each thing that a kernel must not do, chosen by a number.
SABOTAGE = """
typedef long long word;
struct job { const float *read; float *written; word n, what; };
__attribute__((visibility("default"))) word run(struct job *job) {
    volatile const float *read = job->read;
    volatile float *written = job->written;
    switch (job->what) {
    case 0: written[0] = read[0] + read[job->n - 1]; break;
    case 1: written[0] = read[job->n]; break;
    case 2: written[0] = read[-1]; break;
    case 3: written[job->n] = read[0]; break;
    case 4: written[-1] = read[0]; break;
    case 5: *(volatile float *)read = 1; break;
    case 6: *(volatile word *)&job->n = 1; break;
    case 7: __builtin_trap();
    }
    return -job->n;
}
"""


@pytest.fixture(scope="module")
def saboteur(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sabotage")
    (folder / "sabotage.c").write_text(SABOTAGE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        return build.library(folder / "sabotage.c")


@pytest.mark.parametrize(
    ("what", "at_end", "text"),
    [
        (1, True, "reads 4 bytes at 28 of 'read', which has 28 bytes"),
        (2, False, "reads 4 bytes at -4 of 'read', which has 28 bytes"),
        (3, True, "writes 4 bytes at 28 of 'written', which has 28 bytes"),
        (4, False, "writes 4 bytes at -4 of 'written', which has 28 bytes"),
        (5, True, "writes 4 bytes of 'read', which it may only read"),
        (6, True, "writes 8 bytes of 'the arguments', which it may only read"),
    ],
)
def test_a_fault_is_named(saboteur: Path, what: int, at_end: bool, text: str) -> None:
    with pytest.raises(Fault) as fault:
        sabotaged(saboteur, what, at_end)
    assert str(fault.value) == f"run {text}"


def test_what_is_no_fault(saboteur: Path) -> None:
    for at_end in (True, False):
        result, written = sabotaged(saboteur, 0, at_end)
        assert (result, written.tolist()) == (-7, [6.0] + [0.0] * 6)


def test_a_native_call(tmp_path: Path) -> None:
    """Arguments and result of a function that this machine's own compiler made."""
    (tmp_path / "own.c").write_text(SABOTAGE)
    command = ["gcc", "-shared", "-fPIC", "own.c", "-o", "own.so"]
    subprocess.run(command, cwd=tmp_path, check=True)
    result, written = called(native.Native(tmp_path / "own.so"), 0)
    assert (result, written.tolist()) == (-7, [6.0] + [0.0] * 6)


def test_a_trap_is_reported(saboteur: Path) -> None:
    with pytest.raises(Fault, match=r"^run stopped: "):
        sabotaged(saboteur, 7, True)


def sabotaged(library: Path, what: int, at_end: bool) -> tuple[int, Array]:
    return called(Emulator(library, at_end), what)


def called(runner: Any, what: int) -> tuple[int, Array]:
    written = np.zeros(7, np.float32)
    fields = {"read": np.arange(7, dtype=np.float32), "written": written, "n": 7, "what": what}
    return runner.call("run", fields, ("written",)), written


def test_a_sabotaged_kernel_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real kernel, but for one more kept element than there is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    text = build.SOURCE.read_text()
    assert text.count("word left = count;") == 1
    (tmp_path / "spmm.c").write_text(text.replace("word left = count;", "word left = count + 1;"))
    library = build.library(tmp_path / "spmm.c")
    weights = prepare(compress(np.ones((1, 8, 4), np.float32), Pattern(2, 4), 4))
    with pytest.raises(Fault, match=r"^nofm_spmm reads 4 bytes at 16 of 'places', which has 16"):
        matmul(Emulator(library), np.ones((3, 8), np.float32), weights)


@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_the_device(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a real ARM machine would do, with an emulated processor in its place."""
    monkeypatch.setattr(measure_arm, "Native", Emulator)
    monkeypatch.setattr(measure_arm.Arm, "missing", lambda self: None)
    case = Case(m=12, length=16, n=8, pattern=Pattern(2, 4), sharing=4, layout=layout)
    with measure.kernels("arm")[0][0].limits(1):
        (found,) = measure.measure([case], "arm", seconds=1e-3)
    assert (found.device, found.kernel) == ("arm", "C with NEON intrinsics, 128-bit vectors")
    assert found.correct
    assert found.max_error > 0


def test_multiply_adds_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kept weight meets every sample once; a vector holds four samples."""
    monkeypatch.setattr(estimate, "tool", lambda: None)  # it takes its time
    for sharing in (1, 2, 4, 8):
        case = Case(m=96, length=64, n=24, pattern=Pattern(2, 8), sharing=sharing)
        (found,) = counted.count([case])
        assert found.fma_instructions == 96 * 16 * 24 // 4
        assert 0 <= found.max_error <= found.error_bound
        assert found.instructions_per_mac == found.instructions / (96 * 16 * 24)


@pytest.mark.parametrize("m", [2, 63, 64, 200, 256])
@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_counts_of_many_samples_are_exact(
    library: Path, m: int, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few samples are emulated; here, all of them are."""
    monkeypatch.setattr(estimate, "tool", lambda: None)
    case = Case(m=m, length=24, n=9, pattern=Pattern(2, 8), sharing=4, layout=layout)
    (found,) = counted.count([case])
    emulator = Emulator(library)
    whole = counted.operands(case, 5)
    matmul(emulator, whole.a, prepare(whole.weights), layout=layout)
    assert found.instructions == emulator.counts.total
    assert found.load_instructions == emulator.counts.kind("load")
    assert found.store_instructions == emulator.counts.kind("store")


def test_kinds_are_those_of_a_disassembler(library: Path) -> None:
    objdump = shutil.which("aarch64-linux-gnu-objdump") or shutil.which("objdump")
    done = subprocess.run([str(objdump), "-d", library], capture_output=True, text=True, check=True)
    seen: Counter[str] = Counter()
    for address, code, name in re.findall(
        r"^\s*([0-9a-f]+):\s+([0-9a-f]{8})\s+([\w.]+)", done.stdout, re.MULTILINE
    ):
        expected = "other"
        if name == "fmla":
            expected = "fma"
        elif re.match(r"ld", name):
            expected = "load"
        elif re.match(r"st", name):
            expected = "store"
        elif re.fullmatch(r"b(\.\w+)?|bl|blr?|br|ret|cbn?z|tbn?z", name):
            expected = "branch"
        assert emulate.kind_of(int(code, 16)) == expected, f"{address}: {code} {name}"
        seen[expected] += 1
    assert all(seen[kind] > 20 for kind in ("fma", "load", "store", "branch", "other"))


def test_inner_loops_hold_their_tile() -> None:
    """llvm-mca is given a tile's multiply-adds, STEP times; no sum is spilled there."""
    found = estimate.loops(build.assembly())
    step = int(re.search(r"#define STEP (\d+)", build.SOURCE.read_text())[1])  # type: ignore[index]
    assert len(found) == 2 * len(INSTANCES)
    for name, body in found.items():
        rows, vectors = map(int, re.findall(r"\d+", name)[:2])
        assert estimate.multiply_adds(body) == step * rows * vectors, name
        assert not any("[sp" in line for line in body if "\tq" in line), name


def test_widest_tiles_are_those_of_the_kernel() -> None:
    widest: dict[int, int] = {}
    for rows, vectors in INSTANCES:
        widest.setdefault(int(rows), int(vectors))
    assert widest == VECTORS


@pytest.mark.skipif(estimate.missing() is not None, reason="llvm-mca is missing")
def test_estimated_cycles_are_above_the_floor() -> None:
    """No core does more multiply-adds a cycle than it has pipes, of 64 bits in the first one."""
    for core, pipes in zip(estimate.CORES, (1, 2, 4), strict=True):
        one = estimate.cycles_of_fma("tile_4x4_float32", core)
        assert 1 / pipes <= one < 3 / pipes


def test_cycles_are_those_of_loops_and_one_for_every_other_instruction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(estimate, "CORES", ("slow", "quick"))
    monkeypatch.setattr(
        estimate, "cycles_of_fma", lambda function, core: 3.0 if core == "slow" else 0.5
    )
    loop = ["\tfmla v0.4s, v1.4s, v2.s[0]", "\tsubs x0, x0, 1", "\tb.gt .L1"]
    monkeypatch.setattr(estimate, "_loops", lambda: {"tile": loop})
    # Ten rounds of the loop, with 7 instructions around it, and 5 elsewhere.
    by = Counter({("tile", "fma"): 10, ("tile", "other"): 27, ("pack", "load"): 5})
    assert estimate.cycles(emulate.Counts(by)) == {"slow": 30 + 12, "quick": 5 + 12}


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "native", lambda: False)
    monkeypatch.setattr(build, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError) as error:
        build.library()
    assert str(error.value) == (
        "the ARM kernel needs a C compiler for AArch64: apt-get install gcc-aarch64-linux-gnu, "
        "or pip install ziglang"
    )


def test_compilers_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(build, "native", lambda: True)
    assert build.compiler()[0] == "/bin/gcc"
    monkeypatch.setattr(build, "native", lambda: False)
    monkeypatch.setattr(build, "find_spec", lambda name: None)
    assert build.compiler()[0] == "/bin/aarch64-linux-gnu-gcc"
    monkeypatch.setattr(build, "find_spec", lambda name: object())
    assert build.compiler()[1:4] == ["-m", "ziglang", "cc"]


def test_what_does_not_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "bad.c").write_text("int f(void) { return nothing; }")
    with pytest.raises(InputError, match=r"could not compile the ARM kernel: .*'nothing'"):
        build.library(tmp_path / "bad.c")
    assert list((tmp_path / "nofm/arm").iterdir()) == []


def test_without_the_emulator(monkeypatch: pytest.MonkeyPatch, library: Path) -> None:
    monkeypatch.setattr(emulate, "find_spec", lambda name: None)
    with pytest.raises(InputError) as error:
        Emulator(library)
    assert str(error.value) == "emulating ARM needs unicorn: pip install 'unicorn>=2.1,<3'"


def test_without_llvm_mca(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "tool", lambda: None)
    text = "estimating cycles needs llvm-mca 17 or newer: apt-get install llvm-19"
    assert estimate.missing() == text
    (found,) = counted.count([Case(m=2, length=8, n=4, pattern=Pattern(2, 4))])
    assert found.estimated_cycles is found.estimated_speedup is None


def test_what_is_no_library(tmp_path: Path) -> None:
    path = tmp_path / "x.so"
    path.write_bytes(b"MZ" + struct.pack("<30Q", *range(30)))
    with pytest.raises(ValueError, match="is no 64-bit little-endian ELF file"):
        elf.read(path)
