from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.figure import Figure

from nofm.explore import parallel_figure as parallel
from nofm.explore import pareto_figure as pareto
from nofm.explore import pictures
from nofm.explore.parallel_figure import parallel_figure
from nofm.explore.pareto_figure import pareto_figure
from nofm.explore.sensitivity import effects
from nofm.explore.sensitivity_figure import sensitivity_figure
from nofm.explore.style import digits, measure
from nofm.explore.view import View
from nofm.kernels.errors import InputError
from nofm.simulator.report import figures
from nofm.simulator.report.timeline_figure import timeline_figure

THREE = {"seconds": False, "energy_joules": False, "lut": False}
LONG = {f"array.group_port_elements_of_a_long_name_{i}"[: 30 + i]: [1 + i, 2 + i] for i in range(6)}


def offsets(figure: Figure, colour: str) -> list[np.ndarray]:
    """Points of a colour, by axes."""
    from matplotlib.colors import to_rgba

    return [
        np.concatenate(
            [
                np.asarray(points.get_offsets())
                for points in axes.collections
                if isinstance(points, PathCollection)
                and tuple(points.get_facecolor()[0]) == to_rgba(colour)
            ]
        )
        for axes in figure.axes
    ]


@pytest.mark.parametrize("objectives", [None, THREE, {"seconds": False}])
def test_every_feasible_design_is_a_point_and_the_front_is_on_top(make_view, objectives) -> None:
    view = make_view(objectives=objectives)
    figure = pareto_figure(view)
    pairs = list(itertools.combinations(view.info.objectives, 2)) or [("seconds", "cycles")]
    assert len(figure.axes) == len(pairs)
    others = np.setdiff1d(np.flatnonzero(view.feasible), view.front)
    for rows, colour in ((view.front, pareto.FRONT), (others, pareto.OTHERS)):
        for (x, y), found in zip(pairs, offsets(figure, colour), strict=True):
            across, up = measure(view, x).values, measure(view, y).values
            expected = np.column_stack([across[rows], up[rows]])
            assert np.array_equal(np.sort(found, axis=0), np.sort(expected, axis=0))
    assert f"front, {len(view.front)} designs" in [
        text.get_text() for text in figure.legends[0].get_texts()
    ]


def test_a_front_of_two_objectives_is_joined_by_a_staircase_that_nothing_lies_below(
    make_view,
) -> None:
    for objectives in ({"seconds": False, "energy_joules": False}, {"seconds": False, "lut": True}):
        view = make_view(objectives=objectives)
        (line,) = pareto_figure(view).axes[0].lines
        xs, ys = line.get_xdata(), line.get_ydata()
        # Level or upright, never slanted.
        assert (np.diff(xs) * np.diff(ys) == 0).all()
        x, y = (measure(view, name).values[view.feasible] for name in objectives)
        sign = -1 if objectives.get("lut") else 1
        for one, other in zip(x, y, strict=True):
            reached = sign * ys[xs <= one]
            assert len(reached)
            assert sign * other >= reached.min() - 1e-12
        corners = {*zip(xs[::2], ys[::2], strict=True)}
        front = {(measure(view, "seconds").values[row]) for row in view.front}
        assert {corner[0] for corner in corners} == front


def test_names_of_the_front_give_their_number_and_what_differs(view: View) -> None:
    figure = pareto_figure(view)
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert 1 <= len(labels) <= pareto.LABELS
    best = view.parameters(view.best)
    (label,) = [text for text in labels if text.startswith(f"#{view.designs[view.best]}:")]
    assert f"{best['array.rows']}" in label.split(": ")[1].split(" / ")
    numbers = {int(text[1:].split(":")[0]) for text in labels}
    assert numbers <= set(view.designs[view.front].tolist())


