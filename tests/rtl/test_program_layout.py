"""What layouts and pipelines of programs are worth: banks without conflicts, tiles loaded once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nofm.dataflow.accelerator import load
from nofm.dataflow.methods import METHODS
from nofm.dataflow.products import products
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import DENSE, Pattern
from nofm.rtl.program.banks import cycles
from nofm.rtl.program.image import feature_map
from nofm.rtl.program.layout import Tensors
from nofm.rtl.program.lower import lower
from nofm.rtl.program.product import Target, _Pipeline, fitting, program
from nofm.rtl.program.tiles import Cut
from nofm.workloads.layer import Convolution, Linear, WeightLayer


def conv(**sizes: Any) -> Convolution:
    given = {
        "batch": 2,
        "in_channels": 64,
        "out_channels": 64,
        "size": (16, 16),
        "kernel": (3, 3),
        "stride": (1, 1),
        "padding": ((1, 1), (1, 1)),
        "dilation": (1, 1),
        **sizes,
    }
    return Convolution(name="c", **given)


def places(layer: WeightLayer) -> Tensors:
    if isinstance(layer, Linear):
        size: tuple[int, ...] = (layer.rows,)
        out, ci, co = size, layer.in_features, layer.out_features
    else:
        size, out = layer.size, layer.output_size
        ci, co = layer.in_channels, layer.out_channels
    first, second = feature_map(layer, size, ci, 1000), feature_map(layer, out, co, 2_000_000)
    return Tensors(
        input=first,
        input_gradient=first,
        output=second,
        gradient=second,
        weight=4_000_000,
        along_large=5_000_000,
        along_small=6_000_000,
        weight_gradient=7_000_000,
    )


def test_cycles_of_banks() -> None:
    """A word is given to all that want it; other words of its bank wait."""
    at = np.array([[0, 1, 2, 3], [0, 0, 4, 4], [0, 4, 8, 12], [8, 9, 8, 9]])
    assert cycles(at, 4, 0) == 1 + 2 + 4 + 1
    assert cycles(at, 4, 1) == 1 + 1 + 1 + 1
    assert cycles(at, 2, 0, port=4) == 1 + 1 + 2 + 1


LAYERS = {
    "linear": Linear(name="l", batch=64, in_features=128, out_features=128),
    "3x3": conv(),
    "1x1": conv(kernel=(1, 1), padding=((0, 0), (0, 0))),
    "5x5": conv(kernel=(5, 5), padding=((2, 2), (2, 2))),
    "stride 2": conv(stride=(2, 2)),
    "1-D": conv(size=(64,), kernel=(3,), stride=(1,), padding=((1, 1),), dilation=(1,)),
}
SLOW = {("stride 2", "ff", "os"), ("stride 2", "wu", "ws")}
"""What waits for banks; all else does not."""


@pytest.mark.parametrize("dataflow", ["ws", "os"])
@pytest.mark.parametrize("stage", ["ff", "bp", "wu"])
@pytest.mark.parametrize("name", LAYERS)
def test_no_conflicts(name: str, stage: str, dataflow: Any) -> None:
    """Usual layers are fed at a request a cycle on the paper's array."""
    target = Target(load("sat-32x32").with_values(**{"dram.bandwidth_gbps": 12.8}))
    layer, pattern = LAYERS[name], Pattern(2, 8)
    method = METHODS["bdwp"]
    parts = lower(layer, stage, method, pattern, places(layer))
    for product, own in zip(products(layer, stage, method, pattern), parts, strict=True):
        cut = Cut(
            dataflow=dataflow,
            interleave=4,
            tile_m=min(product.m, 256),
            tile_length=product.length if stage != "wu" else min(product.length, 256),
            tile_n=product.n,
        )
        if dataflow == "os" and cut.tile_length < product.length:
            cut = replace(cut, tile_m=32, tile_n=min(cut.tile_n, 128))
        found, _ = fitting(target, own, cut)
        pipeline = _Pipeline(target, own, found)
        step = pipeline.steps[0]
        left, ideal_left = pipeline.left[0].wait(
            pipeline._left_tile(step), pipeline.left_pitches, step.m, dataflow == "ws"
        )
        right, ideal_right = pipeline.right[0].wait(
            pipeline._right_tile(step),
            pipeline.right_pitches,
            pipeline._array(step),
            target.geometry,
        )
        assert right == ideal_right
        most = 2 if (name, stage, dataflow) in SLOW else 1
        assert left <= most * ideal_left, (left, ideal_left)


