"""`nofm verify`: a real training step on the array's RTL, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import nofm as package
from nofm import chip_training
from nofm.chip_program import MemoryTime
from nofm.dataflow.accelerator import Accelerator, load
from nofm.dataflow.methods import METHODS
from nofm.dataflow.operands import recorded_operands
from nofm.kernels.compressed import Compressed
from nofm.kernels.pattern import Pattern
from nofm.kernels.reference import matmul
from nofm.recorded import RecordedGemm, Selection, recorded_gemms
from nofm.rtl.program.training import Example
from nofm.verification import Array, Gemm, Verdict
from nofm.workloads import trace_file

Run = Callable[..., Any]
SAT = load("sat-4x4")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 5, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(5 * 4, 9),
        nn.ReLU(),
        nn.Linear(9, 3),
    )


def step(path: Path, method: str | None, pattern: str = "2:4", **settings: Any) -> Path:
    """A file with a step of the network."""
    model = (
        network() if method is None else package.sparsify(network(), method, pattern, **settings)
    )
    x = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    target = torch.tensor([0, 2, 1, 1])
    trace, tensors = package.record(model, x, lambda y: nn.functional.cross_entropy(y, target))
    trace_file.save(trace, path, tensors)
    return path


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A step of FST: all three products are sparse."""
    return step(tmp_path_factory.mktemp("step") / "fst.safetensors", "fst")


def test_a_real_step_in_rtl(nofm: Run, sparse: Path) -> None:
    """A convolution and a linear layer, all three stages, as they trained."""
    document = nofm("verify", "--trace", sparse, "--tool", "icarus", "--tiles", "1", "--json")
    document = document.document()
    assert document["schema"] == "nofm.verifications/1"
    assert document["bit_exact"]
    assert document["cycles_equal"]
    cases = document["cases"]
    kinds = {(case["recorded"]["layer"], case["recorded"]["stage"]) for case in cases}
    # The first layer has no BP.
    assert kinds == {(layer, s) for layer in "0257" for s in ("ff", "bp", "wu")} - {("0", "bp")}
    for case in cases:
        kind = case["recorded"]["layer"] in "25"
        assert case["gemm"]["pattern"] == ("2:4" if kind else "dense")
        assert case["cycles"]["rtl"] > 0
    assert {case["recorded"]["part"] for case in cases if case["gemm"]["stage"] == "bp"} == {
        *range(4)
    }
    whole = [case for case in cases if case["recorded"]["results"] == case["recorded"]["of"]]
    assert 0 < len(whole) < len(cases)
    assert document["notes"][-1].endswith(
        "products are run in part: at most 1 of their tiles of 8 x 8 results, over the whole "
        "reduction and spread evenly; --tiles runs more"
    )


def products(path: Path, **asked: Any) -> tuple[list[RecordedGemm], list[str]]:
    return recorded_gemms(path, SAT, Selection(**asked))


@pytest.mark.parametrize("method", ["fst", "bimask", "sdgp"])
def test_tiles_are_those_of_the_product(tmp_path: Path, method: str) -> None:
    """Every result of a tile has the bits that it has in the whole product."""
    path = step(tmp_path / "step.safetensors", method)
    trace, tensors = trace_file.load_step(path)
    every, _ = products(path, tiles=1000)
    assert all(gemm.results == gemm.of for gemm in every)
    whole = {(gemm.layer, gemm.stage, gemm.part): matmul(*gemm.operands()) for gemm in every}
    assert len(whole) == len(every)
    for layer in trace.weight_layers:
        for stage in ("ff", "bp", "wu"):
            trained = tensors.trained.get(layer.name)
            for part, each in enumerate(
                recorded_operands(layer, tensors.layers[layer.name], stage, trained)
            ):
                right = each.right
                assert isinstance(right, Compressed) == (not each.product.pattern.dense)
                bits = matmul(each.left, right).view(np.uint32)
                assert np.array_equal(bits, whole[layer.name, stage, part].view(np.uint32))
    for tiles in (1, 2, 3):
        found, notes = products(path, tiles=tiles)
        assert len(notes) == 1
        for gemm in found:
            group, row, column = gemm.first
            values = matmul(*gemm.operands())
            of = whole[gemm.layer, gemm.stage, gemm.part]
            part = of[group : group + gemm.count, row : row + gemm.m, column : column + gemm.n]
            assert np.array_equal(values.view(np.uint32), part.view(np.uint32))
    first = [gemm for gemm in found if (gemm.layer, gemm.stage) == ("5", "wu")]
    assert [gemm.first for gemm in first] == [(0, 0, 0), (0, 8, 0), (0, 16, 8)]
    assert [gemm.extent for gemm in first][-1] == "rows 16-19, columns 8-8"


