"""What the mapping search and the timing both compute, for Numba's cache in two files, agrees."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from nofm.dataflow import mapping
from nofm.kernels.pattern import Pattern
from nofm.simulator import timing

size = st.integers(1, 300)


@st.composite
def images(draw):
    keep_m = draw(st.integers(1, 16))
    out_width, out_height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    stride, extent = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    padding = draw(st.integers(0, extent - 1))
    read = (out_height - 1) * stride + extent
    return SimpleNamespace(
        image_positions=draw(st.sampled_from((0, out_width * out_height))),
        image_out_width=out_width,
        image_stride=stride,
        image_extent=extent,
        image_in_height=max(1, read - padding),
        image_in_width=draw(size),
        keep_n=draw(st.integers(1, keep_m)),
        keep_m=keep_m,
    )


@given(images(), st.integers(0, 100_000))
def test_footprint_of_consecutive_positions(image, positions):
    assert mapping._footprint(image, positions) == timing._positions(image, positions)


@given(images(), st.integers(0, 100_000))
def test_kept_elements_of_a_run(image, length):
    expected = Pattern(image.keep_n, image.keep_m).kept(length)
    assert mapping._kept(image, length) == timing._kept(image, length) == expected


@given(images(), st.integers(0, 10_000_000))
def test_most_positions_fit(image, elements):
    most = mapping._most_positions(image, elements)
    assert most == 0 or mapping._footprint(image, most) <= elements
