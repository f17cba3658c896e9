from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nofm.simulator.report.units import (
    BYTES,
    COUNT,
    ENERGY_PJ,
    SECONDS,
    amount,
    plain,
    scale_for,
    shorten,
)


@pytest.mark.parametrize(
    ("value", "units", "text"),
    [
        (0, BYTES, "0 B"),
        (1023, BYTES, "1,023 B"),
        (1024, BYTES, "1.00 KiB"),
        (59.1 * 2**30, BYTES, "59.1 GiB"),
        (999, COUNT, "999"),
        (1_599_202_378, COUNT, "1.60 G"),
        (25_000_000, ENERGY_PJ, "25.0 µJ"),
        (14.3e12, ENERGY_PJ, "14.3 J"),
        (8.0, SECONDS, "8.00 s"),
        (0.000677, SECONDS, "677 µs"),
    ],
)
def test_an_amount_has_three_digits_and_its_unit(value: float, units: object, text: str) -> None:
    assert amount(value, units) == text  # type: ignore[arg-type]


def test_a_column_has_one_unit_and_small_values_are_said_to_be_small() -> None:
    scale = scale_for([64_534_585, 1514, 0], COUNT)
    assert [scale.text(v) for v in (64_534_585, 1514, 0)] == ["64.5", "<0.1", "0"]


@given(st.floats(min_value=1, max_value=1e18))
def test_an_amount_is_within_half_a_percent(value: float) -> None:
    scale = scale_for([value], COUNT)
    shown = float(scale.text(value).replace(",", "")) * scale.size
    assert shown == pytest.approx(value, rel=0.0051) or value < 100


@given(st.text(max_size=60), st.integers(min_value=3, max_value=40))
def test_shortened_text_fits_and_keeps_both_ends(text: str, width: int) -> None:
    short = shorten(text, width)
    assert len(short) <= width
    if len(text) > width:
        head, tail = short.split("…", 1) if text.count("…") == 0 else (short[0], short[-1])
        assert text.startswith(head)
        assert text.endswith(tail)
    else:
        assert short == text


def test_plain_text_has_no_control_characters() -> None:
    assert plain("a\x1b[31m\n漢b\ud800") == "a�[31m�漢b�"
