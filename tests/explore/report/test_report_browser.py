"""The page of a sweep in a real browser: opened from a file, used with mouse, keys and a phone."""

from __future__ import annotations

from pathlib import Path

import pytest

from nofm.explore import report
from nofm.explore.view import View

ROWS = "[...document.querySelectorAll('#table tbody th button')]"
NUMBERS = f"{ROWS}.map((b) => Number(b.textContent))"
TITLE = "document.getElementById('one-title').textContent"


def heading(name: str) -> str:
    """The button of a column of the table of designs."""
    return (
        "[...document.querySelectorAll('#table thead button')]"
        f".find((b) => b.textContent.replace(/\\s/g, '').startsWith('{name}'))"
    )


@pytest.fixture(scope="module")
def path(view: View, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.write(tmp_path_factory.mktemp("page"), view.table, view.info)


def test_it_opens_from_a_file_without_a_complaint_or_a_request(path, open_page, view) -> None:
    page = open_page(path)
    assert page.requests() == [path.as_uri()]
    assert page.value(TITLE) == f"Design {view.designs[view.best]}, of the front"
    assert page.value("document.getElementById('shown').textContent") == (
        f"54 of 54 designs, {len(view.front)} of the front"
    )
    points = page.value("document.querySelectorAll('#plot [data-design]').length")
    assert points == len(view.front)
    dots = page.value("document.querySelector('#plot .others').getAttribute('d')")
    assert dots.count("M") == view.feasible.sum() - len(view.front)
    assert page.complaints() == []


def test_it_sorts_both_ways_and_back(path, open_page, view) -> None:
    page = open_page(path)
    table = view.table
    known = table[table["feasible"]].sort_values("seconds", kind="stable").index.tolist()

    def shown() -> list[int]:
        return page.value(NUMBERS)

    assert shown()[:5] == table.index.tolist()[:5]
    page.click(heading("time"))
    assert shown()[:10] == known[:10]
    assert page.value(f"{heading('time')}.closest('th').getAttribute('aria-sort')") == "ascending"
    page.click(heading("time"))
    assert shown()[:10] == known[::-1][:10]
    # What is unknown stays last.
    assert not set(shown()[:20]) & set(table.index[~table["feasible"]])
    page.click(heading("time"))
    assert shown()[:5] == table.index.tolist()[:5]
    page.click(heading("array.rows"))
    rows = table["array.rows"]
    assert shown()[:10] == rows.sort_values(kind="stable").index.tolist()[:10]
    assert page.complaints() == []


def test_rows_come_as_the_table_is_scrolled(path, open_page, view) -> None:
    page = open_page(path, height=500)
    assert page.value(f"{ROWS}.length") < len(view)
    seen = set(page.value(NUMBERS))
    page.value("void (document.getElementById('table').scrollTop = 1e6)")
    page.wait_for(f"{NUMBERS}.includes({view.designs[-1]})")
    assert page.value(NUMBERS)[-1] == view.designs[-1]
    assert seen | set(page.value(NUMBERS)) <= set(view.designs.tolist())


def test_the_filter_holds_for_table_and_plot(path, open_page, view) -> None:
    page = open_page(path)
    table = view.table
    page.choose("document.getElementById('which')", "infeasible")
    assert page.value(NUMBERS)[0] == table.index[~table["feasible"]][0]
    assert page.value("document.querySelectorAll('#plot [data-design]').length") == 0
    page.choose("document.getElementById('which')", "")
    pattern = "[...document.querySelectorAll('#filter label')].find((l) => l.textContent.startsWith"
    page.choose(f"{pattern}('pattern')).querySelector('select')", "1")
    kept = table[table["pattern"] == "2:8"]
    assert page.value(NUMBERS) == kept.index.tolist()[: len(page.value(NUMBERS))]
    assert page.value("document.getElementById('shown').textContent") == (
        f"{len(kept)} of 54 designs, {kept['pareto'].sum()} of the front"
    )
    unit = page.value(f"{pattern}('time')).textContent").split("(")[1].split(")")[0]
    size = {"µs": 1e-6, "ms": 1e-3}[unit]
    most = float(kept["seconds"].median())
    page.choose(f"{pattern}('time')).querySelector('input')", repr(most / size))
    fewer = kept[kept["seconds"] <= most]
    shown = page.value("document.getElementById('shown').textContent")
    assert int(shown.split()[0]) in (len(fewer), len(fewer) - 1)
    assert page.complaints() == []


def test_a_point_opens_its_design_with_breakdown_and_toml(path, open_page, view) -> None:
    page = open_page(path)
    row = int(view.front[-1])
    number = view.designs[row]
    page.click(f"document.querySelector('#plot [data-design=\"{number}\"]')")
    assert page.value(TITLE) == f"Design {number}, of the front"
    assert page.value("document.activeElement.id") == "one"
    step = view.step(row)
    lead = page.value("document.getElementById('one-lead').textContent")
    assert f"{step.total['speedup']:.2f}× as fast as dense" in lead
    jobs = page.value(
        "[...document.querySelectorAll('#one-jobs tbody tr')].map((r) => "
        "[...r.cells].map((c) => c.textContent)).filter((r) => r.length > 1)"
    )
    layers = step.layers
    assert [job[0] for job in jobs] == layers["layer"].tolist()
    assert [job[1] for job in jobs] == layers["stage"].tolist()
    # The bar is of the job's cycles.
    bars = page.value(
        "[...document.querySelectorAll('#one-jobs .bar')].map((b) => "
        "[...b.children].reduce((sum, i) => sum + parseFloat(i.style.width), 0))"
    )
    assert all(97 <= bar <= 100.5 for bar in bars)
    marks = page.value("document.querySelectorAll('#one-roofline svg title').length")
    assert marks >= 1
    assert page.value("document.querySelectorAll('#one-timeline svg path[fill]').length") >= 4
    assert page.value("document.getElementById('one-toml').textContent") == (
        view.accelerator(row).to_toml()
    )
    assert page.value("document.getElementById('one-command').textContent") == (
        f"nofm simulate net --batch 8 --method bdwp --pattern {view.parameters(row)['pattern']} "
        f"--hardware design-{number}.toml"
    )
    assert page.complaints() == []


def test_the_button_copies_the_toml(path, open_page, browser, view) -> None:
    page = open_page(path)
    permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    browser.call("Browser.grantPermissions", permissions=permissions)
    page.value("void (document.querySelector('#one details').open = true)")
    button = "document.getElementById('one-toml').parentElement.querySelector('.copy')"
    page.click(button)
    page.wait_for(f"{button}.textContent === 'Copied'")
    assert page.value("navigator.clipboard.readText()") == view.accelerator(view.best).to_toml()
    assert page.complaints() == []


def test_hovering_shows_the_design(path, open_page, view) -> None:
    page = open_page(path)
    row = int(view.front[0])
    spot = f"document.querySelector('#plot [data-design=\"{view.designs[row]}\"]')"
    x, y = page.value(
        f"(() => {{ const e = {spot}; e.scrollIntoView({{block: 'center'}});"
        "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    page.move(x, y)
    tip = page.value("document.querySelector('#plot .tip').textContent")
    assert tip.startswith(f"design {view.designs[row]}, of the front\n")
    assert f"pattern {view.parameters(row)['pattern']}" in tip


def test_every_design_can_be_opened_simulated_or_not(path, open_page, view) -> None:
    page = open_page(path)
    others = [row for row in range(len(view)) if view.feasible[row] and row not in view.front]
    failed = [row for row in range(len(view)) if not view.feasible[row]]
    for row in (others[0], failed[0]):
        page.value(f"openDesign({row})")
        assert page.value("document.getElementById('one-step').hidden")
        assert page.value("document.getElementById('one-toml').textContent") == (
            view.accelerator(row).to_toml()
        )
        error = page.value("document.getElementById('one-error').textContent")
        assert error == view.table["error"].iloc[row]
    assert page.complaints() == []


def test_axes_are_chosen_among_all_figures(path, open_page) -> None:
    page = open_page(path)
    names = page.value("[...document.getElementById('up').options].map((o) => o.textContent)")
    assert names == ["time *", "energy *", "cycles", "LUTs"]
    assert page.value("document.querySelectorAll('#plot .stair').length") == 1
    page.choose("document.getElementById('up')", "3")
    assert page.value("document.querySelectorAll('#plot .stair').length") == 0
    label = page.value("document.querySelector('#plot svg').getAttribute('aria-label')")
    assert label.startswith("LUTs (k) over time (")


def test_it_is_used_with_the_keyboard_alone(path, open_page, view) -> None:
    page = open_page(path)
    page.value("void document.getElementById('plot').focus()")
    page.press("ArrowRight")
    # The leftmost of the front has the least time.
    spoken = page.value("document.getElementById('pointed').textContent")
    assert spoken.startswith(f"design {view.designs[view.front[0]]}, of the front")
    page.press("ArrowRight")
    page.press("Enter")
    assert page.value(TITLE) == f"Design {view.designs[view.front[1]]}, of the front"
    # Headings and rows are buttons that Tab reaches.
    page.value(f"void {heading('energy')}.focus()")
    page.press("Enter")
    assert page.value(f"{heading('energy')}.closest('th').ariaSort") == "ascending"
    page.value(f"void {ROWS}[0].focus()")
    page.press("Tab")
    assert page.value("document.activeElement === " + f"{ROWS}[1]")
    page.press("Enter")
    opened = page.value(f"{ROWS}[1].textContent")
    assert page.value(TITLE).startswith(f"Design {opened}")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_window_nor_hard_to_read(path, open_page, width, dark) -> None:
    page = open_page(path, width=width, height=740, dark=dark)
    assert page.value("document.documentElement.scrollWidth") == width
    wide = page.value(
        "[...document.querySelectorAll('body *')].filter((e) => "
        "e.getBoundingClientRect().right > innerWidth + 0.5 && !e.closest('.scroll, .panel'))"
        ".map((e) => e.outerHTML.slice(0, 80))"
    )
    assert wide == []
    # Contrast of text, as WCAG 2 counts it: 4.5 at least for text of ordinary size.
    contrasts = page.value(CONTRASTS)
    assert len(contrasts) >= 15
    assert [found for found in contrasts if found[0] < 4.5] == []
    back = page.value("getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(255, 255, 255)") is not dark
    assert page.complaints() == []


CONTRASTS = """
(() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map((v) => {
      const c = v / 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const back = (e) => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const found = new Map();
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest('script, .panel')) continue;
    const style = getComputedStyle(e);
    const colour = e.namespaceURI.endsWith('svg') ? style.fill : style.color;
    const [a, b] = [light(colour), light(back(e))].sort((x, y) => y - x);
    const name = `${e.tagName} ${e.className.baseVal ?? e.className} ${colour} on ${back(e)}`;
    found.set(name, Math.round((100 * (a + 0.05)) / (b + 0.05)) / 100);
  }
  return [...found].map(([name, ratio]) => [ratio, name]);
})()
"""


def test_a_narrower_window_draws_again(path, open_page) -> None:
    page = open_page(path, width=1200)
    wide = page.value("document.querySelector('#plot svg').viewBox.baseVal.width")
    page.resize(500, 800)
    page.wait_for(f"document.querySelector('#plot svg').viewBox.baseVal.width < {wide - 300}")
    assert page.value("document.documentElement.scrollWidth") == 500


def test_hostile_names_run_nothing(make_view, open_page, tmp_path) -> None:
    hostile = "<img src=x onerror='document.title=1'><script>document.title=2</script>"
    view = make_view({"name": [hostile, "</script><script>document.title=3</script>"]})
    table = view.table.assign(error=hostile)
    page = open_page(report.write(tmp_path, table, view.info))
    assert page.value("document.title").startswith("Designs: ")
    assert page.value("document.querySelectorAll('img').length") == 0
    assert page.value("document.getElementById('one-error').textContent") == hostile
    assert page.complaints() == []


def test_thousands_of_designs_make_few_elements(make_view, open_page, tmp_path) -> None:
    view = make_view({"array.rows": list(range(1, 101)), "array.columns": list(range(1, 61))})
    page = open_page(report.write(tmp_path, view.table, view.info, steps=1))
    assert page.value("document.getElementById('shown').textContent").startswith(
        "5,000 of 5,000 designs that the page holds"
    )
    assert page.value("document.querySelectorAll('body *').length") < 6000
    page.click(heading("energy"))
    first = view.table["energy_joules"].astype(float).idxmin()
    assert page.value(NUMBERS)[0] == first
    assert page.complaints() == []
