"""Networks by name. Each has a torch factory, and its training step stored as a trace.

The stored traces are of batch 1 and are loaded without torch; `python -m nofm.workloads.networks`
captures them anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from nofm.kernels.errors import unknown
from nofm.workloads import trace_file
from nofm.workloads.trace import Trace

if TYPE_CHECKING:
    import torch

TRACES = Path(__file__).parent / "traces"
"""Folder of the stored traces."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network.

    Attributes:
        name: as on the command line.
        title: for people.
        factory: `package.module:function`; called without arguments it makes the torch model.
        sample: sizes of one input sample, and its element type where that is not float32.
        batch: samples a step unless asked otherwise.
        dataset: where the sizes of samples and outputs come from.
        source: of the architecture.
        inner: it is an inner part of a network: it has no first layer and no head.
        assumptions: what its sources leave open, and what was chosen.
    """

    name: str
    title: str
    factory: str
    sample: str
    batch: int
    dataset: str
    source: str
    inner: bool = False
    assumptions: str = ""

    def inputs(self, batch: int) -> str:
        """The model's input at a batch, as `nofm.workloads.tensor_spec` reads it."""
        return f"{batch}x{self.sample}"


def _factory(module_and_function: str) -> str:
    return f"nofm.workloads.networks.{module_and_function}"


NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        Network(
            name="resnet9",
            title="ResNet-9",
            factory=_factory("resnet9:resnet9"),
            sample="3x32x32",
            batch=512,
            dataset="CIFAR-10, 10 classes",
            source="Page, DAWNBench 2018",
            assumptions="the paper does not say which ResNet-9: DAWNBench's",
        ),
        Network(
            name="vit",
            title="ViT-S/4",
            factory=_factory("vit:vit"),
            sample="3x32x32",
            batch=512,
            dataset="CIFAR-100, 100 classes",
            source="Dosovitskiy et al., 2020; size S of Touvron et al., 2021",
            assumptions="the paper does not say which ViT: patches of 4, width 384, depth 12, "
            "6 heads",
        ),
        Network(
            name="vgg19",
            title="VGG-19",
            factory=_factory("vgg:vgg19"),
            sample="3x32x32",
            batch=512,
            dataset="CIFAR-100, 100 classes",
            source="Simonyan and Zisserman, 2014",
            assumptions="with batch normalisation and a single linear layer, as usual at 32x32",
        ),
        Network(
            name="resnet18",
            title="ResNet-18",
            factory=_factory("resnet:resnet18"),
            sample="3x64x64",
            batch=512,
            dataset="Tiny ImageNet, 200 classes",
            source="He et al., 2015",
            assumptions="the stem of ImageNet (7x7, stride 2, pooling) at 64x64",
        ),
        Network(
            name="resnet50",
            title="ResNet-50",
            factory=_factory("resnet:resnet50"),
            sample="3x224x224",
            batch=512,
            dataset="ImageNet, 1000 classes",
            source="He et al., 2015",
            assumptions="the stride of a bottleneck is in its 3x3 convolution",
        ),
        Network(
            name="mobilenetv2",
            title="MobileNetV2",
            factory=_factory("mobilenetv2:mobilenetv2"),
            sample="3x224x224",
            batch=512,
            dataset="ImageNet, 1000 classes",
            source="Sandler et al., 2018",
        ),
        Network(
            name="bert-base",
            title="BERT-base",
            factory=_factory("bert:bert_base"),
            sample="128:int64",
            batch=32,
            dataset="sentence classification, 128 tokens, 2 classes",
            source="Devlin et al., 2018",
            assumptions="no padding",
        ),
        Network(
            name="gpt2",
            title="GPT-2 small",
            factory=_factory("gpt2:gpt2"),
            sample="1024:int64",
            batch=8,
            dataset="language modelling, 1024 tokens",
            source="Radford et al., 2019",
            assumptions="attention multiplies whole matrices, also above the diagonal",
        ),
        Network(
            name="llama-block",
            title="Llama-2-7B, one block",
            factory=_factory("llama:llama_block"),
            sample="2048x4096",
            batch=1,
            dataset="language modelling, 2048 tokens",
            source="Touvron et al., 2023",
            inner=True,
            assumptions="attention multiplies whole matrices, also above the diagonal",
        ),
    )
}
"""Every network by name."""


def network(name: str) -> Network:
    """A network by name.

    Raises:
        InputError: no such network.
    """
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    return NETWORKS[name]


def load(name: str, batch: int | None = None) -> Trace:
    """The training step of a network, from its stored trace.

    Args:
        batch: samples a step; the network's own default without it.

    Raises:
        InputError: no such network, or a batch out of range.
    """
    found = network(name)
    return _stored(name).with_batch(found.batch if batch is None else batch)


@cache
def _stored(name: str) -> Trace:
    return trace_file.load(trace_path(name))


def trace_path(name: str) -> Path:
    """Where a network's trace is stored."""
    return TRACES / f"{name}.safetensors"


def build(name: str) -> torch.nn.Module:
    """A network's torch model, on the meta device.

    Raises:
        InputError: no such network.
    """
    from nofm.workloads import meta_model

    return meta_model.build(network(name).factory)


def capture(name: str, batch: int = 1) -> Trace:
    """The training step of a network, captured anew from its torch model.

    Raises:
        InputError: no such network.
    """
    from nofm.workloads import capture

    found = network(name)
    return capture.capture(build(name), found.inputs(batch), name=name, inner=found.inner)
