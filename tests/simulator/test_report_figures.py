from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from nofm.simulator.report import figures
from nofm.simulator.report.ablation import ablation_figure
from nofm.simulator.report.cycles import cycles_figure
from nofm.simulator.report.gallery import CAPTIONS, step_figures
from nofm.simulator.report.roofline import roofline_figure
from nofm.simulator.report.speedup import MOST_BARS, speedup_figure
from nofm.simulator.result import STAGES, STALLS, StepResult

ABLATION = [("all on", {"cycles": 100, "dense_cycles": 180}), ("without", {"cycles": 180})]


@pytest.mark.parametrize("layers", [2, 20, 60, 130])
@pytest.mark.parametrize("dots", [True, False])
def test_no_text_is_cut_or_covered_however_many_layers(
    make_step, check_legible, layers: int, dots: bool
) -> None:
    names = None if dots else [f"a_layer_with_quite_a_long_name_{i}" for i in range(layers)]
    for figure in step_figures(make_step(layers, names=names)).values():
        check_legible(figure)


def test_no_text_is_cut_in_the_ablation(check_legible) -> None:
    labels = ["all optimisations", "without offline scheduling", "WS only"]
    for slowest in (1, 10):
        entries = [
            (label, {"cycles": 100 * (1 + slowest * i), "dense_cycles": 180})
            for i, label in enumerate(labels)
        ]
        check_legible(ablation_figure(entries))


def test_long_networks_are_drawn_by_module_and_without_modules_thinned(make_step) -> None:
    by_module = speedup_figure(make_step(130))
    assert by_module.get_suptitle() == "Speedup over dense, by module"
    assert len(by_module.axes[0].get_xticklabels()) <= MOST_BARS
    flat = speedup_figure(make_step(names=[f"layer{i}" for i in range(130)]))
    assert flat.get_suptitle() == "Speedup over dense"
    assert len(flat.axes[0].get_xticklabels()) <= MOST_BARS
    assert len(flat.axes[0].patches) == 2 * 130


def test_bars_of_a_module_are_its_cycles_dense_over_sparse(make_step) -> None:
    step = make_step(130)
    axes = speedup_figure(step).axes[0]
    first = axes.get_xticklabels()[1].get_text()
    rows = step.layers
    inside = rows["layer"].str.startswith(first + ".") & (rows["macs"] > 0)
    forward = rows[inside & (rows["stage"] == "ff")]
    expected = forward["dense_cycles"].sum() / forward["cycles"].sum()
    assert axes.patches[1].get_height() == pytest.approx(expected)


def test_only_figures_with_something_to_show_are_drawn(
    step: StepResult, dense_step: StepResult
) -> None:
    assert list(step_figures(step, ABLATION)) == list(CAPTIONS)
    assert list(step_figures(dense_step)) == ["roofline", "cycles"]
    vector = replace(dense_step, layers=dense_step.layers[dense_step.layers["macs"] == 0])
    assert list(step_figures(vector)) == ["cycles"]


def test_the_bars_of_a_stage_sum_to_its_cycles(step: StepResult) -> None:
    axes = cycles_figure(step).axes[0]
    lengths: dict[float, float] = {}
    for bar in axes.patches:
        lengths[bar.get_y()] = lengths.get(bar.get_y(), 0.0) + bar.get_width()
    expected = sorted(
        cycles / 1e3
        for result in (step, step.dense)
        for cycles in result.layers.groupby("stage")["cycles"].sum()
    )
    assert axes.get_xlabel() == "cycles (10³)"
    assert sorted(lengths.values()) == pytest.approx(expected)


def test_no_point_of_the_made_up_step_is_lost_in_the_roofline(step: StepResult) -> None:
    products = step.layers[step.layers["macs"] > 0]
    axes = roofline_figure(step).axes[0]
    places = {tuple(points.get_offsets()[0]) for points in axes.collections}
    for row in products.itertuples():
        rate = row.macs * 0.2 / row.cycles
        near = [
            x
            for x, y in places
            if x == pytest.approx(row.macs / row.dram_bytes, rel=0.03)
            and y == pytest.approx(rate, rel=0.03)
        ]
        assert near, row


def test_the_ablation_compares_with_the_first_dense_step(texts) -> None:
    figure = ablation_figure(ABLATION)
    assert [bar.get_width() for bar in figure.axes[0].patches] == [1.8, 1.0]
    assert "1.00×, time 1.80" in [text.get_text() for text, _ in texts(figure)]


@pytest.mark.parametrize("form", ["png", "svg"])
def test_a_figure_has_the_same_bytes_every_time(make_step, form: str) -> None:
    step = make_step(4)
    first = {k: figures.render(v, form) for k, v in step_figures(step, ABLATION).items()}
    again = {k: figures.render(v, form) for k, v in step_figures(step, ABLATION).items()}
    assert first == again
    assert not [name for name, data in first.items() if b"dc:date" in data]


def test_names_are_neither_formulas_nor_trouble(make_step) -> None:
    names = ["$x", r"a$\frac$b", "漢字", "line\nbreak", "<script>", "--><b>", "\x00"]
    for figure in step_figures(make_step(names=names)).values():
        for form in ("png", "svg"):
            assert figures.render(figure, form)


def test_every_stage_and_cause_has_a_colour_of_its_own() -> None:
    assert set(figures.STAGE_COLOURS) == set(STAGES)
    assert set(figures.CAUSE_COLOURS) == set(STALLS)
    parts = [*figures.COMPUTE_COLOURS.values(), *figures.CAUSE_COLOURS.values()]
    assert len(set(parts)) == len(parts)


def test_figures_leave_pyplot_and_the_style_alone() -> None:
    code = (
        "import sys, matplotlib\n"
        "before = dict(matplotlib.rcParams)\n"
        "from nofm.simulator.report import figures\n"
        "from nofm.simulator.report.ablation import ablation_figure\n"
        "total = {'cycles': 1, 'dense_cycles': 2}\n"
        "figures.render(ablation_figure([('a', total)]), 'png')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert before == dict(matplotlib.rcParams)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_reports_are_imported_without_what_is_heavy() -> None:
    code = (
        "import sys\n"
        "import nofm.simulator.report.export, nofm.simulator.report.tables\n"
        "heavy = {'matplotlib', 'pandas', 'pyarrow', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
