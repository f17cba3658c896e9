"""The networks: published sizes, and stored traces that equal what is captured anew."""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nofm.kernels.errors import InputError
from nofm.workloads import networks, trace_file
from nofm.workloads.layer import Convolution, Layer, Linear, MatMul, WeightLayer
from nofm.workloads.networks import NETWORKS

PAPER = ("resnet9", "vit", "vgg19", "resnet18", "resnet50")


def forward_macs(layers: tuple[Layer, ...]) -> int:
    total = 0
    for layer in layers:
        if isinstance(layer, MatMul):
            total += layer.batch * layer.count * layer.m * layer.k * layer.n
        elif isinstance(layer, Linear):
            total += layer.batch * layer.rows * layer.weight_elements
        elif isinstance(layer, Convolution):
            total += layer.batch * math.prod(layer.output_size) * layer.weight_elements
    return total


def training_macs(layers: tuple[Layer, ...]) -> int:
    """Forward, backward and weight-update multiply-accumulates."""
    total = 0
    for layer in layers:
        if isinstance(layer, WeightLayer):
            stages = 1 + layer.input_gradient + layer.weight_gradient
        elif isinstance(layer, MatMul):
            stages = 1 + layer.input_gradient + layer.second_gradient
        else:
            continue
        total += stages * forward_macs((layer,))
    return total


def test_the_paper_s_five_networks_are_there() -> None:
    assert tuple(NETWORKS)[:5] == PAPER


def test_every_network_has_a_stored_trace_and_no_file_is_left_over() -> None:
    stored = sorted(path.name for path in networks.TRACES.iterdir())
    assert stored == sorted(f"{name}.safetensors" for name in NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_loads_at_its_batch_and_at_any_other(name: str) -> None:
    trace = networks.load(name)
    assert (trace.name, trace.batch) == (name, NETWORKS[name].batch)
    assert trace == networks.load(name, 7).with_batch(NETWORKS[name].batch)
    assert forward_macs(networks.load(name, 6).layers) == 6 * forward_macs(
        networks.load(name, 1).layers
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_first_layers_and_the_head_stay_dense(name: str) -> None:
    dense = [layer.name for layer in networks.load(name).weight_layers if not layer.prunable]
    expected = {
        "resnet9": ["prepare.0", "head"],
        "vit": ["patches", "head"],
        "vgg19": ["features.0", "head"],
        "bert-base": ["head"],  # their first layer is an embedding
        "gpt2": ["head"],
        "llama-block": [],
    }
    assert dense == expected.get(name, ["stem.0", "head"])


@pytest.mark.parametrize("name", NETWORKS)
def test_only_first_layers_lack_a_backward_pass(name: str) -> None:
    trace = networks.load(name)
    without = [layer.name for layer in trace.weight_layers if not layer.input_gradient]
    assert without == [
        layer.name for layer in trace.weight_layers if not layer.prunable and layer.name != "head"
    ]
    assert all(layer.weight_gradient for layer in trace.weight_layers)
    assert all(
        layer.input_gradient and layer.second_gradient
        for layer in trace.layers
        if isinstance(layer, MatMul)
    )


def test_an_unknown_network() -> None:
    with pytest.raises(InputError) as error:
        networks.load("resnet19")
    assert str(error.value) == (
        "unknown network 'resnet19': did you mean resnet9 or resnet18 or resnet50? (known: "
        + ", ".join(NETWORKS)
        + ")"
    )


def test_a_bad_batch() -> None:
    with pytest.raises(InputError) as error:
        networks.load("resnet18", 0)
    assert str(error.value) == "batch must be a whole number from 1 to 2147483647, not 0"


def test_loading_needs_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from nofm.workloads import networks; networks.load('resnet50');"
        "assert not {'torch', 'numpy', 'pandas', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------------------------------------
# With torch


@pytest.mark.parametrize("name", NETWORKS)
def test_stored_traces_equal_what_is_captured(name: str) -> None:
    pytest.importorskip("torch")
    stored = networks.load(name, 1)
    fresh = networks.capture(name)
    assert replace(fresh, source=stored.source) == stored
    assert stored.notes == ()
    assert replace(networks.capture(name, 3), source=stored.source) == stored.with_batch(3)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_is_a_weight_or_counted_besides(name: str) -> None:
    pytest.importorskip("torch")
    weights = {layer.weight: layer.weight_elements for layer in networks.load(name).weight_layers}
    total = sum(parameter.numel() for parameter in networks.build(name).parameters())
    assert sum(weights.values()) + networks.load(name).parameters == total


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"mobilenetv2"}))
def test_training_macs_are_those_of_torch_s_flop_counter(name: str) -> None:
    # It takes weight gradients of depthwise convolutions for dense ones: no MobileNetV2 here.
    torch = pytest.importorskip("torch")
    flop_counter = importlib.import_module("torch.utils.flop_counter")
    tensor_spec = importlib.import_module("nofm.workloads.tensor_spec")
    found = NETWORKS[name]
    spec = tensor_spec.parse(found.inputs(2))
    inner = {"requires_grad": True} if found.inner else {}
    x = torch.empty(spec.shape, dtype=getattr(torch, spec.dtype), device="meta", **inner)
    with (
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        flop_counter.FlopCounterMode(display=False) as counter,
    ):
        networks.build(name)(x).sum().backward()
    assert 2 * training_macs(networks.load(name, 2).layers) == counter.get_total_flops()