def test_more_designs_than_points_are_counted_in_hexagons(make_view) -> None:
    grid = {"array.rows": list(range(1, 61)), "array.columns": list(range(1, 61))}
    view = make_view(grid)
    assert len(view) - len(view.front) > pareto.POINTS
    figure = pareto_figure(view)
    axes = figure.axes[0]
    (hexagons,) = [c for c in axes.collections if isinstance(c, PolyCollection)]
    assert hexagons.get_rasterized()
    assert hexagons.get_array().sum() == len(view) - len(view.front)
    assert len(offsets(figure, pareto.FRONT)[0]) == len(view.front)
    # A sea of points is a picture, not thousands of shapes.
    assert len(figures.render(figure, "svg")) < 500_000


def test_parallel_lines_pass_through_each_designs_values(view: View) -> None:
    axes = parallel_figure(view).axes[0]
    others, front, best = [c for c in axes.collections if isinstance(c, LineCollection)]
    assert len(others.get_segments()) == view.feasible.sum() - len(view.front)
    assert len(front.get_segments()) == len(view.front)
    assert len(best.get_segments()) == 1
    names = [*view.varying, *view.info.objectives]
    titles = [text.get_text().replace("\n", "") for text in axes.get_xticklabels()]
    assert [title.split(" ")[0] for title in titles] == [*view.varying, "time", "energy"]
    for row, line in zip(view.front, front.get_segments(), strict=True):
        assert len(line) == len(names)
        for place, name in enumerate(view.varying):
            levels = view.levels(name)
            spot = levels.places[row] / (len(levels.values) - 1)
            assert line[place, 1] == pytest.approx(spot, abs=0.021)
        logs = np.log(view.values("seconds"))
        known = logs[view.feasible]
        spot = (logs[row] - known.min()) / (known.max() - known.min())
        assert line[len(view.varying), 1] == pytest.approx(spot)


def test_parallel_lines_are_a_sample_that_the_figure_states(make_view) -> None:
    view = make_view({"array.rows": list(range(1, 41)), "array.columns": list(range(1, 41))})
    figure = parallel_figure(view)
    others = figure.axes[0].collections[0]
    assert len(others.get_segments()) == parallel.LINES
    said = figure.axes[0].get_title()
    assert f"{parallel.LINES} of {1600 - len(view.front):,} others that are feasible" in said


def test_bars_of_sensitivity_are_the_shares(make_view) -> None:
    view = make_view(objectives=THREE)
    figure = sensitivity_figure(view)
    assert len(figure.axes) == 3
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names[-1] == "together"
    for axes, objective in zip(figure.axes, THREE, strict=True):
        expected = {effect.parameter: 100 * effect.share for effect in effects(view, objective)}
        widths = [bar.get_width() for bar in axes.patches]
        assert dict(zip(names[:-1], widths[:-1], strict=True)) == pytest.approx(expected)
        assert sum(widths) == pytest.approx(100)
    assert "full factorial" in figure.get_supxlabel()


def test_where_designs_are_a_sample_chance_is_marked(make_view) -> None:
    whole = make_view()
    view = View(whole.table.sample(40, random_state=1), whole.info)
    figure = sensitivity_figure(view)
    assert "no full factorial" in figure.get_supxlabel()
    assert "together" not in [text.get_text() for text in figure.axes[0].get_yticklabels()]
    marks = sorted(line.get_xdata()[0] for line in figure.axes[0].lines)
    expected = sorted(100 * effect.chance for effect in effects(view, "seconds"))
    assert marks == pytest.approx(expected)


@pytest.mark.parametrize(
    ("grid", "objectives"),
    [(None, THREE), (LONG, None), (LONG, {"seconds": False}), ({"array.rows": [4, 8]}, None)],
)
def test_no_text_is_cut_or_covered(make_view, check_legible, grid, objectives) -> None:
    view = make_view(grid, objectives)
    for name, figure in pictures.sweep_figures(view).items():
        try:
            check_legible(figure)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None


