"""A bandwidth that reads and writes share: as much as it says, reads first."""

from __future__ import annotations

import pytest

from nofm.rtl.bench.bandwidth import Bandwidth


def play(bandwidth: Bandwidth, cycles: int, reads: int, writes: int) -> list[str]:
    """What moves in each cycle, with so many beats waiting from the first on."""
    moved = []
    for _ in range(cycles):
        bandwidth.step(reads > 0)
        now = ""
        if reads and bandwidth.reads.go():
            reads -= 1
            now += "r"
        if writes and bandwidth.writes.go():
            bandwidth.move()
            writes -= 1
            now += "w"
        moved.append(now)
    return moved


@pytest.mark.parametrize(("beats", "cycles"), [(1, 1), (1, 2), (3, 4), (2, 7), (25, 32)])
def test_its_beats_in_its_cycles_and_reads_first(beats: int, cycles: int) -> None:
    moved = play(Bandwidth(beats, cycles), 10 * cycles, 5 * beats, 5 * beats)
    assert max(map(len, moved)) == 1
    # A beat needs a whole one's credit, so the very last may come in the cycle after.
    assert "".join(moved) in {"r" * 5 * beats + "w" * rest for rest in (5 * beats, 5 * beats - 1)}
    # What is not used is lost: after a pause no more than two beats follow each other too soon.
    bandwidth = Bandwidth(beats, cycles)
    for _ in range(100):
        bandwidth.step(False)
    after = "".join(play(bandwidth, 4 * cycles, 10**6, 0))
    assert 4 * beats <= len(after) <= 4 * beats + 1


@pytest.mark.parametrize(("beats", "cycles"), [(0, 1), (2, 1)])
def test_what_is_no_bandwidth(beats: int, cycles: int) -> None:
    with pytest.raises(ValueError, match="a bandwidth must be from 1 beat"):
        Bandwidth(beats, cycles)