def test_what_is_run_otherwise_than_it_trained(tmp_path: Path) -> None:
    fading = step(tmp_path / "pgf.safetensors", "pgf", coefficient=0.01)
    (gemm,), notes = products(fading, layer="5", stage="ff", tiles=9)
    assert gemm.pattern.dense
    assert notes == ["5 ff: dense, since its weight was not 2:4 in the recorded step of PGF"]
    odd = step(tmp_path / "odd.safetensors", "asp", "3:8")
    (gemm,), notes = products(odd, layer="5", stage="ff", tiles=9)
    assert gemm.pattern == Pattern(4, 8)
    assert notes == ["5 ff: 3:8 computed as 4:8, since 'sat-4x4' lacks it"]
    (own,) = recorded_operands(
        next(layer for layer in trace_file.load(odd).weight_layers if layer.name == "5"),
        trace_file.load_tensors(odd).layers["5"],
        "ff",
        trace_file.load_tensors(odd).trained["5"],
    )
    assert np.array_equal(matmul(*gemm.operands()), matmul(own.left, own.right))


def test_another_method(sparse: Path) -> None:
    """By magnitude, from the dense tensors."""
    asked = {"layer": "5", "method": METHODS["srste"], "pattern": Pattern(1, 4), "tiles": 9}
    patterns = {gemm.stage: str(gemm.pattern) for gemm in products(sparse, **asked)[0]}
    assert patterns == {"ff": "1:4", "bp": "dense", "wu": "dense"}
    weight = trace_file.load_tensors(sparse).layers["5"]["weight"]
    (gemm,), _ = products(sparse, **asked, stage="ff", dataflow="os")
    assert gemm.dataflow == "os"
    largest = np.sort(abs(weight.astype(np.float16).T.reshape(5, 4, 9)), axis=1)[:, -1:]
    assert np.array_equal(abs(gemm.right.values[0]), largest)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            (),
            "nofm verify needs --gemm MxKxN, --random NUMBER, --trace FILE or --network NAME, one "
            "of them",
        ),
        (
            ("--trace", "FILE", "--random", "3"),
            "nofm verify needs --gemm MxKxN, --random NUMBER, --trace FILE or --network NAME, one "
            "of them",
        ),
        (
            ("--random", "3", "--stage", "bp"),
            "--stage only goes with --gemm or --trace, which is not given",
        ),
        (
            ("--gemm", "4x4x4", "--layer", "fc"),
            "--layer only goes with --trace, which is not given",
        ),
        (
            ("--gemm", "4x4x4", "--method", "fst"),
            "--method only goes with --trace or --network, which is not given",
        ),
        (
            ("--trace", "FILE", "--seed", "3"),
            "--seed does not go with --trace: give one of them",
        ),
        (
            ("--trace", "FILE", "--pattern", "2:4"),
            "--pattern only goes with --method beside --trace: a trace has its own",
        ),
        (
            ("--trace", "FILE", "--method", "bdwp"),
            "--method bdwp needs --pattern N:M, which is not given",
        ),
        (
            ("--trace", "FILE", "--method", "bdwp", "--pattern", "3:8"),
            "accelerator 'sat-4x4' does not support pattern 3:8 (it has: 1:2, 1:4, 2:4, 1:8, 2:8, "
            "4:8, 1:16, 2:16, 4:16)",
        ),
        (
            ("--trace", "FILE", "--layer", "9"),
            "unknown layer with tensors '9': (known: 0, 2, 5, 7)",
        ),
        (
            ("--trace", "FILE", "--stage", "up"),
            "unknown stage 'up': did you mean wu or bp? (known: ff, bp, wu)",
        ),
        (
            ("--trace", "FILE", "--tiles", "0"),
            "--tiles must be a whole number from 1 to 100000, not 0",
        ),
        (
            ("--trace", "FILE", "--layer", "0", "--stage", "bp"),
            "layer '0' has no product in stage bp: nothing needs it",
        ),
        (
            ("--trace", "FILE", "--steps", "3"),
            "--steps only goes with --network, which is not given",
        ),
        (
            ("--random", "3", "-o", "here"),
            "--output only goes with --network, which is not given",
        ),
        (
            ("--network", "mlp", "--dataflow", "ws"),
            "--dataflow does not go with --network: give one of them",
        ),
        (
            ("--network", "cnm"),
            "unknown network 'cnm': did you mean cnn? (known: tiny, mlp, cnn, strided)",
        ),
        (
            ("--network", "mlp", "--method", "fst"),
            "unknown method of a training step in RTL 'fst': did you mean srste? (known: dense, "
            "srste, bdwp)",
        ),
        (
            ("--network", "mlp", "--steps", "0"),
            "steps must be a whole number from 1 to 100, not 0",
        ),
        (
            ("--network", "mlp", "--hardware", "sat-32x32"),
            "dram.bandwidth_gbps of a chip must be at most 12.8 at 200 MHz, which a bus of 512 "
            "bits carries, not 25.6",
        ),
        (
            ("--trace", "none.safetensors"),
            "cannot read trace file 'none.safetensors': No such file or directory",
        ),
    ],
)
def test_bad_input(nofm: Run, sparse: Path, arguments: tuple[str, ...], line: str) -> None:
    given = [str(sparse) if each == "FILE" else each for each in arguments]
    assert nofm("verify", *given).refusal() == line