def test_tiles_are_loaded_once() -> None:
    """A tile stays until another one is needed, and the other operand's order says when."""
    layer = Linear(name="l", batch=16, in_features=32, out_features=32)
    target = Target(load("sat-4x4"))
    (parts,) = lower(layer, "ff", METHODS["dense"], DENSE, places(layer))
    cut = Cut(dataflow="ws", interleave=1, tile_m=4, tile_length=32, tile_n=16)
    for m_outer, loads in ((True, (4, 8)), (False, (8, 2))):
        jobs = program(target, parts, replace(cut, m_outer=m_outer))
        units = [each.operation for each in jobs]
        assert (units.count("load_activations"), units.count("load_weights")) == loads
        assert units.count("product") == units.count("store") == 8


def test_order_of_dispatch() -> None:
    """Loads of the next tile and the store of the one before run beside a product, and each product
    waits for all of them."""
    layer = Linear(name="l", batch=12, in_features=8, out_features=8)
    target = Target(load("sat-4x4"))
    (parts,) = lower(layer, "ff", METHODS["dense"], DENSE, places(layer))
    jobs = program(
        target, parts, Cut(dataflow="os", interleave=2, tile_m=4, tile_length=8, tile_n=8)
    )
    short = {"load_activations": "a", "load_weights": "w", "product": "P", "store": "s"}
    assert "".join(short[each.operation] for each in jobs) == "awPaPasPss"
    assert [bool(each.wait) for each in jobs] == [
        True,
        False,
        True,
        False,
        True,
        False,
        False,
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("layer", "stage", "cut", "error"),
    [
        (
            conv(size=(400, 400), in_channels=1024),
            "ff",
            {"tile_length": 1024},
            "a tile of the left operand must fit half of the activation buffer, 524288 elements, "
            "and needs ",
        ),
        (
            conv(),
            "ff",
            {"dataflow": "os", "tile_length": 8, "tile_m": 64, "tile_n": 64},
            "a reduction that is cut in OS must be a single fold, not 2 x 1",
        ),
        (conv(), "ff", {"tile_length": 12}, "tile_length must be a multiple of 8, like groups"),
        (
            conv(
                size=(4, 4, 4),
                kernel=(1, 1, 1),
                stride=(1,) * 3,
                padding=((0, 0),) * 3,
                dilation=(1,) * 3,
            ),
            "ff",
            {},
            "layer 'c': a program has convolutions of 1 or 2 dimensions, not 3",
        ),
        (conv(), "bp of sdgp", {}, "layer 'c': BP with a sparse gradient has no program yet"),
        (conv(), "no place", {}, "layer 'c': its output has no place in memory"),
    ],
)
def test_refused(layer: Convolution, stage: str, cut: dict[str, Any], error: str) -> None:
    """One line says what cannot be compiled."""
    target, pattern = (
        Target(load("sat-32x32").with_values(**{"dram.bandwidth_gbps": 12.8})),
        Pattern(2, 8),
    )
    at = places(layer) if stage != "no place" else replace(places(layer), output=None)
    method = METHODS["sdgp" if stage == "bp of sdgp" else "bdwp"]
    given = {
        "dataflow": "ws",
        "interleave": 4,
        "tile_m": 64,
        "tile_length": 64,
        "tile_n": 64,
        **cut,
    }

    def compiled() -> None:
        (parts,) = lower(layer, "bp" if "bp" in stage else "ff", method, pattern, at)
        program(target, parts, Cut(**given))

    with pytest.raises(InputError) as found:
        compiled()
    assert error in str(found.value)
