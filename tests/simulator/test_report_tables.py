from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from nofm.simulator.report import tables
from nofm.simulator.result import StepResult


def printed(renderable: RenderableType, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(renderable)
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 100, 120, 160])
@pytest.mark.parametrize("all_rows", [False, True])
def test_tables_fit_the_terminal_and_leave_no_figure_out(
    long_step: StepResult, width: int, all_rows: bool
) -> None:
    lines = printed(tables.step_tables(long_step, width=width, all_rows=all_rows), width)
    assert max(map(len, lines)) <= width
    # The ellipsis may stand in a layer's name, the first column, and nowhere else.
    assert not [line for line in lines if "…" in line[26:]]


def test_by_default_alike_jobs_share_a_row_and_the_costliest_are_shown(make_step) -> None:
    step = make_step(names=["a", "b"])
    twice = replace(step, layers=step.layers.iloc[[0, 0, 1]])
    lines = printed(tables.job_table(twice, width=100), 100)
    assert lines[0].endswith("2 kinds of job (3 jobs)")
    assert [line.split()[:3] for line in lines[4:]] == [["a", "x2", "ff"], ["a.norm", "ff", "–"]]


def test_every_row_is_shown_in_order_when_asked(long_step: StepResult) -> None:
    lines = printed(tables.job_table(long_step, width=160, all_rows=True), 160)
    assert [line.split()[0] for line in lines[4:]] == list(long_step.layers["layer"])


def test_the_costliest_kinds_come_first(long_step: StepResult) -> None:
    lines = printed(tables.job_table(long_step, width=160), 160)
    costliest = long_step.layers.nlargest(tables.COSTLIEST, "cycles")
    shown = [tuple(line.split()[:2]) for line in lines[4:]]
    assert shown == list(zip(costliest["layer"], costliest["stage"], strict=True))


def test_the_stages_sum_to_the_step(step: StepResult) -> None:
    lines = printed(tables.stage_table(step, width=120), 120)
    jobs = {line.split()[0]: line for line in lines if line[:1].isalpha()}
    assert set(jobs) >= {"ff", "bp", "wu", "update", "prune", "step"}
    assert f" {len(step.layers)} " in jobs["step"]
    assert f"{step.total['speedup']:.2f}" in jobs["step"]


def test_the_total_says_speedup_time_energy_traffic_and_stalls(step: StepResult) -> None:
    text = " ".join(printed(tables.total_lines(step), 200))
    assert f"{step.total['speedup']:.2f}x as fast as dense training" in text
    assert "at 200 MHz" in text
    assert "of DRAM traffic" in text
    assert "Stalls: " in text


def test_a_dense_step_has_no_speedup(dense_step: StepResult) -> None:
    text = "\n".join(printed(tables.step_tables(dense_step), 120))
    assert "speed" not in text
    assert "as fast as" not in text


def test_names_are_no_markup_and_bring_no_escape_sequences(make_step) -> None:
    step = make_step(names=["a[red]b", "c\x1b[31md"])
    text = "\n".join(printed(tables.step_tables(step, all_rows=True), 120))
    assert "a[red]b" in text
    assert "c�[31md" in text
    assert "\x1b" not in text


def test_a_records_table_aligns_numbers_and_leaves_out_nothing() -> None:
    records = [
        {"name": "first", "count": 1234, "ratio": 1.5, "hidden": 1},
        {"name": "the second [bold]", "count": None, "ratio": 20.25},
    ]
    columns = {"name": "name", "count": "count", "ratio": "ratio\n%"}
    lines = printed(tables.records_table("A title", records, columns), 40)
    assert lines == [
        "A title",
        "                          ratio",
        "name               count      %",
        "─" * 31,
        "first              1,234   1.50",
        "the second [bold]         20.25",
    ]
    folded = "".join(printed(tables.records_table("", records, columns), 24)).replace(" ", "")
    assert "…" not in folded
    assert "1,234" in folded
