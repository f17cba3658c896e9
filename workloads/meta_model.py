"""Models without their weights: on torch's meta device, where tensors have shapes and no memory."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from nofm.kernels.errors import InputError
from nofm.workloads.step_log import one_line


def on_meta(name: str, model: torch.nn.Module) -> torch.nn.Module:
    """The model on the meta device: itself if it is there already, else a copy.

    Parameters, buffers and tensors kept as plain attributes are replaced; shared ones stay shared.

    Raises:
        InputError: the model cannot be copied.
    """
    tensors = list(_tensors(model))
    if all(tensor.is_meta for tensor in tensors):
        return model
    try:
        memo: dict[int, Any] = {id(tensor): _without_memory(tensor) for tensor in tensors}
        return copy.deepcopy(model, memo)
    except Exception as error:
        raise InputError(
            f"model {name!r}: it cannot be copied to the meta device: {one_line(error)}"
        ) from error


def _tensors(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    for module in model.modules():
        # Parameters and buffers are dictionaries among the attributes.
        for leaf in tree_leaves(
            [value for key, value in vars(module).items() if key != "_modules"]
        ):
            if isinstance(leaf, torch.Tensor):
                yield leaf


def _without_memory(tensor: torch.Tensor) -> torch.Tensor:
    empty = torch.empty_like(tensor, device="meta", requires_grad=False)
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty


def build(path: str) -> torch.nn.Module:
    """The model that `package.module:factory` names.

    The module is imported with the working directory on the path, which runs its code. The factory
    is called without arguments, on the meta device or, where that fails, on the CPU. It may also be
    a model itself.

    Raises:
        InputError: anything of that fails, or the result is no `torch.nn.Module`.
    """
    module_name, colon, attribute = path.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise InputError(f"a model is named package.module:factory, not {path!r}")
    with _working_directory_on_path():
        try:
            module = importlib.import_module(module_name)
        except (Exception, SystemExit) as error:
            raise InputError(f"cannot import {module_name!r}: {one_line(error)}") from error
        factory = getattr(module, attribute, None)
        if factory is None:
            raise InputError(f"module {module_name!r} has no attribute {attribute!r}")
        model = factory if isinstance(factory, torch.nn.Module) else _call(path, factory)
    if not isinstance(model, torch.nn.Module):
        raise InputError(
            f"{path!r} must give a torch.nn.Module, not {type(model).__module__}."
            f"{type(model).__qualname__}"
        )
    return model


def _call(path: str, factory: Callable[[], object]) -> object:
    if not callable(factory):
        return factory
    try:
        with torch.device("meta"):
            return factory()
    except (Exception, SystemExit):
        # Some factories look at values, which the meta device does not have.
        try:
            return factory()
        except (Exception, SystemExit) as error:
            raise InputError(f"{path!r} fails: {one_line(error)}") from error


@contextmanager
def _working_directory_on_path() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
