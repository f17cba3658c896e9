"""A sparse model is an ordinary torch model: it loads, copies, compiles, exports and goes back."""

from __future__ import annotations

import copy
import io
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import nofm
from nofm.kernels.errors import InputError
from nofm.workloads import networks
from nofm.workloads.layer import WeightLayer
from nofm.workloads.methods import METHODS
from nofm.workloads.sparse.convert import prunable, sparse_layers
from nofm.workloads.sparse.watch import watching


def network(seed: int = 0) -> nn.Sequential:
    """Convolutions of every kind, then linear layers."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, groups=2),
        nn.ReLU(),
        nn.Conv2d(12, 6, (1, 3), padding="same", bias=False),
        nn.Flatten(),
        nn.Linear(6 * 9, 21),
        nn.ReLU(),
        nn.Linear(21, 10),
    )


X = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def train(model: nn.Module, steps: int = 3, autocast: bool = False) -> torch.Tensor:
    """Train, and give the last output."""
    sgd = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    torch.manual_seed(2)
    for _ in range(steps):
        sgd.zero_grad()
        # It keeps cast weights: each step needs a context of its own.
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            y = model(X)
        y.float().square().mean().backward()
        sgd.step()
    return y.detach()


def equal(left: nn.Module, right: nn.Module) -> bool:
    ours, theirs = left.state_dict(), right.state_dict()
    return list(ours) == list(theirs) and all(
        torch.equal(ours[name], theirs[name]) for name in ours
    )


@pytest.mark.parametrize("autocast", [False, True], ids=["", "autocast"])
@pytest.mark.parametrize("method", METHODS)
def test_n_equal_to_m_is_dense_training_bit_for_bit(method: str, autocast: bool) -> None:
    dense, sparse = network(), network()
    calibration = {"calibration": X} if method == "owl" else {}
    nofm.sparsify(sparse, method, "4:4", inner=True, **calibration)
    assert torch.equal(train(dense, autocast=autocast), train(sparse, autocast=autocast))
    for ours, theirs in zip(sparse.parameters(), dense.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(sparse.eval()(X), dense.eval()(X))


def test_which_layers_become_sparse() -> None:
    model = nofm.sparsify(network(), "bdwp", "2:8")
    assert list(sparse_layers(model)) == ["3", "5", "7"]
    assert list(sparse_layers(nofm.sparsify(network(), "bdwp", "2:8", inner=True))) == [
        *("0", "3", "5", "7", "9")
    ]
    by_layer = nofm.sparsify(network(), "bdwp", {"7": "1:4", "[35]": "2:4", "0": "dense"})
    assert {name: str(layer.nofm.pattern) for name, layer in sparse_layers(by_layer).items()} == {
        **{"0": "dense", "3": "2:4", "5": "2:4", "7": "1:4"}
    }


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_the_same_layers_are_pruned_in_training_and_simulation(name: str) -> None:
    trace = networks.load(name)
    simulated = {
        layer.name for layer in trace.layers if isinstance(layer, WeightLayer) and layer.prunable
    }
    found = networks.network(name)
    assert {path for path, _ in prunable(networks.build(name), found.inner)} == simulated


@pytest.mark.parametrize("method", METHODS)
def test_desparsify_gives_the_plain_model_back(method: str) -> None:
    model, plain = network(), network()
    parameters, kinds = list(model.parameters()), [type(module) for module in model.modules()]
    calibration = {"calibration": X} if method == "owl" else {}
    assert nofm.sparsify(model, method, "2:4", **calibration) is model
    assert nofm.desparsify(model) is model
    assert [type(module) for module in model.modules()] == kinds
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert equal(model, plain)
    assert torch.equal(train(model), train(plain))


@pytest.mark.parametrize("method", METHODS)
def test_a_state_dictionary_goes_round(method: str) -> None:
    """Into another sparse model of other weights, and training goes on the same."""
    patterns = {"3": "2:4", "5": "1:4", "7": "2:8"}
    model = nofm.sparsify(network(), method, patterns)
    train(model)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = nofm.sparsify(network(seed=9), method, patterns)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert equal(model, other)
    twin = copy.deepcopy(model)
    pickled = pickle.loads(pickle.dumps(model))
    last = train(model, 2)
    for same in (other, twin, pickled):
        assert torch.equal(train(same, 2), last)
        assert equal(same, model)
    assert not equal(model, nofm.sparsify(network(), method, patterns))


def test_methods_without_masks_of_their_own_load_dense_weights() -> None:
    dense = network(seed=3)
    model = nofm.sparsify(network(), "bdwp", "2:8")
    model.load_state_dict(dense.state_dict())
    assert model.state_dict().keys() == dense.state_dict().keys()


@pytest.mark.parametrize("method", METHODS)
def test_export(method: str) -> None:
    model = nofm.sparsify(network(), method, {"3": "2:4", "7": "2:8"}).eval()
    program = torch.export.export(model, (X,))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    with torch.no_grad():
        assert torch.equal(loaded(X), model(X))


# What torch's compiler warns of in itself.
COMPILING = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")


@COMPILING
@pytest.mark.parametrize("method", METHODS)
def test_compiled_training_is_eager_training(method: str) -> None:
    """The whole step in one graph; the code generator is left out."""
    model = nofm.sparsify(network(), method, {"3": "2:4", "5": "2:4", "7": "2:8"})
    eager = copy.deepcopy(model)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    assert torch.allclose(train(compiled), train(eager), rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(model.parameters(), eager.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(model.buffers(), eager.buffers(), strict=True):
        assert torch.allclose(ours.double(), theirs.double(), rtol=1e-4, atol=1e-5)


@COMPILING
@pytest.mark.slow
@pytest.mark.parametrize("method", ["bdwp", "fst"])
def test_compiled_by_the_default_compiler(method: str) -> None:
    model = nofm.sparsify(network(), method, {"3": "2:4", "7": "2:8"})
    eager = copy.deepcopy(model)
    torch._dynamo.reset()
    assert torch.allclose(train(torch.compile(model)), train(eager), rtol=1e-3, atol=1e-4)


@COMPILING
def test_two_settings_compile_side_by_side() -> None:
    torch._dynamo.reset()
    for settings in ({"decay": 0.5}, {"decay": 0.25}, {}):
        model = nofm.sparsify(network(), "srste", "2:4", **settings)
        eager = copy.deepcopy(model)
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
        assert torch.allclose(train(compiled), train(eager), rtol=1e-4, atol=1e-5)


def test_autocast_prunes_what_enters_the_product() -> None:
    model = nofm.sparsify(network(), "bdwp", "2:4")
    seen: list[torch.dtype] = []
    with (
        watching(lambda name, stage, left, right: seen.extend([left.dtype, right.dtype])),
        torch.autocast("cpu", dtype=torch.bfloat16),
    ):
        model(X).float().square().mean().backward()
    assert set(seen) == {torch.bfloat16}
    assert len(seen) == 2 * 3 * 3
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.Adagrad, torch.optim.LBFGS])
def test_any_optimizer(optimizer: Callable[..., torch.optim.Optimizer]) -> None:
    model = nofm.sparsify(network(), "bdwp", "2:4")
    steps = optimizer(model.parameters(), lr=0.01)
    losses = []

    def closure() -> float:
        steps.zero_grad()
        loss = model(X).square().mean()
        loss.backward()
        losses.append(float(loss.detach()))
        return losses[-1]

    for _ in range(4):
        steps.step(closure)
    assert losses[-1] < losses[0]


def test_frozen_parts_and_inputs_without_gradients() -> None:
    model = nofm.sparsify(network(), "bdwp", "2:4")
    model[7].weight.requires_grad_(False)
    model[3].bias.requires_grad_(False)
    model(X).square().mean().backward()
    assert model[7].weight.grad is None
    assert model[7].bias.grad is not None
    assert model[3].weight.grad is not None
    assert model[3].bias.grad is None


def test_checkpointed_activations() -> None:
    plain = nofm.sparsify(network(), "bdwp", "2:4")
    again = copy.deepcopy(plain)
    plain(X).square().mean().backward()
    checkpoint(again, X, use_reentrant=False).square().mean().backward()
    for ours, theirs in zip(again.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)


def test_second_derivatives_are_refused() -> None:
    model = nofm.sparsify(network(), "bdwp", "2:4")
    (first,) = torch.autograd.grad(model(X).square().mean(), model[3].weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_a_sample_without_a_batch() -> None:
    model = nofm.sparsify(nn.Sequential(nn.Conv2d(3, 8, 3)), "bdwp", "2:4", inner=True)
    assert torch.allclose(model(X[0]), model(X)[0], atol=1e-6)


def replica(rank: int, port: int, folder: str) -> None:
    """One of two processes that train on half of the batch each."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    model = nofm.sparsify(network(), "transposable", "2:4", refresh_steps=2)
    parallel = nn.parallel.DistributedDataParallel(model)
    sgd = torch.optim.SGD(parallel.parameters(), lr=0.05)
    for _ in range(3):
        sgd.zero_grad()
        parallel(X[2 * rank : 2 * rank + 2]).square().mean().backward()
        sgd.step()
    torch.save(model.state_dict(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_distributed_data_parallel(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    commands = [[sys.executable, __file__, str(rank), str(port), str(tmp_path)] for rank in (0, 1)]
    replicas = [subprocess.Popen(command) for command in commands]
    assert [each.wait() for each in replicas] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    shared = [name for name in first if "running" not in name]  # norms see their own samples
    assert all(torch.equal(first[name], second[name]) for name in shared)
    assert int(first["3.nofm_step"]) == 3


@pytest.mark.parametrize(
    ("arguments", "settings", "line"),
    [
        (
            ("bdwq",),
            {},
            f"unknown method 'bdwq': did you mean bdwp or sdwp? (known: {', '.join(METHODS)})",
        ),
        (("bdwp", "9:8"), {}, "pattern 9:8: N must be from 1 to M = 8, not 9"),
        (
            ("bdwp", "2:8"),
            {"decoy": 1.0},
            "unknown setting of method 'bdwp' 'decoy': did you mean decay? (known: decay)",
        ),
        (("dense", "2:8"), {"decay": 1.0}, "method 'dense' has no settings, not 'decay'"),
        (
            ("bdwp", "2:8"),
            {"decay": -1.0},
            "method 'bdwp': decay must be a number from 0 to 1000000, not -1.0",
        ),
        (
            ("bimask", "2:8"),
            {"permutations": 0},
            "method 'bimask': permutations must be a whole number from 1 to 2147483647, not 0",
        ),
        (
            ("sdgp", "2:8"),
            {"rescale": 1},
            "method 'sdgp': rescale must be True or False, not 1",
        ),
        (
            ("pgf", "2:8"),
            {"schedule": "cosine"},
            "unknown schedule of method 'pgf' 'cosine': did you mean linear? (known: linear, "
            "exponential, staged)",
        ),
        (
            ("bdwp", {"3": "2:4", "8": "2:4"}),
            {},
            "layer '8' must be one of Linear, Conv1d, Conv2d to be sparse, not ReLU",
        ),
        (("bdwp", {"x.*": "2:4"}), {}, "the model has no layer 'x.*' that can be sparse"),
        (("owl", "2:4"), {}, "method 'owl' needs a calibration batch, not None"),
        (
            ("bdwp", "2:4"),
            {"calibration": X},
            "a calibration batch only goes with method 'owl', not 'bdwp'",
        ),
    ],
)
def test_bad_input(arguments: tuple[Any, ...], settings: dict[str, Any], line: str) -> None:
    model = network()
    with pytest.raises(InputError) as caught:
        nofm.sparsify(model, *arguments, **settings)
    assert str(caught.value) == line
    assert not sparse_layers(model)


def test_what_cannot_be_converted() -> None:
    model = nofm.sparsify(network())
    with pytest.raises(InputError) as caught:
        nofm.sparsify(model)
    assert str(caught.value) == "the model is sparse already: call nofm.desparsify first"
    with pytest.raises(InputError) as caught:
        nofm.sparsify(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)))
    assert str(caught.value) == (
        "the model has no layer to prune: at least one Linear, Conv1d or Conv2d is needed between "
        "the first layer and the head (or inner=True)"
    )
    with pytest.raises(InputError) as caught:
        nofm.sparsify(nn.Sequential(nn.Linear(4, 4, dtype=torch.complex64)), inner=True)
    assert str(caught.value) == (
        "layer '0': weights must be one of float16, bfloat16, float32, float64 to be sparse, not "
        "complex64"
    )


if __name__ == "__main__":
    replica(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