@pytest.mark.parametrize(
    ("module", "factory", "options", "parameters"),
    [
        # torchvision's published counts
        ("resnet", "resnet18", {"num_classes": 1000}, 11_689_512),
        ("resnet", "resnet50", {}, 25_557_032),
        ("mobilenetv2", "mobilenetv2", {}, 3_504_872),
        # ... and of vgg19_bn, less its three linear layers, plus a linear one
        ("vgg", "vgg19", {}, 143_678_248 - 123_642_856 + 512 * 100 + 100),
        # DeiT-S
        ("vit", "vit", {"num_classes": 1000, "image_size": 224, "patch_size": 16}, 22_050_664),
        # bert-base-uncased of Hugging Face, and a classifier
        ("bert", "bert_base", {}, 109_482_240 + 768 * 2 + 2),
        ("gpt2", "gpt2", {}, 124_439_808),
        # 7B, less embedding, head and last norm, over 32 blocks
        ("llama", "llama_block", {}, (6_738_415_616 - 2 * 32_000 * 4096 - 4096) // 32),
        # eight 3x3 convolutions, their normalisations, and the head
        (
            "resnet9",
            "resnet9",
            {},
            9 * (3 * 64 + 64 * 128 + 2 * 128**2 + 128 * 256 + 256 * 512 + 2 * 512**2)
            + 2 * (64 + 3 * 128 + 256 + 3 * 512)
            + 5120,
        ),
    ],
)
def test_parameters_are_the_published_ones(
    module: str, factory: str, options: dict[str, int], parameters: int
) -> None:
    torch = pytest.importorskip("torch")
    found = importlib.import_module(f"nofm.workloads.networks.{module}")
    with torch.device("meta"):
        model = getattr(found, factory)(**options)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize(
    ("module", "factory", "options", "sample", "gigamacs"),
    [
        # torchvision's published counts
        ("resnet", "resnet18", {"num_classes": 1000}, "3x224x224", 1.81),
        ("resnet", "resnet50", {}, "3x224x224", 4.09),
        ("mobilenetv2", "mobilenetv2", {}, "3x224x224", 0.30),
        # DeiT's table 5 says 4.6
        ("vit", "vit", {"image_size": 224, "patch_size": 16}, "3x224x224", 4.60),
    ],
)
def test_forward_macs_are_the_published_ones(
    module: str, factory: str, options: dict[str, int], sample: str, gigamacs: float
) -> None:
    torch = pytest.importorskip("torch")
    capture = importlib.import_module("nofm.workloads.capture")
    found = importlib.import_module(f"nofm.workloads.networks.{module}")
    with torch.device("meta"):
        model = getattr(found, factory)(**options)
    macs = forward_macs(capture.capture(model, f"2x{sample}").layers) / 2
    assert round(macs / 1e9, 2) == gigamacs


@pytest.mark.parametrize(
    ("name", "tokens", "width", "depth", "weights"),
    [
        # A block's linear layers have 12 width^2 weights; attention multiplies twice.
        ("bert-base", 128, 768, 12, 12 * 768**2),
        ("gpt2", 1024, 768, 12, 12 * 768**2),
        ("vit", 65, 384, 12, 12 * 384**2),
        ("llama-block", 2048, 4096, 1, 4 * 4096**2 + 3 * 4096 * 11008),
    ],
)
def test_macs_of_transformers_follow_from_their_sizes(
    name: str, tokens: int, width: int, depth: int, weights: int
) -> None:
    ends = {
        "bert-base": 768 * 768 + 768 * 2,
        "gpt2": tokens * width * 50257,
        "vit": 64 * 3 * 16 * 384 + 384 * 100,
    }
    blocks = depth * (tokens * weights + 2 * tokens**2 * width)
    assert forward_macs(networks.load(name, 1).layers) == blocks + ends.get(name, 0)


def test_traces_are_captured_anew_by_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    command = importlib.import_module("nofm.workloads.networks.__main__")
    monkeypatch.setattr(networks, "TRACES", tmp_path)
    assert command.main(["resnet9", "llama-block"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "llama-block.safetensors",
        "resnet9.safetensors",
    ]
    assert capsys.readouterr().out == (
        f"{tmp_path}/resnet9.safetensors\n{tmp_path}/llama-block.safetensors\n"
    )
    assert trace_file.load(tmp_path / "resnet9.safetensors").layers == (
        networks.load("resnet9", 1).layers
    )
    assert command.main(["resnet"]) == 2
    assert capsys.readouterr().err.startswith("unknown network 'resnet': did you mean resnet")
