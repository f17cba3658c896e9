"""What every page of HTML shares: texts made safe, figures inlined, and a policy for scripts.

A page is one file that loads nothing. Every text from outside passes `text`, and the policy lets
the page's own script run and no other.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from html import escape
from importlib import resources

from nofm.simulator.report import figures
from nofm.simulator.report.units import plain


def asset(name: str, package: str = "nofm.simulator.report") -> str:
    """The text of a file that stands beside a package's code."""
    return resources.files(package).joinpath(name).read_text("utf-8")


def policy(script: str) -> str:
    """The Content-Security-Policy of a page whose one script is `script`."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def text(value: object) -> str:
    """A value on one line, as text of a page."""
    return escape(plain(str(value)))


def card(what: str, figure: str, below: str = "", kind: str = "") -> str:
    """One of the large figures at the top."""
    mark = f' class="{kind}"' if kind else ""
    small = f"<small>{text(below)}</small>" if below else ""
    return f"<li{mark}><span>{text(what)}</span><b>{text(figure)}</b>{small}</li>"


def definitions(entries: Mapping[str, str]) -> str:
    """Terms and what they mean, for a `dl`."""
    return "\n".join(f"<dt>{text(k)}</dt><dd>{text(v)}</dd>" for k, v in entries.items())


def copyable(command: str) -> str:
    """A text with a button that copies it; `copy.js` makes the button work."""
    return (
        '<div class="copyable"><button type="button" class="copy">Copy</button>'
        f"<pre>{escape(command)}</pre></div>"
    )


def inline_figure(name: str, data: bytes, caption: str) -> str:
    """An SVG file inside the page, its identifiers kept apart from those of other figures."""
    svg = data.decode()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    width = float(re.search(r'width="([\d.]+)pt"', svg)[1])  # type: ignore[index]
    caption = text(caption)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{caption}" ', 1)
    kind = ' class="wide"' if width > 72 * figures.COLUMN_INCHES + 1 else ""
    return (
        f'<figure{kind}><div class="panel">{svg}</div><figcaption>{caption}</figcaption></figure>'
    )
