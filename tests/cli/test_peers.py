"""A topology timed as SCALE-Sim does, beside SAT, through the front door."""

import pytest

from nofm.dataflow.accelerator import load
from nofm.kernels.errors import InputError
from nofm.peers import simulate_peer

CSV = """Layer, IFMAP H, IFMAP W, Filter H, Filter W, Channels, Num Filter, Strides,
Conv1, 18, 18, 3, 3, 16, 64, 1,
Conv2, 18, 18, 3, 3, 64, 64, 2, 2:4,
Odd, 18, 18, 1, 1, 64, 64, 1, 3:7,
"""


@pytest.fixture
def topology(tmp_path):
    path = tmp_path / "small.csv"
    path.write_text(CSV)
    return path


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_document(topology, dataflow):
    document = simulate_peer(topology, "scalesim", "16x8", dataflow, load("sat-32x32"))
    assert document["schema"] == "nofm.peer/1"
    assert document["array"] == {"rows": 16, "columns": 8}
    layers, sat = document["layers"], document["sat"]
    assert [row["layer"] for row in layers] == ["Conv1", "Conv2", "Odd"]
    assert document["total"]["cycles"] == sum(row["cycles"] for row in layers)
    assert document["total"]["sat_cycles"] == sum(row["cycles"] for row in sat)
    assert [row["sat_cycles"] for row in layers] == [row["cycles"] for row in sat]
    for row in sat:
        assert row["cycles"] == row["compute_cycles"] + row["stall_cycles"]
        if dataflow != "is":
            assert row["dataflow"] == dataflow
    assert [row["pattern"] for row in sat] == ["dense", "2:4", "dense"]
    assert any("Odd: timed dense on SAT" in note for note in document["notes"])


def test_unknown_peer(topology):
    with pytest.raises(InputError) as caught:
        simulate_peer(topology, "scale-sim", "8x8", "ws", load("sat-32x32"))
    assert str(caught.value) == (
        "unknown peer 'scale-sim': did you mean scalesim? (known: scalesim)"
    )