def test_nothing_is_drawn_where_nothing_can_be(view: View, tmp_path) -> None:
    none = view.table.assign(feasible=False)
    with pytest.raises(InputError) as error:
        pictures.write(tmp_path / "a", none, view.info)
    assert str(error.value) == "pictures of designs need a feasible one, and none of 54 is feasible"
    with pytest.raises(InputError) as error:
        pictures.write(tmp_path / "a", view.table.assign(pareto=False), view.info)
    assert str(error.value) == "pictures of designs need a Pareto front, and no design is marked"
    with pytest.raises(InputError) as error:
        pictures.write(tmp_path / "a", view.table, replace(view.info, objectives={}))
    assert str(error.value) == "pictures of designs need at least one objective, and there is none"
    assert list(tmp_path.iterdir()) == []


def test_one_design_alone_is_drawn(make_view, check_legible) -> None:
    view = make_view({"array.rows": [8]})
    assert list(pictures.sweep_figures(view)) == ["pareto"]
    check_legible(pareto_figure(view))


def test_the_pictures_are_files_and_the_same_every_time(view: View, tmp_path) -> None:
    first = pictures.write(tmp_path / "one", view.table, view.info)
    again = pictures.write(tmp_path / "two", view.table, view.info, ["svg"])
    names = ["pareto", "parallel", "sensitivity", "best-roofline", "best-timeline"]
    expected = [f"{name}.{form}" for name in names for form in ("svg", "png")]
    assert [path.name for path in first] == [*expected, "best-timeline.json"]
    for path in again:
        assert path.read_bytes() == (tmp_path / "one" / path.name).read_bytes()
    for path in first:
        assert path.suffix != ".png" or path.read_bytes().startswith(b"\x89PNG")
    title = json.loads(first[-1].read_text("utf-8"))["otherData"]["workload"]
    pattern = view.parameters(view.best)["pattern"]
    assert title == f"net, batch 8, bdwp {pattern} on sat-4x4"


def test_names_are_neither_formulas_nor_trouble(view: View) -> None:
    hostile = ["$x", r"a$\frac$b", "line\nbreak"]
    table = view.table.assign(pattern=[hostile[i % 3] for i in range(len(view))], workload="\x00$")
    for figure in pictures.sweep_figures(View(table, view.info)).values():
        assert figures.render(figure, "svg")


def test_a_lane_of_the_timeline_is_as_long_as_its_jobs(check_legible, view: View) -> None:
    step = view.step(view.best)
    figure = timeline_figure(step)
    lanes = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert lanes == ["STCE (array)", "WUVE", "SORE"]
    clock = step.accelerator.clock_hz
    scale = {"time (µs)": 1e6, "time (ms)": 1e3}[figure.axes[1].get_xlabel()]
    spans = {0: 0.0, 1: 0.0, 2: 0.0}
    for bars in figure.axes[0].collections:
        for path in bars.get_paths():
            box = path.get_extents()
            spans[round((box.y0 + box.y1) / 2)] += box.width
    layers = step.layers
    for lane, engine in enumerate(["ws|os", "wuve", "sore"]):
        cycles = layers.loc[layers["dataflow"].str.contains(engine), "cycles"].sum()
        assert spans[lane] == pytest.approx(scale * cycles / clock)
    check_legible(figure)


def test_numbers_have_three_digits_and_no_exponent() -> None:
    assert [digits(v) for v in (0.0, 0.04234, 28.19, 210.4, 1563.3, 12345678.0)] == [
        *("0", "0.0423", "28.2", "210", "1,560", "12,300,000")
    ]


def test_hundreds_of_thousands_of_designs_are_drawn(make_view) -> None:
    """By hexagons, samples and sums: nothing grows with each design but sums."""
    small = make_view()
    table = pd.concat([small.table] * 4000, ignore_index=True).rename_axis("design")
    random = np.random.default_rng(0).uniform(1, 2, len(table))
    table["seconds"] *= random
    table["pareto"] = False
    table.loc[table["seconds"].idxmin(), "pareto"] = True
    view = View(table, small.info)
    assert len(view) == 216_000
    for figure in pictures.sweep_figures(view).values():
        assert len(figures.render(figure, "svg")) < 600_000
