"""What the scheduler says it considered is what it chose from."""

import pytest

from nofm.dataflow.accelerator import load
from nofm.dataflow.methods import METHODS
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.simulator.explain import considered
from nofm.simulator.step import Options, simulate_step
from nofm.workloads.layer import Convolution, Linear
from nofm.workloads.trace import Trace

TRACE = Trace(
    "small",
    4,
    (
        Convolution(
            name="conv",
            batch=4,
            in_channels=16,
            out_channels=48,
            size=(16, 16),
            kernel=(3, 3),
            stride=(2, 2),
            padding=((1, 1), (1, 1)),
            dilation=(1, 1),
        ),
        Linear(name="head", batch=4, in_features=48 * 64, out_features=10, prunable=False),
    ),
)
ARGUMENTS = (TRACE, load("sat-4x4"), METHODS["bdwp"], Pattern(2, 8), Options())


@pytest.mark.parametrize("layer", ["conv", "head"])
def test_chosen_mappings_are_the_step_and_none_was_faster(layer):
    rows = considered(*ARGUMENTS, layer)
    step = simulate_step(*ARGUMENTS).layers
    step = step[(step["layer"] == layer) & (step["macs"] > 0)]
    for stage, cycles, parts, compared in zip(
        step["stage"], step["cycles"], step["parts"], step["considered"], strict=True
    ):
        of_stage = [row for row in rows if row["stage"] == stage]
        chosen = [row for row in of_stage if row["chosen"]]
        assert [row["part"] for row in chosen] == list(range(parts))
        assert sum(row["cycles"] for row in chosen) == cycles
        for row in of_stage:
            best = next(c for c in chosen if c["part"] == row["part"])
            assert (best["cycles"], best["dram_bytes"]) <= (row["cycles"], row["dram_bytes"])
        distinct = {(row["m"], row["k"], row["n"], row["tile"], row["cycles"]) for row in of_stage}
        assert len(of_stage) >= compared >= len(distinct) / 2


def test_a_layer_without_products_is_refused():
    with pytest.raises(InputError) as caught:
        considered(*ARGUMENTS, "cov")
    assert str(caught.value) == (
        "unknown layer with a product 'cov': did you mean conv? (known: conv, head)"
    )
