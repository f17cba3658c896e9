"""The fitted model of an array's resources: its law, its samples, and how far it is right."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nofm.dataflow.accelerator import load
from nofm.kernels.errors import InputError
from nofm.rtl.stce.geometry import Geometry
from nofm.rtl.synthesis import estimate, samples
from nofm.rtl.synthesis.families import KINDS, Resources
from nofm.rtl.synthesis.fit import DEVICES, fit, terms
from nofm.rtl.synthesis.samples import BASE, Sample, beyond, measure, plan, stored

WORST = {"lut": 0.12, "ff": 0.13, "dsp": 0.0, "bram": 0.0}
"""Largest relative error on arrays kept out of the fit that docs/synthesis.md speaks of."""


def made_up(fitted: bool, geometry: Geometry) -> Sample:
    """An array whose resources follow the law exactly."""
    rng = np.random.default_rng(1)
    parts = terms(geometry)
    weights = dict(zip(parts, rng.integers(1, 50, len(parts)).tolist(), strict=True))
    total = float(sum(weights[name] * count for name, count in parts.items()))
    return Sample(geometry, fitted, Resources(**dict.fromkeys(KINDS, total)))


def test_what_follows_the_law_is_found_exactly() -> None:
    model = fit([made_up(fitted, geometry) for geometry, fitted in plan()])
    assert max(model.errors.values()) < 1e-6
    large = replace(BASE, rows=32, columns=32)
    assert model.predict(large).lut == pytest.approx(made_up(False, large).resources.lut, rel=1e-6)


def test_the_stored_samples_are_those_of_the_plan() -> None:
    assert [(each.geometry, each.fitted) for each in stored()] == list(plan())


def test_every_use_of_a_multiplier_is_one_dsp_block() -> None:
    for sample in stored():
        assert sample.resources.dsp == sample.geometry.rows * sample.geometry.columns


def test_errors_on_arrays_kept_out_of_the_fit() -> None:
    model = fit()
    assert {kind: model.errors[kind] for kind in WORST if model.errors[kind] > WORST[kind]} == {}
    sizes = Counter(each.geometry.rows * each.geometry.columns for each in stored() if each.fitted)
    assert max(sizes) <= 9
    assert max(g.rows * g.columns for g, fitted in plan() if not fitted) == 64


def test_a_stored_sample_is_what_the_generator_gives(tmp_path: Path) -> None:
    """The table is measured again when the hardware changes: `python -m` its module."""
    for sample in stored():
        if sample.geometry == replace(BASE, rows=1, columns=1):
            assert measure(sample.geometry, tmp_path) == sample.resources


def test_samples_are_written_as_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / samples.TABLE
    samples.write(stored(), path)
    module = Path(samples.__file__).with_name(samples.TABLE)
    assert path.read_text("utf-8") == module.read_text("utf-8")


def test_parameters_outside_the_fit_are_told() -> None:
    assert beyond(Geometry.of(load("sat-32x32"))) == []
    assert beyond(replace(BASE, rows=100, group=64, adder_cycles=9)) == [
        "group 64 is outside 8 to 32",
        "adder_cycles 9 is outside 2 to 6",
    ]


def test_an_estimate_for_the_paper_s_array() -> None:
    machine = load("sat-32x32")
    found = estimate.estimate(Geometry.of(machine), "xcvu9p")
    assert found.needs.dsp == 32 * 32
    assert found.has == DEVICES["xcvu9p"]
    rows = {row["resource"]: row for row in estimate.records(found)}
    assert rows["DSP"]["share"] == pytest.approx(100 * 1024 / 6840)
    assert rows["carry"]["share"] is None
    document = estimate.to_json(machine, found)
    assert document["needs"]["dsp"] == 1024
    assert document["notes"] == estimate.notes(found)
    assert "5 arrays of up to 64 USPEs" in document["notes"][0]


def test_what_does_not_fit_is_said() -> None:
    huge = replace(BASE, rows=128, columns=128, group=64)
    told = estimate.notes(estimate.estimate(huge, "xcvu9p"))
    assert "group 64 is outside 8 to 32: what it takes is a guess." in told
    assert "It does not fit: 240 % of the DSPs of the device." in told


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        estimate.estimate(BASE, "xcvu9")
    assert str(caught.value) == ("unknown device 'xcvu9': did you mean xcvu9p? (known: xcvu9p)")
