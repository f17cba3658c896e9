"""Trainings: deterministic, resumed to the same result, and refused in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nofm.kernels.errors import InputError
from nofm.kernels.pattern import DENSE, Pattern
from nofm.workloads import trace_file
from nofm.workloads.methods import METHODS
from nofm.workloads.sparse.convert import sparse_layers
from nofm.workloads.sparse.watch import watching
from nofm.workloads.training import datasets, models
from nofm.workloads.training.datasets import DATASETS, Data
from nofm.workloads.training.models import MODELS
from nofm.workloads.training.run import Recipe, Run, _Trainer, train

STAGES = ("ff", "bp", "wu")
P24 = Pattern(2, 4)


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of MNIST-1D, 96 signals of 16 points in 4 classes that can be told apart."""
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(0)
    y = torch.randint(4, (128,), generator=random)
    x = torch.randn(128, 1, 16, generator=random) * 0.3
    x += torch.eye(4).repeat_interleave(4, dim=1)[y].unsqueeze(1)
    data = Data(x[:96], y[:96], x[96:], y[96:], 4)
    monkeypatch.setattr(datasets, "load", lambda name: data)


def recipe(method: str = "bdwp", **values: Any) -> Recipe:
    given = {"epochs": 4, "batch": 32, "pattern": P24, **values}
    return Recipe(dataset="mnist1d", network="mlp", method=METHODS[method], **given)


