"""What tests of a sweep's pictures and page share: made-up results, a browser that opens pages.

The browser is any Chromium, driven over its DevTools protocol through two pipes, with nothing but
the standard library.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nofm.dataflow.accelerator import load
from nofm.explore.space_info import SpaceInfo
from nofm.explore.view import View
from nofm.workloads.layer import Linear
from nofm.workloads.trace import Trace

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
PATIENCE_SECONDS = 60


class Browser:
    """A Chromium without a window."""

    def __init__(self, command: str, profile: Path) -> None:
        options = [
            *("--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}"),
            *("--no-first-run", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb"),
            # Nothing but the page itself: Chromium's own services ask the network.
            *("--disable-background-networking", "--disable-component-update"),
        ]
        if os.geteuid() == 0:
            options.append("--no-sandbox")
        (to_child, self._out), (self._in, from_child) = os.pipe(), os.pipe()
        # Away from 3 and 4, where the child wants them.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_child, from_child)]

        def place() -> None:
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        self._process = subprocess.Popen(
            [command, *options],
            preexec_fn=place,
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (to_child, from_child, *ends):
            os.close(end)
        self._read = b""
        self._number = 0
        self._pages: dict[str, Page] = {}

    def call(self, method: str, session: str = "", **values: Any) -> dict[str, Any]:
        """Ask for something and wait for the answer; events on the way go to their pages."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": values}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == message["id"]:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def receive(self) -> dict[str, Any]:
        """The next message."""
        end = time.monotonic() + PATIENCE_SECONDS
        while b"\0" not in self._read:
            left = end - time.monotonic()
            assert left > 0, "the browser is silent"
            ready, _, _ = select.select([self._in], [], [], left)
            if ready:
                data = os.read(self._in, 1 << 20)
                assert data, "the browser is gone"
                self._read += data
        text, _, self._read = self._read.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        page = self._pages.get(message.get("sessionId", ""))
        if page is not None and "method" in message:
            page.events.append((message["method"], message["params"]))
        return message

    def open(self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> Page:
        """A page from a file, loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        page = Page(self, attached["sessionId"], target)
        self._pages[page.session] = page
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[scheme])
        page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        page.call("Page.navigate", url=path.as_uri())
        page.wait_for("document.readyState === 'complete' && location.protocol === 'file:'")
        return page

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait(PATIENCE_SECONDS)
        os.close(self._out)
        os.close(self._in)


class Page:
    """A page that is open in a browser."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser, self.session, self._target = browser, session, target
        self.events: list[tuple[str, dict[str, Any]]] = []

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        return self._browser.call(method, self.session, **values)

    def value(self, code: str) -> Any:
        """What an expression gives, a promise's result included."""
        found = self.call(
            "Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait_for(self, code: str) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not self.value(code):
            assert time.monotonic() < end, f"never true: {code}"
            time.sleep(0.02)

    def resize(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )

    def click(self, code: str) -> None:
        """A press of the mouse in the middle of the element that an expression gives."""
        x, y = self.value(
            f"(() => {{ const e = {code}; e.scrollIntoView({{block: 'center', inline: 'nearest'}});"
            "const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        self.move(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            at = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", **at)

    def move(self, x: float, y: float) -> None:
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key: str) -> None:
        code = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowRight": 39, "ArrowLeft": 37}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind, more in (("keyDown", text), ("keyUp", {})):
            values = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
            self.call("Input.dispatchKeyEvent", **values, **more)

    def choose(self, code: str, value: str) -> None:
        """Choose an option, or type a value, as a person does: with an event."""
        self.value(
            f"(() => {{ const e = {code}; e.value = {json.dumps(value)};"
            "for (const kind of ['input', 'change'])"
            "e.dispatchEvent(new Event(kind, {bubbles: true})); })()"
        )

    def picture(self) -> bytes:
        """The page's top as a PNG, as large as its window."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def complaints(self) -> list[str]:
        """Errors and warnings of the page since it was opened, those of its policy included."""
        self.value("1")
        found = []
        for kind, values in self.events:
            if kind == "Runtime.exceptionThrown":
                found.append(str(values["exceptionDetails"]))
            elif kind == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
                found.append(values["entry"]["text"])
            elif kind == "Runtime.consoleAPICalled":
                found.append(str(values["args"]))
        return found

    def requests(self) -> list[str]:
        """Everything that the page asked for."""
        return [
            values["request"]["url"]
            for kind, values in self.events
            if kind == "Network.requestWillBeSent"
        ]

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)


Open = Callable[..., Page]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser, or the test is skipped, for there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    made = Browser(found, tmp_path_factory.mktemp("browser"))
    yield made
    made.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens a page: `open_page(path, width=..., dark=...)`."""
    pages = []

    def opened(path: Path, **how: Any) -> Page:
        pages.append(browser.open(path, **how))
        return pages[-1]

    yield opened
    for page in pages:
        page.close()


TRACE = Trace(
    name="net",
    batch=8,
    layers=(
        Linear(name="first", batch=8, rows=16, in_features=64, out_features=64, prunable=False),
        Linear(name="second", batch=8, rows=16, in_features=64, out_features=128),
        Linear(name="third", batch=8, in_features=128, out_features=64),
    ),
)
GRID: dict[str, list[Any]] = {
    "array.rows": [4, 8, 16],
    "array.columns": [4, 8],
    "pattern": ["2:4", "2:8", "3:8"],
    "dram.bandwidth_gbps": [0.8, 3.2, 12.8],
}
OBJECTIVES = {"seconds": False, "energy_joules": False}


def _made(
    grid: dict[str, list[Any]] | None = None,
    objectives: dict[str, bool] | None = None,
    *,
    trace: Trace = TRACE,
    noise: float = 0.05,
) -> View:
    """Figures by a formula, with the true front marked; the array lacks 3:8."""
    grid, objectives = grid or GRID, objectives or OBJECTIVES
    table = pd.DataFrame(list(product(*grid.values())), columns=list(grid))
    table["workload"], table["batch"], table["method"] = trace.name, trace.batch, "bdwp"
    if "pattern" not in grid:
        table["pattern"] = "2:8"
    random = np.random.default_rng(1)
    macs = table.get("array.rows", pd.Series(8, table.index)) * table.get("array.columns", 4)
    share = np.array([1 / float(p.split(":")[1]) for p in table["pattern"]])
    slow = 1 / table.get("dram.bandwidth_gbps", pd.Series(3.2, table.index))
    jitter = random.uniform(1, 1 + noise, len(table))
    table["seconds"] = 0.02 * (share / macs + 0.01 * slow) * jitter
    table["energy_joules"] = 0.001 * (share + 0.2 + macs / 400) * random.permutation(jitter)
    table["cycles"] = (table["seconds"] * 2e8).round().astype("Int64")
    table["lut"] = (3000 + 600 * macs).astype("Int64")
    table["feasible"] = table["pattern"] != "3:8"
    table["error"] = np.where(table["feasible"], "", "accelerator 'x' does not support <3:8>")
    unknown = ~table["feasible"]
    for name in ("seconds", "energy_joules", "cycles", "lut"):
        table[name] = table[name].mask(unknown)
    signs = np.array([-1.0 if most else 1.0 for most in objectives.values()])
    values = table[list(objectives)].astype(float).to_numpy() * signs
    table["pareto"] = [
        bool(ok)
        and not ((values <= mine).all(axis=1) & (values < mine).any(axis=1))[~unknown].any()
        for mine, ok in zip(values, table["feasible"], strict=True)
    ]
    table.insert(0, "design", np.arange(len(table)) + 100)
    steps = ("workload", "batch", "method", "pattern")
    info = SpaceInfo(
        base=load("sat-4x4"),
        parameters=(*steps, *(name for name in grid if name not in steps)),
        objectives=objectives,
        traces={(trace.name, trace.batch): trace},
    )
    return View(table, info)


MakeView = Callable[..., View]


@pytest.fixture(scope="session")
def make_view() -> MakeView:
    """Makes results: `make_view(grid, objectives, trace=..., noise=...)`."""
    return _made


@pytest.fixture(scope="session")
def view(make_view: MakeView) -> View:
    """54 designs, 18 of them infeasible, by time and energy."""
    return make_view()
