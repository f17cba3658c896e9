"""The estimate of one accelerator: its parts, its errors, and what it says of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nofm.dataflow.accelerator import load
from nofm.dataflow.design_table import DesignTable
from nofm.explore import estimate, power
from nofm.explore.area import KINDS, resources
from nofm.kernels.errors import InputError
from nofm.rtl.synthesis.devices import DEVICES
from nofm.rtl.synthesis.fit import models

SAT = load("sat-32x32")


def test_the_estimate_is_a_table_of_one() -> None:
    found = estimate.estimate(SAT, "xcvu9p")
    alone = resources(DesignTable(SAT, {}, 1))
    assert found.total == {kind: alone[kind][0] for kind in KINDS}
    assert found.has == DEVICES["xcvu9p"]
    assert found.errors["array"]["lut"] == models()["stce"].errors["lut"]
    (watts,) = power.of_resources(DesignTable(SAT, {}, 1), alone)
    assert found.power_w == watts


def test_rows_and_document_say_the_same() -> None:
    found = estimate.estimate(SAT, "xcvu9p")
    rows = {row["part"]: row for row in estimate.records(found)}
    document = estimate.to_json(SAT, found)
    for name, part in document["parts"].items():
        assert {kind: rows[name][kind] for kind in KINDS} == part
    assert {kind: rows["total"][kind] for kind in KINDS} == document["needs"]
    assert rows["share, %"]["dsp"] == pytest.approx(100 * 1216 / 6840)
    assert rows["largest error of array, %"]["lut"] == pytest.approx(
        100 * document["largest_error"]["array"]["lut"]
    )
    assert document["notes"] == estimate.notes(found)
    assert document["fits"] is found.fits is True
    assert len(document["notes"]) == 3


def test_what_does_not_fit_is_said() -> None:
    huge = SAT.with_values(
        **{"array.rows": 128, "array.columns": 128, "array.patterns": ["1:256"], "wuve.lanes": 64}
    )
    found = estimate.estimate(huge, "xcvu9p")
    told = estimate.notes(found)
    assert "group 256 is outside 2 to 128: what it takes is a guess." in told
    assert "It does not fit: 245 % of the DSPs of the device." in told
    assert not found.fits


def test_bad_input() -> None:
    with pytest.raises(InputError) as caught:
        estimate.estimate(SAT, "xcvu9")
    assert str(caught.value) == "unknown device 'xcvu9': did you mean xcvu9p? (known: xcvu9p)"
    small = SAT.with_values(**{"buffers.output_kib": 1, "array.columns": 256})
    with pytest.raises(InputError) as caught:
        estimate.estimate(small, "xcvu9p")
    assert str(caught.value) == (
        "buffers.output_kib must hold a sum for every column in each of its two banks, "
        "but 1 KiB do not for 256 columns"
    )
    with pytest.raises(InputError) as caught:
        estimate.estimate(SAT.with_values(**{"formats.operand": "bf16"}), "xcvu9p")
    assert str(caught.value) == (
        "what hardware takes is known for formats.operand = fp16 only, not bf16"
    )


def test_the_rtl_libraries_stay_out() -> None:
    code = (
        "import sys; from nofm.explore.estimate import estimate; "
        "from nofm.dataflow.accelerator import load; estimate(load('sat-4x4'), 'xcvu9p'); "
        "print(*sorted({'amaranth', 'pyosys', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
