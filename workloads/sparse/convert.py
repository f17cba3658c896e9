"""`sparsify` and `desparsify`: a torch model trained by an N:M method, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from torch import nn

from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.workloads.methods import Method
from nofm.workloads.methods import method as find_method
from nofm.workloads.methods.owl import Owl
from nofm.workloads.sparse.layers import CLASSES, SparseLayer, check, convert, restore

Model = TypeVar("Model", bound=nn.Module)

Patterns = str | Pattern | Mapping[str, str | Pattern]
"""One pattern for all layers, or patterns by layer: names, or such with `*` and `?`."""


def sparsify(
    model: Model,
    method: str | Method = "bdwp",
    pattern: Patterns = "2:8",
    *,
    inner: bool = False,
    calibration: Any = None,
    **settings: Any,
) -> Model:
    """Train `model` by an N:M method from now on.

    Linear, Conv1d and Conv2d layers change in place; the model, its parameters and its state
    dictionary stay what they were, and any training loop and optimizer does. The first layer and
    the head stay dense, embeddings and all other layers too. With patterns by layer exactly the
    layers that they name change, each by the first that fits. Method "cast" with `scaling_groups`
    gives each layer one more parameter: make the optimizer afterwards.

    Args:
        model: any torch model.
        method: a method's name, or the method itself.
        pattern: N:M of every layer, or patterns by layer.
        inner: the model is an inner part of a network: it has no first layer and no head.
        calibration: a batch of the model's input, a tensor or a tuple of positional arguments;
            method "owl" needs it to find each layer's N, unless patterns are given by layer.
        settings: of the method, such as `decay`.

    Returns:
        The same model.

    Raises:
        InputError: no such method, setting, pattern or layer; a layer that is named and cannot be
            sparse; a model that is sparse already, or has no layer that could be.
    """
    chosen = find_method(method).with_settings(**settings)
    if any(isinstance(module, SparseLayer) for module in model.modules()):
        raise InputError("the model is sparse already: call nofm.desparsify first")
    if isinstance(pattern, Mapping):
        todo = list(_named(model, pattern))
    else:
        parsed = Pattern.parse(pattern)
        todo = [(name, layer, parsed) for name, layer in prunable(model, inner)]
    if not todo:
        raise InputError(
            "the model has no layer to prune: at least one Linear, Conv1d or Conv2d is needed "
            "between the first layer and the head (or inner=True)"
        )
    for name, layer, _ in todo:
        check(name, layer)
    if isinstance(chosen, Owl) and not isinstance(pattern, Mapping):
        if calibration is None:
            raise InputError("method 'owl' needs a calibration batch, not None")
        from nofm.workloads.sparse.outliers import allocate

        layers = {name: layer for name, layer, _ in todo}
        own_patterns = allocate(model, layers, Pattern.parse(pattern), chosen, calibration)
        todo = [(name, layer, own_patterns[name]) for name, layer, _ in todo]
    elif calibration is not None:
        raise InputError(f"a calibration batch only goes with method 'owl', not {chosen.name!r}")
    for name, layer, own in todo:
        convert(name, layer, chosen, own)
    return model


def desparsify(model: Model) -> Model:
    """Undo `sparsify`: plain layers again, with their dense weights.

    Returns:
        The same model.
    """
    for module in list(model.modules()):
        if isinstance(module, SparseLayer):
            restore(module)
    return model


def sparse_layers(model: nn.Module) -> dict[str, SparseLayer]:
    """The sparse layers of a model by name, in the model's order."""
    return {
        name: module for name, module in model.named_modules() if isinstance(module, SparseLayer)
    }


def prunable(model: nn.Module, inner: bool = False) -> list[tuple[str, nn.Module]]:
    """The layers that N:M methods prune, by name, in the model's order.

    That is all that can be sparse, but for the model's first layer, unless an embedding comes
    before it, and its last, where that is a linear layer or has a kernel of 1.
    """
    weighty = [
        (name, module)
        for name, module in model.named_modules()
        if type(module) in CLASSES or isinstance(module, nn.Embedding)
    ]
    if weighty and not inner:
        last = weighty[-1][1]
        weighty = weighty[1:-1] if _is_head(last) else weighty[1:]
    return [(name, module) for name, module in weighty if type(module) in CLASSES]


def _is_head(layer: nn.Module) -> bool:
    return all(size == 1 for size in getattr(layer, "kernel_size", ()))


def _named(
    model: nn.Module, patterns: Mapping[str, str | Pattern]
) -> Iterator[tuple[str, nn.Module, Pattern]]:
    parsed = {name: Pattern.parse(pattern) for name, pattern in patterns.items()}
    unused = set(parsed)
    for name, module in model.named_modules():
        fits = [each for each in parsed if fnmatchcase(name, each)]
        if not fits:
            continue
        # A star takes what can be sparse; a name means that layer and no other.
        if type(module) in CLASSES or name in parsed:
            unused.difference_update(fits)
            yield name, module, parsed[fits[0]]
    if unused:
        raise InputError(f"the model has no layer {min(unused)!r} that can be sparse")
