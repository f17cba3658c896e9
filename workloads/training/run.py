"""One training: a network, a dataset, a method, a seed; from epoch to epoch, with checkpoints.

Everything random follows from the seed, and a checkpoint holds the state of the random numbers too:
a run that was stopped goes on to the same result.
"""

from __future__ import annotations

import copy
import json
import math
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.workloads import recording, trace_file
from nofm.workloads.methods import Method
from nofm.workloads.methods.cast import Cast
from nofm.workloads.methods.owl import Owl
from nofm.workloads.sparse.adams import AdamS
from nofm.workloads.sparse.convert import desparsify, sparse_layers, sparsify
from nofm.workloads.training import datasets, models

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is trained, and how.

    AdamW with a cosine schedule down to 0; method "cast" has its own optimizer. A method that
    starts from a trained model spends the first half of the epochs on dense training; one whose
    last part is dense, that share.

    Attributes:
        dataset, network: by name.
        method: with its settings.
        pattern: N:M.
        epochs, batch: samples that are left over at the end of an epoch wait for the next one.
        learning_rate, weight_decay: of AdamW.
        seed: of the weights, the order of the samples and what the method draws.
    """

    dataset: str
    network: str
    method: Method
    pattern: Pattern
    epochs: int = 20
    batch: int = 128
    learning_rate: float = 1e-2
    weight_decay: float = 1e-2
    seed: int = 0

    @property
    def sparse_epochs(self) -> range:
        """The epochs that train by the method; the others are dense."""
        first = self.epochs // 2 if self.method.pretrained else 0
        return range(first, self.epochs - round(self.epochs * self.method.dense_share))

    def describe(self) -> dict[str, Any]:
        """All that the result follows from, as JSON takes it."""
        settings = {name: getattr(self.method, name) for name in self.method.settings()}
        return {
            "dataset": self.dataset,
            "network": self.network,
            "method": self.method.name,
            "settings": settings,
            "pattern": str(self.pattern),
            "epochs": self.epochs,
            "batch": self.batch,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "seed": self.seed,
        }


@dataclass(frozen=True, eq=False)
class Run:
    """A finished training.

    Attributes:
        recipe: what was asked for.
        accuracy: on the test samples after the last epoch, 0 to 1.
        history: a dict for each epoch: `epoch`, `loss` (mean of its steps), `accuracy`.
        patterns: of the layers that the method pruned, by name.
        model: as it came out, sparse still unless its last part was dense.
    """

    recipe: Recipe
    accuracy: float
    history: tuple[dict[str, Any], ...]
    patterns: dict[str, Pattern]
    model: nn.Module


@dataclass
class _State:
    """What changes from epoch to epoch, beside the model and the optimizer."""

    epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    patterns: dict[str, str] = field(default_factory=dict)


def train(
    recipe: Recipe,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    *,
    record: Path | None = None,
) -> Run:
    """Train.

    Args:
        checkpoint: a file that is written after every epoch, and gone on from where it is there.
        progress: told what runs, how much is done, and of how much.
        record: a trace file that is written with the tensors of the last step that trains by the
            method (`nofm.record`); the training is the same without it.

    Raises:
        InputError: an unknown name, a network that does not fit the data, a loss that is not
            finite, a checkpoint of another recipe, or one that is past the step to record.
    """
    if recipe.epochs < 1 or not math.isfinite(recipe.learning_rate) or recipe.learning_rate <= 0:
        raise InputError(
            "training needs at least 1 epoch and a positive learning rate, not "
            f"{recipe.epochs} and {recipe.learning_rate}"
        )
    data = datasets.load(recipe.dataset)
    steps = len(data.x) // recipe.batch
    if steps == 0:
        raise InputError(
            f"a batch must have at most the {len(data.x)} samples of {recipe.dataset!r}, not "
            f"{recipe.batch}"
        )
    torch.manual_seed(recipe.seed)
    model = models.build(recipe.network, data, recipe.dataset)
    trainer = _Trainer(recipe, data, model, steps)
    if checkpoint is not None and checkpoint.exists():
        trainer.load(checkpoint)
    if record is not None:
        if trainer.state.epoch >= recipe.sparse_epochs.stop:
            raise InputError(
                f"the step to record is in epoch {recipe.sparse_epochs.stop - 1}, which the "
                f"training in {checkpoint} is past: choose another folder"
            )
        trainer.record = record
    while trainer.state.epoch < recipe.epochs:
        if progress is not None:
            what = f"{recipe.method.name} {recipe.pattern}, seed {recipe.seed}"
            progress(what, trainer.state.epoch, recipe.epochs)
        trainer.run_epoch()
        if checkpoint is not None:
            trainer.save(checkpoint)
    history = tuple(trainer.state.history)
    patterns = {name: Pattern.parse(text) for name, text in trainer.state.patterns.items()}
    return Run(recipe, history[-1]["accuracy"], history, patterns, model)


def _cross_entropy(found: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(found.flatten(0, -2), y.flatten())


class _Trainer:
    """A model in training."""

    def __init__(self, recipe: Recipe, data: datasets.Data, model: nn.Module, steps: int) -> None:
        self.recipe, self.data, self.model, self.steps = recipe, data, model, steps
        self.state = _State()
        self.record: Path | None = None
        self.optimizer = self._optimizer()

    def run_epoch(self) -> None:
        """Train one epoch and measure the accuracy."""
        recipe, epoch = self.recipe, self.state.epoch
        self._change_phase(epoch)
        shuffle = torch.Generator().manual_seed(2**20 * recipe.seed + epoch)
        order = torch.randperm(len(self.data.x), generator=shuffle)
        total = 0.0
        self.model.train()
        for step in range(self.steps):
            chosen = order[step * recipe.batch : (step + 1) * recipe.batch]
            total += self._step(epoch * self.steps + step, chosen)
        accuracy = self._accuracy()
        row = {"epoch": epoch, "loss": total / self.steps, "accuracy": accuracy}
        self.state.history.append(row)
        self.state.epoch += 1

    def _step(self, step: int, chosen: Tensor) -> float:
        recipe = self.recipe
        share = step / (recipe.epochs * self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
        self.optimizer.zero_grad()
        if step == recipe.sparse_epochs.stop * self.steps - 1:
            self._record(chosen)
        loss = self._loss(self.data.x[chosen], self.data.y[chosen])
        value = float(loss.detach())
        if not math.isfinite(value):
            raise InputError(
                f"the loss must be finite, but is {value} in epoch {step // self.steps} of seed "
                f"{recipe.seed}: try a learning rate below {recipe.learning_rate}"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return value

    def _loss(self, x: Tensor, y: Tensor) -> Tensor:
        return _cross_entropy(self.model(x), y)

    def _record(self, chosen: Tensor) -> None:
        """Write the tensors of the step that comes next: a copy takes it first, with the same
        random numbers."""
        if self.record is None:
            return
        y = self.data.y[chosen]
        with torch.random.fork_rng(devices=[]):
            trace, tensors = recording.record(
                copy.deepcopy(self.model),
                self.data.x[chosen],
                lambda found: _cross_entropy(found, y),
                name=f"{self.recipe.network} on {self.recipe.dataset}",
            )
        trace_file.save(trace, self.record, tensors)

    @torch.no_grad()
    def _accuracy(self) -> float:
        self.model.eval()
        tests = self.data.x_test, self.data.y_test
        right = [
            (self.model(x).argmax(-1) == y).float().flatten()
            for x, y in zip(*(torch.split(each, 500) for each in tests), strict=True)
        ]
        return float(torch.cat(right).mean())

    def _change_phase(self, epoch: int) -> None:
        """Begin or end training by the method, where an epoch does."""
        sparse = self.recipe.sparse_epochs
        if epoch == sparse.start and len(sparse):
            self._sparsify(self.recipe.pattern)
            self.state.patterns = {
                name: str(layer.nofm.pattern) for name, layer in sparse_layers(self.model).items()
            }
        if epoch == sparse.stop:
            desparsify(self.model)

    def _sparsify(self, pattern: Pattern | dict[str, str]) -> None:
        recipe = self.recipe
        method = recipe.method.for_steps(self.steps * len(recipe.sparse_epochs))
        calibrated = isinstance(method, Owl) and isinstance(pattern, Pattern)
        calibration = self.data.x[: recipe.batch] if calibrated else None
        sparsify(self.model, method, pattern, calibration=calibration)
        if isinstance(method, Cast):
            self.optimizer = self._optimizer()

    def _optimizer(self) -> torch.optim.Optimizer:
        recipe = self.recipe
        if isinstance(recipe.method, Cast) and sparse_layers(self.model):
            total = self.steps * len(recipe.sparse_epochs)
            return AdamS(self.model, total_steps=total, lr=recipe.learning_rate)
        return torch.optim.AdamW(
            self.model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        document = {
            "recipe": json.dumps(self.recipe.describe(), sort_keys=True),
            "epoch": self.state.epoch,
            "history": self.state.history,
            "patterns": self.state.patterns,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            torch.save(document, partial)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        try:
            found = torch.load(path, weights_only=True)
            same = found["recipe"] == json.dumps(self.recipe.describe(), sort_keys=True)
        except (RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError):
            raise InputError(f"{path} is not a checkpoint of nofm train") from None
        if not same:
            raise InputError(
                f"{path} is a checkpoint of another recipe, {found['recipe']}: choose another "
                "folder"
            )
        self.state = _State(found["epoch"], found["history"], found["patterns"])
        # The epoch that comes next changes the phase itself, where it does.
        if self.state.epoch - 1 in self.recipe.sparse_epochs:
            self._sparsify(found["patterns"])
        self.model.load_state_dict(found["model"])
        self.optimizer.load_state_dict(found["optimizer"])
        torch.set_rng_state(found["random"])
