"""Traces that carry the tensors of a real step: recorded, written, read back, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from torch import nn

import nofm
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.workloads import trace_file
from nofm.workloads.layer import Convolution, Linear, WeightLayer
from nofm.workloads.recording import record
from nofm.workloads.step_tensors import StepTensors, Trained
from nofm.workloads.trace import Trace


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 6, 3, stride=2, groups=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 9, 20),
        nn.ReLU(),
        nn.Linear(20, 4),
    )


X = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def square(y: torch.Tensor) -> torch.Tensor:
    return y.square().mean()


def test_what_is_recorded_is_what_autograd_saw() -> None:
    model = network()
    trace, tensors = record(model, X, square)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert set(tensors.layers) == {"0", "2", "5", "7"}
    tensors.check(trace)
    for name, found in tensors.layers.items():
        layer = model[int(name)]
        x = torch.from_numpy(found["input"]).squeeze(1)
        y = layer(x)
        y.backward(torch.from_numpy(found["gradient"]).view_as(y))
    ours = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    square(model(X)).backward()
    for recorded, parameter in zip(ours, model.parameters(), strict=True):
        assert torch.allclose(recorded, parameter.grad, rtol=1e-5, atol=1e-7)


def test_zeros_are_measured() -> None:
    trace, tensors = record(network(), X, square)
    by_name = {layer.name: layer for layer in trace.weight_layers}
    assert by_name["0"].input_zeros_ppm == 0
    for name in ("2", "5", "7"):  # what a ReLU gives
        share = np.mean(tensors.layers[name]["input"] == 0)
        assert by_name[name].input_zeros_ppm == round(1e6 * share)
        assert 100_000 < by_name[name].input_zeros_ppm < 900_000
    assert by_name["5"].gradient_zeros_ppm > 100_000
    assert by_name["7"].gradient_zeros_ppm == 0
    assert trace.with_batch(64).weight_layers[1].input_zeros_ppm == by_name["2"].input_zeros_ppm


def test_a_sparse_model_is_recorded_as_it_trains() -> None:
    model = nofm.sparsify(network(), "bdwp", {"2": "2:4", "5": "1:4"})
    trace, tensors = record(model, X, square)
    _, dense = record(network(), X, square)
    assert tensors.trained == {
        "2": Trained("bdwp", Pattern(2, 4)),
        "5": Trained("bdwp", Pattern(1, 4)),
    }
    assert dense.trained == {}
    assert {layer.name: layer.prunable for layer in trace.weight_layers} == {
        "0": False,
        "2": True,
        "5": True,
        "7": False,
    }
    assert set(tensors.layers["7"]) == {"weight", "input", "gradient"}
    assert set(tensors.layers["5"]) == {*tensors.layers["7"], "ff_weight", "bp_weight"}
    for name, found in tensors.layers.items():
        assert np.array_equal(found["weight"], dense.layers[name]["weight"])
    assert not np.allclose(tensors.layers["5"]["gradient"], dense.layers["5"]["gradient"])
    assert np.array_equal(tensors.layers["2"]["input"], dense.layers["2"]["input"])
    assert not np.allclose(tensors.layers["5"]["input"], dense.layers["5"]["input"])


def test_gradients_that_were_there_stay() -> None:
    model = network()
    square(model(X)).backward()
    before = [parameter.grad for parameter in model.parameters()]
    kept = [gradient.clone() for gradient in before]
    record(model, X, square)
    for parameter, gradient, copy in zip(model.parameters(), before, kept, strict=True):
        assert parameter.grad is gradient
        assert torch.equal(gradient, copy)


@pytest.mark.parametrize("method", [None, "bdwp", "bimask", "fst"])
def test_a_file_carries_trace_and_tensors(tmp_path: Path, method: str | None) -> None:
    path = tmp_path / "net.safetensors"
    model = network() if method is None else nofm.sparsify(network(), method, "2:4")
    trace, tensors = record(model, X, square)
    trace_file.save(trace, path, tensors)
    assert trace_file.load(path) == trace
    back = trace_file.load_tensors(path)
    assert trace_file.load_step(path)[0] == trace
    assert back.trained == tensors.trained
    assert set(back.trained) == (set() if method is None else {"2", "5"})
    assert [name for name, _ in back.items()] == [name for name, _ in tensors.items()]
    for (name, ours), (_, theirs) in zip(back.items(), tensors.items(), strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs), name
    with path.open("rb") as file:
        assert trace_file.to_bytes(trace, tensors) == file.read()
    # The safetensors library reads the same.
    library = safetensors.numpy.load_file(path)
    assert all(np.array_equal(library[name], array) for name, array in tensors.items())


def test_a_trace_alone_has_no_tensors(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    trace, _ = record(network(), X, square)
    trace_file.save(trace, path)
    assert trace_file.load(path) == trace
    assert dict(trace_file.load_tensors(path).layers) == {}


FC = Linear(name="fc", batch=2, in_features=3, out_features=4)
TRACE = Trace(name="net", batch=2, layers=(FC,))
WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3)
BDWP = Trained("bdwp", Pattern(2, 4))
TENSORS = StepTensors({"fc": {"weight": WEIGHT, "input": np.zeros((2, 1, 3), np.float16)}})


def changed(**values: Any) -> bytes:
    """The file of `TENSORS` with members of its header's entry for the weight replaced; a name
    `rename` gives the tensor another."""
    data = trace_file.to_bytes(TRACE, TENSORS)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    entry = header.pop("fc/weight")
    name = values.pop("rename", "fc/weight")
    entry.update(values)
    text = json.dumps({"__metadata__": header["__metadata__"], name: entry, **header}).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def test_what_was_changed_so_is_read_as_it_was() -> None:
    assert trace_file.from_bytes(changed()) == TRACE


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (changed()[:-1], "the tensors take 60 bytes, but 59 follow the header"),
        (changed() + b"x", "the tensors take 60 bytes, but 61 follow the header"),
        (
            changed(rename="fc/bias"),
            "the tensor 'fc/bias' belongs to no layer of the trace",
        ),
        (
            changed(dtype="F64"),
            "unknown dtype of tensor fc/weight 'F64': did you mean F16? (known: F16, F32, I32)",
        ),
        (
            changed(data_offsets=[0, 24]),
            "tensor fc/weight: data_offsets must be [0, 48], not [0, 24]",
        ),
        (
            changed(shape=[4, 4]),
            "tensor fc/weight: data_offsets must be [0, 64], not [0, 48]",
        ),
        (
            changed(shape=[4, -3]),
            "tensor fc/weight: shape must be from 0 to 2^46 = 70368744177664, not -3",
        ),
    ],
)
def test_malformed_tensors(data: bytes, line: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(data)
    for read in (trace_file.load, trace_file.load_tensors):
        with pytest.raises(InputError) as caught:
            read(path)
        assert str(caught.value) == f"trace file '{path}': {line}"


@pytest.mark.parametrize(
    ("layers", "line"),
    [
        (
            {"fx": {}},
            "unknown layer of tensors 'fx': did you mean fc? (known: fc)",
        ),
        (
            {"fc": {"wait": WEIGHT}},
            "unknown tensor of layer 'fc' 'wait': did you mean weight or wu_gradient or gradient? "
            "(known: weight, input, gradient, ff_weight, bp_weight, bp_gradient, wu_gradient, "
            "bp_order)",
        ),
        (
            {"fc": {"weight": WEIGHT.T}},
            "layer 'fc': weight must be float16 or float32 [4, 3], not float32 [3, 4]",
        ),
        (
            {"fc": {"weight": WEIGHT.astype(float)}},
            "layer 'fc': weight must be float16 or float32 [4, 3], not float64 [4, 3]",
        ),
    ],
)
def test_tensors_that_do_not_fit(layers: Any, line: str) -> None:
    with pytest.raises(InputError) as caught:
        trace_file.to_bytes(TRACE, StepTensors(layers))
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("layers", "trained", "line"),
    [
        (
            {"fc": {}},
            {"fd": BDWP},
            "unknown layer that a method trained 'fd': did you mean fc? (known: fc)",
        ),
        (
            {"fc": {"ff_weight": WEIGHT}},
            {},
            "layer 'fc': ff_weight is of a method, but none trained it",
        ),
        (
            {"fc": {"bp_order": np.array([[0, 1, 2]], np.int32)}},
            {"fc": BDWP},
            "layer 'fc': bp_order must be int32 [1, 4], not int32 [1, 3]",
        ),
        (
            {"fc": {"bp_order": np.array([[0, 1, 2, 2]], np.int32)}},
            {"fc": BDWP},
            "layer 'fc': bp_order must have each of the 4 channels of a group once",
        ),
    ],
)
def test_trainings_that_do_not_fit(layers: Any, trained: Any, line: str) -> None:
    with pytest.raises(InputError) as caught:
        trace_file.to_bytes(TRACE, StepTensors(layers, trained))
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("trained", "line"),
    [
        ([], "trained must be an object, not []"),
        ({"fc": "bdwp"}, "trained: fc must be a list, not 'bdwp'"),
        ({"fc": ["bdwp", "4"]}, "pattern must look like 2:8 or be 'dense', not '4'"),
        (
            {"fd": ["bdwp", "2:4"]},
            "unknown layer that a method trained 'fd': did you mean fc? (known: fc)",
        ),
    ],
)
def test_malformed_trainings(trained: Any, line: str, tmp_path: Path) -> None:
    data = trace_file.to_bytes(TRACE, TENSORS)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    document = json.loads(header["__metadata__"]["nofm.trace"])
    header["__metadata__"]["nofm.trace"] = json.dumps({**document, "trained": trained})
    text = json.dumps(header).encode()
    path = tmp_path / "net.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    with pytest.raises(InputError) as caught:
        trace_file.load_step(path)
    assert str(caught.value) == f"trace file '{path}': {line}"


def test_a_shape_that_is_not_the_layers(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(changed(shape=[3, 4]))
    with pytest.raises(InputError) as caught:
        trace_file.load_tensors(path)
    assert str(caught.value) == (
        f"trace file '{path}': layer 'fc': weight must be float16 or float32 [4, 3], not float32 "
        "[3, 4]"
    )


def test_a_loss_that_is_not_finite() -> None:
    with pytest.raises(InputError) as caught:
        record(network(), X, lambda y: y.sum() * torch.inf)
    assert str(caught.value).startswith("the loss of a recorded step must be finite, not ")


def test_every_weight_layer_has_shapes() -> None:
    for kind in WeightLayer.__subclasses__():
        assert kind in (Linear, Convolution)
