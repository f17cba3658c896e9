"""A workload by what a user calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nofm.kernels.errors import InputError
from nofm.workloads import networks, trace_file
from nofm.workloads.resolve import resolve


def test_a_network() -> None:
    assert resolve("resnet18") == networks.load("resnet18")
    assert resolve("resnet18", 7) == networks.load("resnet18", 7)


def test_a_trace_file(tmp_path: Path) -> None:
    path = tmp_path / "net.SafeTensors"
    trace_file.save(networks.load("resnet9", 3), path)
    assert resolve(path) == networks.load("resnet9", 3)
    assert resolve(str(path), 5) == networks.load("resnet9", 5)


def test_a_topology(tmp_path: Path) -> None:
    path = tmp_path / "net.csv"
    path.write_text("Layer, M, N, K,\nfc, 3, 5, 7,\n")
    assert [layer.name for layer in resolve(path).layers] == ["fc"]
    assert resolve(path, 4).batch == 4


@pytest.mark.parametrize(
    ("workload", "message"),
    [
        (
            "resnet-18",
            "unknown network 'resnet-18': did you mean resnet18 or resnet9 or resnet50? (known: "
            + ", ".join(networks.NETWORKS)
            + ")",
        ),
        (
            "package.module:factory",
            "package.module:factory is a torch model: capture it first with nofm trace "
            "package.module:factory --input SHAPE -o model.safetensors",
        ),
        (
            "missing.safetensors",
            "cannot read trace file 'missing.safetensors': No such file or directory",
        ),
    ],
)
def test_what_is_no_workload(workload: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        resolve(workload)
    assert str(error.value) == message


def test_a_bad_batch() -> None:
    with pytest.raises(InputError) as error:
        resolve("resnet18", -1)
    assert str(error.value) == "batch must be a whole number from 1 to 2147483647, not -1"
