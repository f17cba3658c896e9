"""`nofm train` and `nofm codesign`: what they print, write, count and refuse."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import torch

from nofm import training
from nofm.codesign import FIELDS, dominates
from nofm.dataflow.accelerator import load
from nofm.dataflow.methods import METHODS
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.simulator.step import simulate_step
from nofm.training import _trace
from nofm.workloads import trace_file
from nofm.workloads.training import datasets
from nofm.workloads.training.datasets import DATASETS, Data
from nofm.workloads.training.models import MODELS
from nofm.workloads.training.run import Recipe

Run = Callable[..., Any]
ROOT = Path(__file__).parents[2]
QUICK = ("--network", "mlp", "--epochs", "2", "--batch", "32")


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """96 random signals of 16 points in 4 classes."""
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(128, 1, 16, generator=random), torch.randint(4, (128,), generator=random)
    data = Data(x[:96], y[:96], x[96:], y[96:], 4)
    monkeypatch.setattr(datasets, "load", lambda name: data)


def documented(section: str) -> list[str]:
    """The fields in the first column of the section's tables in docs/json.md."""
    text = (ROOT / "docs/json.md").read_text(encoding="utf-8")
    part = text.split(f"`{section}`\n", 1)[1].split("\n## ", 1)[0]
    cells = re.findall(r"^\| (`[^|]*`) \|", part, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


def train_document(nofm: Run, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = nofm("train", "mnist1d", *QUICK, *arguments, "--json").document()
    return found


def test_train(nofm: Run) -> None:
    document = train_document(nofm, "--setting", "decay=0.5")
    run, history = document["runs"][0], document["runs"][0]["history"]
    assert [*document, *run, *history[0]] == ["schema", *documented("nofm.train/1")]
    assert document["schema"] == "nofm.train/1"
    assert document["settings"] == {"decay": 0.5}
    assert [each["seed"] for each in document["runs"]] == [0, 1, 2]
    accuracies = [each["accuracy"] for each in document["runs"]]
    assert document["accuracy"] == fmean(accuracies)
    assert document["accuracy_spread"] == stdev(accuracies)
    assert run["patterns"] == {"3": "2:8", "5": "2:8"}
    assert run["accuracy"] == history[-1]["accuracy"]
    shown = nofm("train", "mnist1d", *QUICK, "--setting", "decay=0.5")
    assert shown.code == 0
    assert f"{100 * document['accuracy']:.2f}" in shown.out


def test_costs_are_those_of_the_steps(nofm: Run) -> None:
    """By hand: 16 x 128, 128 x 128 twice, 128 x 4; the first layer has no BP; 2 x 3 steps of 32."""
    document = train_document(nofm)
    ends, inner = 2 * 16 * 128 + 3 * 128 * 4, 2 * 128 * 128
    assert document["dense_training_macs"] == 6 * 32 * (ends + 3 * inner)
    assert document["training_macs"] == 6 * 32 * (ends + 3 * inner // 2)
    assert document["dense_inference_macs"] == 16 * 128 + inner + 128 * 4
    assert document["inference_macs"] == 16 * 128 + inner // 4 + 128 * 4
    recipe = Recipe(
        dataset="mnist1d", network="mlp", method=METHODS["bdwp"], pattern=Pattern(2, 8), batch=32
    )
    step = simulate_step(_trace(recipe), load("sat-32x32"), METHODS["bdwp"], Pattern(2, 8))
    assert document["speedup"] == pytest.approx(step.total["speedup"])
    assert document["training_seconds"] == pytest.approx(6 * step.total["seconds"])
    assert document["training_joules"] == pytest.approx(6 * step.total["energy_pj"] * 1e-12)


def test_dense_epochs_count_as_dense(nofm: Run) -> None:
    """ASP trains dense in the first of two epochs."""
    sparse, half = (train_document(nofm, "--method", name) for name in ("srste", "asp"))
    dense = sparse["dense_training_macs"]
    assert half["training_macs"] == (dense + sparse["training_macs"]) / 2
    recipe = Recipe(
        dataset="mnist1d", network="mlp", method=METHODS["asp"], pattern=Pattern(2, 8), batch=32
    )
    step = simulate_step(_trace(recipe), load("sat-32x32"), METHODS["asp"], Pattern(2, 8))
    assert half["speedup"] == pytest.approx(2 / (1 + 1 / step.total["speedup"]))
    assert half["inference_macs"] == sparse["inference_macs"]
    assert train_document(nofm, "--method", "sdgp")["inference_macs"] == dense_inference(sparse)


def dense_inference(document: dict[str, Any]) -> int:
    count: int = document["dense_inference_macs"]
    return count


def test_what_the_accelerator_lacks_is_computed_as_what_it_has(nofm: Run) -> None:
    """MACs are those of the training, time that of the hardware."""
    lacked, has = (train_document(nofm, "--pattern", name) for name in ("3:8", "4:8"))
    assert lacked["speedup"] == has["speedup"]
    assert lacked["training_macs"] < has["training_macs"]
    assert lacked["notes"][-1] == (
        "2 layers of 3:8 (3, 5): computed as 4:8, since accelerator 'sat-32x32' has no 3:8"
    )
    none = train_document(nofm, "--pattern", "3:5")
    assert none["speedup"] == 1
    assert none["notes"][-1].startswith("2 layers of 3:5 (3, 5): computed as dense")


def test_what_cannot_be_simulated_still_trains(nofm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise InputError("the buffers hold no tile")

    monkeypatch.setattr(training, "simulate_step", refuse)
    document = train_document(nofm)
    assert document["speedup"] is None
    assert document["notes"] == ["not simulated: the buffers hold no tile"]
    assert nofm("train", "mnist1d", *QUICK).code == 0


def test_a_second_call_goes_on_from_checkpoints(nofm: Run, tmp_path: Path) -> None:
    kept = ("--checkpoints", str(tmp_path / "kept"))
    first = train_document(nofm, *kept)
    names = {f"mnist1d-mlp-bdwp-2of8-{seed}.pt" for seed in range(3)}
    assert {path.name for path in (tmp_path / "kept").iterdir()} == names
    (tmp_path / "kept/mnist1d-mlp-bdwp-2of8-1.pt").unlink()
    assert train_document(nofm, *kept) == first


def test_a_step_is_recorded(nofm: Run, tmp_path: Path) -> None:
    path = tmp_path / "step.safetensors"
    ran = nofm("train", "mnist1d", *QUICK, "--seeds", "2", "--record", path)
    assert ran.code == 0
    assert f"Wrote {path}.\n" in ran.out
    trace, tensors = trace_file.load_step(path)
    assert trace.name == "mlp on mnist1d"
    assert trace.batch == 32
    assert set(tensors.layers) == {"1", "3", "5", "7"}
    assert {name: str(how.pattern) for name, how in tensors.trained.items()} == {
        "3": "2:8",
        "5": "2:8",
    }


def test_codesign(nofm: Run, tmp_path: Path) -> None:
    chosen = ("--method", "bdwp", "--method", "sdgp", "--pattern", "2:4", "--pattern", "1:8")
    arguments = ("codesign", "mnist1d", *QUICK, "--seeds", "2", *chosen)
    shown = nofm(*arguments, "-o", str(tmp_path / "out"))
    assert shown.code == 0
    document = json.loads((tmp_path / "out/codesign.json").read_text(encoding="utf-8"))
    assert document == nofm(*arguments, "--json").document()
    assert [*document, *document["points"][0]] == ["schema", *documented("nofm.codesign/1")]
    kinds = [(point["method"], point["pattern"]) for point in document["points"]]
    assert kinds == [
        *[("dense", "dense"), ("bdwp", "2:4"), ("bdwp", "1:8")],
        *[("sdgp", "2:4"), ("sdgp", "1:8")],
    ]
    assert document["points"][0]["speedup"] == 1
    with (tmp_path / "out/codesign.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == [method for method, _ in kinds]
    assert list(rows[0]) == list(FIELDS)
    assert (tmp_path / "out/codesign.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "out/codesign.svg").read_bytes()
    for point in document["points"]:
        beaten = any(dominates(other, point) for other in document["points"])
        assert point["pareto"] == (not beaten)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ((0.5, 2.0), (0.5, 2.0), False),
        ((0.6, 2.0), (0.5, 2.0), True),
        ((0.5, 2.1), (0.5, 2.0), True),
        ((0.6, 1.9), (0.5, 2.0), False),
        ((0.5, 1.0), (0.5, None), True),
        ((0.9, None), (0.5, 1.0), False),
    ],
)
def test_what_is_better(
    left: tuple[float, float | None], right: tuple[float, float | None], expected: bool
) -> None:
    ours, theirs = ({"accuracy": a, "speedup": s} for a, s in (left, right))
    assert dominates(ours, theirs) == expected


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("train", "mnist1d", "--setting", "decay"),
            "--setting must look like decay=0.0002, not 'decay'",
        ),
        (
            ("train", "mnist1d", "--seeds", "0"),
            "--seeds must be a whole number from 1 to 1000, not 0",
        ),
        (
            ("train", "mnist1d", "--setting", "refresh=1"),
            "unknown setting of method 'bdwp' 'refresh': (known: decay)",
        ),
        (
            ("train", "mnist1d", "--batch", "1000"),
            "a batch must have at most the 96 samples of 'mnist1d', not 1000",
        ),
        (
            ("train", "mnist1d", "--record", "step.pt"),
            "a trace file's name ends in .safetensors, not 'step.pt'",
        ),
        (
            ("train", "mnist1d", "--record", "nowhere/step.safetensors"),
            "cannot write nowhere/step.safetensors: nowhere is not a folder",
        ),
        (
            ("codesign", "mnist1d", "--pattern", "2"),
            "pattern must look like 2:8 or be 'dense', not '2'",
        ),
        (
            ("codesign", "mnist1d", "-o", "."),
            "-o needs a folder of its own, not the current one",
        ),
    ],
)
def test_bad_input(nofm: Run, arguments: tuple[str, ...], line: str) -> None:
    assert nofm(*arguments).refusal() == line


def test_help_names_what_there_is(nofm: Run) -> None:
    for command in ("train", "codesign"):
        shown = " ".join(nofm(command, "--help").out.replace("│", " ").split())
        for name in (*DATASETS, *MODELS):
            assert re.search(rf"\b{name}\b", shown)
