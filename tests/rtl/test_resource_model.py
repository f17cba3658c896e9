"""The fitted models of engines' resources: their laws, their samples, how far they are right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from nofm.rtl.stce.control import job_layout, row_control, slot_control
from nofm.rtl.stce.geometry import Geometry
from nofm.rtl.synthesis import samples
from nofm.rtl.synthesis.families import KINDS, Resources
from nofm.rtl.synthesis.fit import fit, models
from nofm.rtl.synthesis.parts import ALL, ENGINES, REST, measure
from nofm.rtl.synthesis.samples import BASE, Sample, beyond, plan, stored
from nofm.rtl.synthesis.terms import TERMS

WORST = {
    "stce": {"lut": 0.042, "ff": 0.002, "dsp": 0.0, "bram": 0.0},
    "sore": {"lut": 0.032, "ff": 0.003, "dsp": 0.0, "bram": 0.0},
    "wuve": {"lut": 0.025, "ff": 0.035, "dsp": 0.0, "bram": 0.0},
}
"""Largest relative error on engines kept out of the fits that docs/synthesis.md speaks of."""

LIMITS = {
    "stce": {
        **dict(rows=64, columns=64, sums=64, registers=32, group=256, port=64),
        **dict(multiplier_cycles=12, adder_cycles=12, accumulator_cycles=8),
        "accumulator_words": 1 << 17,
    },
    "sore": dict(lanes=256, entries=16, group=64, latency_cycles=12),
    "wuve": dict(lanes=256, latency_cycles=64),
}


def drawn(engine: str, count: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Random parameters of an engine."""
    rng = np.random.default_rng(seed)
    least = dict.fromkeys(LIMITS[engine], 1) | {"lanes": 2}
    if engine == "wuve":
        least["latency_cycles"] = 6
    found = {
        name: rng.integers(least[name], most + 1, count) for name, most in LIMITS[engine].items()
    }
    if "registers" in found:
        found["group"] = np.maximum(found["group"], found["registers"])
    if "entries" in found:
        found["group"] = np.maximum(found["group"], found["entries"] + 1)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_widths_are_those_of_the_hardware(seed: int) -> None:
    """The terms' widths, of arrays, are the generators' own, of one geometry."""
    given = drawn("stce", 300, seed)
    sizes = TERMS["stce"].sizes({name: values.astype(float) for name, values in given.items()})
    for i in range(300):
        g = Geometry(**{name: int(values[i]) for name, values in given.items()})
        expected = {
            "beats": g.beats,
            "turn": g.turn_bits,
            "entry": g.entry_bits,
            "index": g.index_bits,
            "beat": g.beat_bits,
            "used": g.used_bits,
            "word": g.word_bits,
            "sum": g.sum_bits,
            "period": g.period,
            "row_delay": g.longest_row_delay,
            "read_cycles": g.read_cycles,
            "row_control": row_control(g).size,
            "slot_control": slot_control(g).size,
            # Of the samples: they have no jobs that continue or are continued.
            "job": job_layout(g).size - 2,
        }
        assert {name: getattr(sizes, name)[i] for name in expected} == expected


def test_widths_of_sore_are_those_of_the_hardware() -> None:
    from nofm.rtl.sore.geometry import Geometry as SoreGeometry
    from nofm.rtl.sore.job import job_fields
    from nofm.rtl.sore.sequencer import beat_fields

    given = drawn("sore", 200)
    sizes = TERMS["sore"].sizes({name: values.astype(float) for name, values in given.items()})
    for i in range(200):
        g = SoreGeometry(**{name: int(values[i]) for name, values in given.items()})
        expected = {
            "half": g.half,
            "entry": g.entry_bits,
            "index": g.index_bits,
            "result": g.result_bits,
            "state": g.state_bits,
            "waiting": max(0, g.waiting),
            "beat": sum(beat_fields(g).values()),
            "job": sum(job_fields(g).values()),
        }
        assert {name: getattr(sizes, name)[i] for name in expected} == expected


def law(engine: str, part: str, kind: str, parameters: Mapping[str, int]) -> float:
    """What a made-up part takes: every term times a number of its own, too large to be rounded."""
    sizes = TERMS[engine].sizes({name: np.array([float(v)]) for name, v in parameters.items()})
    terms = TERMS[engine].parts[part].terms(kind, sizes)
    values = [float(np.broadcast_to(term, 1)[0]) for term in terms.values()]
    return float(sum(1000 * (3 + k % 5) * value for k, value in enumerate(values)))


