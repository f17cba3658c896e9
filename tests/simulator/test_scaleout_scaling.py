"""Whole steps on many boards: one board is the simulated step, bytes are those of the kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nofm
from nofm.dataflow.accelerator import load
from nofm.dataflow.methods import METHODS
from nofm.kernels.compressed import compress
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import DENSE, Pattern
from nofm.simulator.report import figures, scaling_figure
from nofm.simulator.scaleout import gradients, interconnect
from nofm.simulator.scaleout.gradients import EXCHANGES, local_step
from nofm.simulator.step import Options, simulate_step
from nofm.workloads.layer import Convolution, Linear
from nofm.workloads.trace import Trace

MACHINE = load("sat-32x32")
PATTERN = Pattern(2, 8)
CONV = {
    "kernel": (3, 3),
    "stride": (1, 1),
    "padding": ((1, 1), (1, 1)),
    "dilation": (1, 1),
    "size": (8, 8),
}


def made(batch: int = 16, **options: Any) -> Trace:
    """A convolution and linear layers, of which the first is not pruned and one is ragged."""
    return Trace(
        name="made",
        batch=batch,
        layers=(
            Linear(
                name="in",
                batch=batch,
                in_features=64,
                out_features=96,
                prunable=False,
                input_gradient=False,
            ),
            Convolution(name="conv", batch=batch, in_channels=96, out_channels=200, **CONV),
            Linear(name="ragged", batch=batch, in_features=200, out_features=76),
            Linear(name="out", batch=batch, in_features=76, out_features=1000),
        ),
        parameters=1234,
        **options,
    )


def one_board(trace: Trace, method: str, pattern: Pattern, **options: Any) -> gradients.LocalStep:
    kind = METHODS[method]
    result = simulate_step(trace, MACHINE, kind, pattern, Options(**options))
    return local_step(result, trace, kind, pattern)


@pytest.mark.parametrize("method", ["dense", "bdwp", "sdgp", "asp"])
@pytest.mark.parametrize("pregeneration", [True, False])
def test_one_board_is_the_simulated_step(method: str, pregeneration: bool) -> None:
    exchanges = [name for name in EXCHANGES if name != "shared-mask" or method in ("bdwp", "asp")]
    for exchange in exchanges:
        found = nofm.scale_out(
            made(), method=method, exchange=exchange, boards=[1], pregeneration=pregeneration
        ).points
        step = nofm.simulate(made(), method=method, pregeneration=pregeneration)
        for _, row in found.iterrows():
            assert row["cycles"] == step.total["cycles"]
            assert row["seconds"] == step.total["seconds"]
            assert row["speedup"] == step.total["speedup"]
            assert (row["exposed_cycles"], row["communication_cycles"]) == (0, 0)
            assert (row["efficiency"], row["algorithms"]) == (1.0, "")


def test_stages_are_those_of_the_step() -> None:
    step = one_board(made(), "bdwp", PATTERN)
    rows = nofm.simulate(made()).layers
    by_stage = rows.groupby("stage")["cycles"].sum()
    assert step.forward_cycles == by_stage["ff"]
    assert step.backward_cycles == by_stage["bp"] + by_stage["wu"]
    assert sum(item.update_cycles for item in step.gradients) == by_stage["update"]


def test_gradients_are_ready_when_their_product_ends() -> None:
    step = one_board(made(), "bdwp", PATTERN)
    rows = nofm.simulate(made()).layers
    computed = rows[rows["stage"] != "update"]
    ends = dict(
        zip(
            zip(computed["layer"], computed["stage"], strict=True),
            computed["cycles"].cumsum(),
            strict=True,
        )
    )
    expected = [(name, ends[name, "wu"]) for name in ("out", "ragged", "conv", "in")]
    expected.append(("(other parameters)", computed["cycles"].sum()))
    assert [(item.layer, item.ready_cycle) for item in step.gradients] == expected


def test_a_shared_weight_is_ready_when_its_last_product_ends() -> None:
    layers = tuple(
        Linear(name=name, batch=4, in_features=64, out_features=64, weight=weight)
        for name, weight in (("a", "tied"), ("b", "own"), ("c", "tied"))
    )
    trace = Trace(name="tied", batch=4, layers=layers)
    step = one_board(trace, "dense", DENSE)
    assert [item.layer for item in step.gradients] == ["b", "a"]
    assert step.gradients[1].ready_cycle == step.pass_cycles


@pytest.mark.parametrize("pattern", ["2:8", "1:4", "4:16"])
def test_bytes_are_those_of_the_compressed_format(pattern: str) -> None:
    parsed = Pattern.parse(pattern)
    step = one_board(made(), "bdwp", parsed)
    found = {item.layer: item for item in step.gradients}
    rng = np.random.default_rng(1)
    for name, shape in (("conv", (9, 96, 200)), ("ragged", (1, 200, 76)), ("out", (1, 76, 1000))):
        weight = rng.standard_normal(shape).astype(np.float16)
        forward = compress(weight, parsed)
        backward = compress(np.ascontiguousarray(np.swapaxes(weight, 1, 2)), parsed)
        assert found[name].gradient_bytes == weight.nbytes
        assert found[name].kept_bytes == forward.value_bytes
        bits = [
            8 * form.value_bytes + form.value_bytes // 2 * parsed.index_bits
            for form in (forward, backward)
        ]
        assert [form.value_bytes + form.index_bytes for form in (forward, backward)] == [
            -(-count // 8) for count in bits
        ]
        assert found[name].weight_bytes == -(-sum(bits) // 8)
    for name in ("in", "(other parameters)"):  # nothing is pruned there
        item = found[name]
        assert item.kept_bytes == item.gradient_bytes == item.weight_bytes == 2 * item.elements


def test_weights_that_are_pruned_before_products_travel_dense() -> None:
    step = one_board(made(), "bdwp", PATTERN, pregeneration=False)
    assert all(item.weight_bytes == item.gradient_bytes for item in step.gradients)


def scaled(**options: Any) -> nofm.ScaleOut:
    arguments: dict[str, Any] = {
        "boards": [1, 2, 4, 8, 16, 32, 1024],
        "interconnect": "pcie4-hosts",
        "bucket_mib": 0.05,
    }
    return nofm.scale_out(made(), **arguments | options)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_laws_of_scaling(exchange: str) -> None:
    result = scaled(exchange=exchange, global_batch=64)
    points = result.points
    parts = ["forward_cycles", "backward_cycles", "update_cycles", "exposed_cycles"]
    assert (points["cycles"] == points[parts].sum(axis=1)).all()
    assert (points["global_batch"] == points["boards"] * points["local_batch"]).all()
    assert (points["exposed_cycles"] <= points["communication_cycles"]).all()
    assert (points["cycles"] >= points["communication_cycles"]).all()
    weak = points[points["scaling"] == "weak"]
    strong = points[points["scaling"] == "strong"]
    assert list(weak["boards"]) == [1, 2, 4, 8, 16, 32, 1024]
    assert set(weak["local_batch"]) == {16}
    assert list(strong["boards"]) == [1, 2, 4, 8, 16, 32]
    assert list(strong["local_batch"]) == [64, 32, 16, 8, 4, 2]
    assert set(strong["global_batch"]) == {64}
    for rows in (weak, strong):
        first = rows.iloc[0]
        assert (first["boards"], first["efficiency"], first["scaling_speedup"]) == (1, 1.0, 1.0)
        ratio = rows["samples_per_second"] / first["samples_per_second"]
        assert np.allclose(rows["scaling_speedup"], ratio, rtol=1e-12)
        assert np.allclose(rows["efficiency"], ratio / rows["boards"], rtol=1e-12)
    if exchange != "sharded":  # there, boards also share the work of updates
        assert (points["efficiency"] <= 1 + 1e-12).all()


def test_each_local_batch_is_what_simulate_gives() -> None:
    strong = scaled(global_batch=64).points.query("scaling == 'strong'")
    for _, row in strong.iterrows():
        step = nofm.simulate(made(int(row["local_batch"])))
        assert row["cycles"] - row["exposed_cycles"] == step.total["cycles"]


def test_a_network_without_cost_scales_ideally() -> None:
    free = interconnect.from_document(
        {
            "name": "free",
            "reduction": "streamed",
            "link": {"gigabits": 1e6, "payload": 1.0, "latency_us": 0.0},
        },
        "free",
    )
    machine = MACHINE.with_values(**{"dram.bandwidth_gbps": 6000.0})
    points = nofm.scale_out(
        made(), hardware=machine, interconnect=free, boards=[1, 64, 1 << 17], exchange="dense"
    ).points
    weak = points[points["scaling"] == "weak"]
    assert weak["efficiency"].iloc[-1] > 0.99


def test_dense_training_is_compared_on_the_same_boards() -> None:
    points = scaled(boards=[1, 8]).points
    dense = scaled(boards=[1, 8], method="dense").points
    assert list(points["dense_cycles"]) == list(dense["cycles"])
    assert set(dense["speedup"]) == {1.0}
    masked = scaled(boards=[1, 8], exchange="shared-mask").points
    assert list(masked["dense_cycles"]) == list(dense["cycles"])


def test_less_overlap_is_never_faster() -> None:
    ahead, after = (scaled(overlap=overlap).points for overlap in (True, False))
    assert (ahead["cycles"] <= after["cycles"]).all()
    assert (ahead["cycles"] < after["cycles"]).any()


def test_contention_bound_is_the_time_of_the_networks_dram_traffic() -> None:
    result = scaled()
    points = result.points
    seconds = points["dram_bytes"] / (MACHINE.dram.bandwidth_gbps * 1e9)
    assert np.allclose(points["contention_bound"], seconds / points["seconds"], rtol=1e-12)
    assert (points["dram_bytes"] >= 2 * points["sent_bytes"]).all()


def test_notes_say_what_is_left_out() -> None:
    result = scaled(boards=[1, 3, 7], global_batch=14, exchange="shared-mask")
    assert result.notes[0] == (
        "strong scaling leaves out 3 boards: a global batch of 14 does not divide among them"
    )
    assert any("BDWP also trains with the gradients" in note for note in result.notes)
    fixed = scaled(boards=[1], method="asp", exchange="shared-mask")
    assert not any("also trains with" in note for note in fixed.notes)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"exchange": "sparse"},
            "unknown exchange 'sparse': did you mean sharded? (known: dense, shared-mask, sharded)",
        ),
        (
            {"exchange": "shared-mask", "method": "sdgp"},
            "exchange shared-mask needs a method that prunes weights, which 'sdgp' does not",
        ),
        (
            {"exchange": "shared-mask", "method": "dense"},
            "exchange shared-mask needs a method that prunes weights, which 'dense' does not",
        ),
        ({"boards": []}, "at least one number of boards is needed, not none"),
        ({"boards": [0]}, "boards must be a whole number from 1 to 1048576, not 0"),
        ({"boards": [2.0]}, "boards must be a whole number from 1 to 1048576, not 2.0"),
        (
            {"global_batch": 0},
            "global batch must be a whole number from 1 to 2147483647, not 0",
        ),
        ({"bucket_mib": 0.0}, "bucket_mib must be more than 0 and at most 1048576, not 0.0"),
        (
            {"bucket_mib": float("nan")},
            "bucket_mib must be more than 0 and at most 1048576, not nan",
        ),
        (
            {"algorithm": "doubling", "exchange": "sharded"},
            "algorithm doubling shares whole vectors: it scatters and gathers no parts of them",
        ),
    ],
)
def test_what_cannot_be_scaled(options: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        scaled(**options)
    assert str(caught.value) == line


@pytest.mark.parametrize("options", [{}, {"method": "dense"}, {"boards": [1]}])
def test_picture(options: dict[str, Any]) -> None:
    result = scaled(**options)
    drawn = scaling_figure.figure(result)
    assert len(figures.render(drawn, "png")) > 10_000
    titles = [axes.get_title(loc="left") for axes in drawn.axes]
    assert titles[0] == "a  throughput"
    assert len(titles) == (4 if result.method == "dense" else 5)
    weak = drawn.axes[-2]
    count = len(result.points.query("scaling == 'weak'"))
    heights = np.array([bar.get_height() for bar in weak.patches]).reshape(4, count)
    assert np.allclose(heights.sum(axis=0), 100)
