"""The table of docs/scaleout.md is what `nofm scale` gives."""

import re
from pathlib import Path

import nofm

PAGE = (Path(__file__).parents[2] / "docs/scaleout.md").read_text("utf-8")
BOARDS = (1, 128, 512, 4096)


def rows() -> list[str]:
    found = []
    for exchange in ("dense", "shared-mask", "sharded"):
        result = nofm.scale_out(
            "vgg19",
            batch=32,
            global_batch=4096,
            boards=BOARDS,
            interconnect="pcie4-hosts",
            exchange=exchange,
        )
        for _, row in result.points.query("scaling == 'strong'").iterrows():
            cells = (
                exchange,
                f"{row['boards']:,}",
                f"{1000 * row['seconds']:,.1f}",
                f"{100 * row['exposed_share']:.1f}",
                f"{100 * row['efficiency']:.1f}",
                f"{row['speedup']:.2f}",
            )
            found.append(f"| {' | '.join(cells)} |")
    return found


def test_table_is_what_the_model_gives() -> None:
    block = re.search(r"<!-- table: nofm scale vgg19 -->\n(.*?)<!-- end -->", PAGE, re.DOTALL)
    assert block is not None
    assert block[1].strip().splitlines()[2:] == rows()