def test_a_trace_without_tensors(nofm: Run, sparse: Path, tmp_path: Path) -> None:
    path = tmp_path / "shapes.safetensors"
    trace_file.save(trace_file.load(sparse), path)
    assert nofm("verify", "--trace", path).refusal() == (
        f"trace file '{path}' carries no tensors: nofm train --record and nofm.record write such "
        "as do"
    )


def test_a_difference_is_told(nofm: Run, sparse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def differs(_: Array, gemms: Sequence[Gemm], progress: object) -> list[Verdict]:
        told = ("results[0][1] is 1, not 2",)
        return [Verdict(gemm, False, 90, 91, True, "icarus 11", told) for gemm in gemms]

    monkeypatch.setattr(Array, "verify", differs)
    ran = nofm("verify", "--trace", sparse, "--layer", "7", "--stage", "ff")
    assert ran.code == 1
    assert "0 of 1 equal in every bit and cycle." in ran.out
    assert "7 ff, whole: 4x9x3 dense os: results[0][1] is 1, not 2" in ran.out


def test_a_training_run_is_told(nofm: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Losses of the RTL, the golden model and torch; bits; cycles of RTL and simulator; a picture;
    and a difference is exit code 1."""
    monkeypatch.setenv("COLUMNS", "120")

    def trained(
        machine: Accelerator, example: Example, steps: int, **_: object
    ) -> chip_training.TrainingVerdict:
        memory = MemoryTime.of(machine)
        simulated = chip_training.simulator_cycles(example.step(machine), memory)
        found = [
            chip_training.StepVerdict(
                number=number,
                loss=1.5 / number,
                golden_loss=1.25 / number,
                torch_loss=1.75 / number,
                bit_exact=number == 1,
                differing=7 * (number - 1),
                forward_cycles=1234,
                backward_cycles=5678,
                counters={},
            )
            for number in range(1, steps + 1)
        ]
        return chip_training.TrainingVerdict(example, tuple(found), "verilator 5", simulated)

    monkeypatch.setattr(chip_training, "verify_training", trained)
    given = ("verify", "--network", "tiny", "--steps", "2")
    ran = nofm(*given, "-o", tmp_path)
    assert ran.code == 1
    assert (tmp_path / "tiny-bdwp.png").stat().st_size > 10_000
    document = json.loads(nofm(*given, "--json").out)
    assert not document["equal"]
    cycles = document["simulator_cycles"]
    assert 0 < cycles["forward"] < cycles["backward"]
    first, second = (
        line.split() for line in ran.out.splitlines() if line.strip()[:2] in ("1 ", "2 ")
    )
    told = ["1,234", f"{cycles['forward']:,}", "5,678", f"{cycles['backward']:,}"]
    assert first == ["1", "1.50", "1.25", "1.75", "equal", *told]
    assert second == ["2", "0.75", "0.62", "0.88", "7", "DIFFER", *told]