def test_what_follows_the_law_is_found_exactly() -> None:
    """A fit to parts that are sums of the terms predicts whole engines that are sums of parts."""
    made_up = []
    for engine, part, parameters in plan():
        total = dict.fromkeys(KINDS, 0.0)
        own = TERMS[engine].parts if part == ALL else {part: TERMS[engine].parts[part]}
        sizes = TERMS[engine].sizes({k: np.array([float(v)]) for k, v in parameters.items()})
        for name, of in own.items():
            (count,) = of.count(sizes) if part == ALL else (1,)
            for kind in KINDS:
                total[kind] += count * law(engine, name, kind, parameters)
        made_up.append(Sample(engine, part, parameters, Resources(**total)))
    for model in fit(made_up).values():
        assert max(model.fit_errors.values()) < 1e-2
        assert max(model.errors.values()) < 1e-2


def test_the_stored_samples_are_those_of_the_plan() -> None:
    assert [(s.engine, s.part, s.parameters) for s in stored()] == list(plan())


def test_every_part_is_sampled_and_has_a_law() -> None:
    for engine, own in ENGINES.items():
        assert set(TERMS[engine].parts) == {*own.parts, REST}
        assert set(BASE[engine]) == set(own.parameters)
        assert {s.part for s in stored() if s.engine == engine} == {*own.parts, REST, ALL}
    assert set(BASE["stce"]) == {entry.name for entry in fields(Geometry)}


def test_every_multiplication_is_in_dsp_blocks() -> None:
    for sample in stored():
        given = sample.parameters
        if sample.part == ALL and sample.engine == "stce":
            assert sample.resources.dsp == given["rows"] * given["columns"]
        if sample.part == ALL and sample.engine == "wuve":
            assert sample.resources.dsp == 6 * given["lanes"]


@pytest.mark.parametrize("engine", list(TERMS))
def test_errors_on_engines_kept_out_of_the_fit(engine: str) -> None:
    model = models()[engine]
    assert {k: model.errors[k] for k, most in WORST[engine].items() if model.errors[k] > most} == {}
    varied = [
        sum(sample.parameters[name] != BASE[engine][name] for name in BASE[engine])
        for sample in stored()
        if sample.engine == engine and not sample.fitted
    ]
    several = {"stce": 6, "sore": 3, "wuve": 2}[engine]
    assert sum(changed >= min(4, len(BASE[engine])) for changed in varied) >= several


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        *(("stce", name) for name in ("rows", "columns", "sums")),
        ("sore", "lanes"),
        ("wuve", "lanes"),
    ],
)
def test_more_never_takes_less(engine: str, name: str) -> None:
    given = drawn(engine, 2000)
    more = given | {name: given[name] + np.random.default_rng(2).integers(1, 9, 2000)}
    before, after = models()[engine].predict(given), models()[engine].predict(more)
    for kind in ("lut", "ff", "dsp", "bram"):
        assert (after[kind] >= before[kind]).all()


def test_no_coefficient_is_negative() -> None:
    for model in models().values():
        for kinds in model.coefficients.values():
            assert min((c for terms in kinds.values() for c in terms.values()), default=0) >= 0


@pytest.mark.parametrize("engine", list(TERMS))
def test_many_at_once_are_each_alone(engine: str) -> None:
    given = drawn(engine, 100)
    together = models()[engine].predict(given)
    for i in range(100):
        alone = models()[engine].predict({name: values[i] for name, values in given.items()})
        assert {kind: alone[kind][0] for kind in KINDS} == {k: together[k][i] for k in KINDS}


def test_a_stored_sample_is_what_the_generator_gives(tmp_path: Path) -> None:
    """The table is measured again when the hardware changes: `python -m` its module."""
    again(("stce", "row edge"), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("key", [("stce", "uspe"), ("stce", REST), ("sore", "lane"), ("stce", ALL)])
def test_more_stored_samples_are_what_the_generators_give(
    key: tuple[str, str], tmp_path: Path
) -> None:
    again(key, tmp_path)


def again(key: tuple[str, str], folder: Path) -> None:
    sample = next(s for s in stored() if (s.engine, s.part) == key)
    assert measure(*key, sample.parameters, folder) == sample.resources


def test_samples_are_written_as_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / samples.TABLE
    samples.write(stored(), path)
    module = Path(samples.__file__).with_name(samples.TABLE)
    assert path.read_text("utf-8") == module.read_text("utf-8")


def test_parameters_outside_the_fit_are_told() -> None:
    assert beyond("stce", BASE["stce"]) == []
    assert beyond("stce", BASE["stce"] | dict(rows=100, group=256, adder_cycles=9)) == [
        "group 256 is outside 2 to 128",
        "adder_cycles 9 is outside 1 to 8",
    ]
