"""The figure of co-design: a panel for each pattern, and no point that spoils the scale of all."""

from __future__ import annotations

from typing import Any

from nofm.codesign_figure import SPARSE, figure
from nofm.dataflow.methods import METHODS
from nofm.simulator.report import figures


def point(method: str, pattern: str, accuracy: float, speedup: float | None) -> dict[str, Any]:
    return {
        "method": method,
        "pattern": pattern,
        "accuracy": accuracy,
        "accuracy_spread": 0.01,
        "speedup": speedup,
        "pareto": method == "bdwp",
    }


DOCUMENT = {
    "network": "mlp",
    "dataset": "mnist1d",
    "hardware": "sat-32x32",
    "points": [
        point("dense", "dense", 0.68, 1.0),
        *(
            point(method, pattern, 0.66 - 0.01 * place, 1.1 + 0.01 * place)
            for place, method in enumerate(("srste", "sdgp", "bdwp", "fst"))
            for pattern in ("2:4", "2:8")
        ),
        point("cast", "2:8", 0.18, 1.0),
        point("owl", "2:4", 0.66, None),
    ],
}


def test_a_panel_for_each_pattern() -> None:
    drawn = figure(DOCUMENT)
    assert [axes.get_title("left") for axes in drawn.axes] == ["2:4", "2:8"]
    (legend,) = drawn.legends
    names = {text.get_text() for text in legend.get_texts()}
    assert {METHODS[name].title for name in ("srste", "sdgp", "bdwp", "fst", "cast")} < names
    assert METHODS["owl"].title not in names
    drawn_points = [
        line for axes in drawn.axes for line in axes.lines if len(line.get_xdata()) == 1
    ]
    filled = [line for line in drawn_points if line.get_markerfacecolor() != "white"]
    assert len(drawn_points) == 9
    assert len(filled) == 2


def test_a_point_far_below_is_off_the_scale() -> None:
    drawn = figure(DOCUMENT)
    for axes in drawn.axes:
        assert axes.get_ylim()[0] > 55
    assert [text.get_text() for text in drawn.axes[1].texts] == ["18 %", ""]
    assert not drawn.axes[0].texts


def test_every_method_has_a_colour_and_the_picture_is_the_same_each_time() -> None:
    assert {
        tuple(stage for stage in ("ff", "bp", "wu") if method.operand(stage) is not None)
        for method in METHODS.values()
    } == set(SPARSE)
    assert figures.render(figure(DOCUMENT), "svg") == figures.render(figure(DOCUMENT), "svg")


def test_dense_training_alone() -> None:
    drawn = figure({**DOCUMENT, "points": DOCUMENT["points"][:1]})
    assert len(drawn.axes) == 1
