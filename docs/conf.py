"""The site: Sphinx reads the pages of this folder as they are, and docstrings where `api.md` asks.

Sphinx, not MkDocs, because it turns a broken reference, a page that nothing leads to and a
malformed docstring into an error of the build, and reads docstrings by importing the package.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import nofm  # noqa: E402

project = "NofM"
author = copyright = "The NofM contributors"
version = release = nofm.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
# Headings can be linked to, as on the pages themselves.
myst_heading_anchors = 3
# Quotes stand for themselves; only dashes are made.
smartquotes_action = "D"
# What stands indented on a page is a command or a formula.
highlight_language = "text"
# Docstrings write code in single backquotes.
default_role = "code"
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = "NofM"
html_show_sphinx = False
html_copy_source = False
