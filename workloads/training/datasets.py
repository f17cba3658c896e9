"""Data that can be made or read offline: one table, `DATASETS`."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nofm.kernels.errors import InputError, unknown


@dataclass(frozen=True, eq=False)
class Data:
    """Samples and their classes.

    Attributes:
        x, y: training inputs [samples, ...] and classes, int64 [samples, ...].
        x_test, y_test: those that accuracy is measured on.
        classes: how many there are.
    """

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int


@dataclass(frozen=True)
class Dataset:
    """One dataset.

    Attributes:
        name: as on the command line.
        title, source: for people.
        make: reads or makes it.
    """

    name: str
    title: str
    source: str
    make: Callable[[], Data]


def _missing(dataset: str, package: str) -> InputError:
    return InputError(
        f"dataset {dataset!r} needs {package}, which is not installed: pip install 'nofm[train]'"
    )


def _mnist1d() -> Data:
    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except ImportError:
        raise _missing("mnist1d", "mnist1d") from None
    # It seeds the random numbers of everybody else too.
    kept = np.random.get_state(), torch.get_rng_state()
    try:
        made = make_dataset(get_dataset_args())
    finally:
        np.random.set_state(kept[0])
        torch.set_rng_state(kept[1])
    x, x_test = (torch.tensor(made[key]).float().unsqueeze(1) for key in ("x", "x_test"))
    y, y_test = (torch.tensor(made[key]).long() for key in ("y", "y_test"))
    return Data(x, y, x_test, y_test, 10)


def _digits() -> Data:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise _missing("digits", "scikit-learn") from None
    images, classes = load_digits(return_X_y=True)
    x = torch.tensor(images).float().view(-1, 1, 8, 8) / 8 - 1
    y = torch.tensor(classes).long()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    split = len(x) * 4 // 5
    train, test = order[:split], order[split:]
    return Data(x[train], y[train], x[test], y[test], 10)


CONTEXT = 64
"""Characters of a sample of text."""
MODULES = ("argparse", "ast", "datetime", "doctest", "inspect", "tarfile", "turtle", "typing")
"""Modules of the standard library whose source is the text."""


def _stdlib() -> Data:
    folder = Path(sysconfig.get_path("stdlib"))
    text = "".join((folder / f"{name}.py").read_text(encoding="utf-8") for name in MODULES)
    # ASCII is the alphabet; what is outside becomes one character more.
    ids = torch.tensor([min(ord(character), 128) for character in text])
    count = (len(ids) - 1) // CONTEXT
    x = ids[: count * CONTEXT].view(count, CONTEXT)
    y = ids[1 : count * CONTEXT + 1].view(count, CONTEXT)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    split = count * 9 // 10
    train, test = order[:split], order[split:]
    return Data(x[train], y[train], x[test], y[test], 129)


DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "mnist1d",
            "MNIST-1D, 4,000 signals of 40 points",
            "Greydanus and Kobak, ICML 2024; made by the package mnist1d",
            _mnist1d,
        ),
        Dataset(
            "digits",
            "1,437 handwritten digits of 8 x 8 pixels",
            "Alpaydin and Kaynak, 1998; in scikit-learn",
            _digits,
        ),
        Dataset(
            "stdlib",
            f"next characters of Python source, {CONTEXT} at a time",
            "the standard library of the Python that runs; its version changes the text",
            _stdlib,
        ),
    )
}
"""Every dataset by name."""


@cache
def load(name: str) -> Data:
    """A dataset by name.

    Raises:
        InputError: no such dataset, or the package that has it is not installed.
    """
    if name not in DATASETS:
        raise unknown("dataset", name, DATASETS)
    return DATASETS[name].make()