def same(left: Run, right: Run) -> bool:
    ours, theirs = left.model.state_dict(), right.model.state_dict()
    return (
        left.history == right.history
        and left.patterns == right.patterns
        and list(ours) == list(theirs)
        and all(torch.equal(ours[name], theirs[name]) for name in ours)
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_gives_one_result(method: str) -> None:
    first = train(recipe(method))
    torch.rand(3)  # whatever was drawn before
    assert same(first, train(recipe(method)))
    assert not same(first, train(recipe(method, seed=1)))
    assert first.accuracy == first.history[-1]["accuracy"]
    assert [row["epoch"] for row in first.history] == [0, 1, 2, 3]


@pytest.mark.parametrize("stop", [1, 2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_run_goes_on_to_the_same_result(
    method: str, stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle of an epoch; what it began is done again."""
    whole = train(recipe(method))
    file = tmp_path / "run.pt"
    step = _Trainer._step

    def killed(self: _Trainer, number: int, chosen: torch.Tensor) -> float:
        if number == 3 * stop + 1:
            raise KeyboardInterrupt
        return step(self, number, chosen)

    monkeypatch.setattr(_Trainer, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train(recipe(method), file)
    monkeypatch.setattr(_Trainer, "_step", step)
    torch.rand(7)
    assert same(train(recipe(method), file), whole)
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]
    monkeypatch.setattr(_Trainer, "_step", None)  # a finished run is only read
    assert same(train(recipe(method), file), whole)


@pytest.mark.parametrize(
    ("method", "epochs", "sparse"),
    [
        ("bdwp", 6, range(0, 6)),
        ("asp", 6, range(3, 6)),
        ("asp", 1, range(0, 1)),
        ("cast", 7, range(3, 7)),
        ("fst", 6, range(0, 5)),
        ("fst", 1, range(0, 1)),
    ],
)
def test_phases(method: str, epochs: int, sparse: range) -> None:
    run = train(recipe(method, epochs=epochs))
    assert run.recipe.sparse_epochs == sparse
    assert bool(sparse_layers(run.model)) == (sparse.stop == epochs)
    assert run.patterns == {"3": P24, "5": P24}


def test_dense_epochs_are_dense_training() -> None:
    """Until a method starts, and with a pattern that keeps everything, for all of it."""
    dense, asp = train(recipe("dense")), train(recipe("asp"))
    assert asp.history[:2] == dense.history[:2]
    assert asp.history[2:] != dense.history[2:]
    assert train(recipe("bdwp", pattern=DENSE)).history == dense.history


def test_pgf_fits_its_schedule_to_the_training() -> None:
    pgf = METHODS["pgf"]
    assert pgf.for_steps(800).settings().keys() == pgf.settings().keys()
    fitted: Any = pgf.for_steps(800)
    assert (fitted.coefficient, fitted.stage_steps, fitted.binary_after) == (2 / 800, 100, 600)
    assert fitted.settled(Pattern(1, 8)) == 400
    staged: Any = pgf.with_settings(schedule="staged").for_steps(800)
    assert staged.settled(Pattern(1, 8)) == 3 * 100
    exponential: Any = pgf.with_settings(schedule="exponential").for_steps(800)
    assert exponential.settled(Pattern(1, 8)) == 600
    assert pgf.with_settings(coefficient=0.5).for_steps(800) == pgf.with_settings(coefficient=0.5)


def refusal(wanted: Recipe, checkpoint: Path | None = None) -> str:
    with pytest.raises(InputError) as caught:
        train(wanted, checkpoint)
    return str(caught.value)


def test_bad_input(tmp_path: Path) -> None:
    assert refusal(recipe(epochs=0)) == (
        "training needs at least 1 epoch and a positive learning rate, not 0 and 0.01"
    )
    assert refusal(recipe(learning_rate=float("nan"))) == (
        "training needs at least 1 epoch and a positive learning rate, not 4 and nan"
    )
    assert refusal(recipe(batch=97)) == (
        "a batch must have at most the 96 samples of 'mnist1d', not 97"
    )
    assert refusal(replace(recipe(), network="rnn")) == (
        "unknown network 'rnn': did you mean cnn? (known: cnn, mlp, gpt)"
    )
    assert refusal(replace(recipe(), network="gpt")) == (
        "network 'gpt' does not fit dataset 'mnist1d': cnn, mlp does"
    )
    assert refusal(recipe(learning_rate=1e30)).startswith("the loss must be finite, but is ")
    file = tmp_path / "run.pt"
    train(recipe(epochs=1), file)
    line = refusal(recipe(epochs=2), file)
    assert line.startswith(f"{file} is a checkpoint of another recipe, {{")
    assert line.endswith("}: choose another folder")
    for content in (b"", b"no checkpoint", b"\x80\x02cos\nsystem\n(S'true'\ntR."):
        file.write_bytes(content)
        assert refusal(recipe(), file) == f"{file} is not a checkpoint of nofm train"


def test_nothing_stays_where_a_checkpoint_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        train(recipe(), tmp_path / "folder" / "run.pt")
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()


@pytest.mark.parametrize("name", DATASETS)
def test_datasets(name: str, real: None) -> None:
    numbers, others = np.random.get_state()[1].copy(), torch.get_rng_state()
    data = datasets.load(name)
    assert np.array_equal(np.random.get_state()[1], numbers)
    assert torch.equal(torch.get_rng_state(), others)
    again = DATASETS[name].make()
    for ours, theirs in ((data.x, again.x), (data.y_test, again.y_test)):
        assert torch.equal(ours, theirs)
    assert len(data.x) == len(data.y) > len(data.x_test) == len(data.y_test) > 100
    for classes in (data.y, data.y_test):
        assert classes.dtype == torch.int64
        assert 0 <= int(classes.min()) <= int(classes.max()) < data.classes
    for model in MODELS.values():
        if model.ids == (name == "stdlib"):
            y = models.build(model.name, data, name)(data.x[:2])
            assert y.shape == (*data.y[:2].shape, data.classes)


def test_unknown_dataset(real: None) -> None:
    with pytest.raises(InputError) as caught:
        datasets.load("mnist")
    assert str(caught.value) == (
        "unknown dataset 'mnist': did you mean mnist1d? (known: mnist1d, digits, stdlib)"
    )


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [("mnist1d", "mnist1d.data", "mnist1d"), ("digits", "sklearn.datasets", "scikit-learn")],
)
def test_a_dataset_whose_package_is_missing(
    name: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(InputError) as caught:
        DATASETS[name].make()
    assert str(caught.value) == (
        f"dataset {name!r} needs {package}, which is not installed: pip install 'nofm[train]'"
    )


def test_next_characters(real: None) -> None:
    data = datasets.load("stdlib")
    assert torch.equal(data.x[:, 1:], data.y[:, :-1])


@pytest.mark.parametrize("method", ["fst", "bimask"])
def test_the_recorded_step_is_the_last_that_the_method_trains(method: str, tmp_path: Path) -> None:
    """Its random numbers included; and the training does not notice."""
    found = recipe(method, epochs=6)
    now: dict[str, Any] = {}
    steps: dict[str, list[dict[str, Any]]] = {}

    def watch(name: str, stage: str, *pair: torch.Tensor) -> None:
        now[name + stage] = pair
        if stage == "wu":  # the last of a step; a test of accuracy has none
            steps.setdefault(name, []).append({each: now[name + each] for each in STAGES})

    with watching(watch):
        run = train(found, record=tmp_path / "step.safetensors")
    assert run.history == train(found).history
    tensors = trace_file.load_tensors(tmp_path / "step.safetensors")
    assert set(tensors.trained) == set(run.patterns)
    for name in run.patterns:
        kept = tensors.layers[name]
        for stage, left, right in (
            ("ff", "input", "weight"),
            ("bp", "gradient", "weight"),
            ("wu", "gradient", "input"),
        ):
            copied, real = (step[stage] for step in steps[name][-2:])
            for what, ours, theirs in zip((left, right), copied, real, strict=True):
                assert torch.equal(ours, theirs)
                file = kept.get(f"{stage}_{what}", kept[what])
                assert np.array_equal(file.reshape(ours.shape), ours.detach().numpy())


def test_a_checkpoint_past_the_step_to_record(tmp_path: Path) -> None:
    found, folder = recipe("fst", epochs=6), tmp_path / "fst.pt"
    train(found, folder)
    with pytest.raises(InputError) as caught:
        train(found, folder, record=tmp_path / "step.safetensors")
    assert str(caught.value) == (
        f"the step to record is in epoch 4, which the training in {folder} is past: choose "
        "another folder"
    )
    assert not (tmp_path / "step.safetensors").exists()
