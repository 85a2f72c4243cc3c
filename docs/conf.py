"""Sphinx's settings: `make docs` builds the pages into build/docs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "adversarial-tuner"
author = "the authors of adversarial-tuner"
copyright = "the authors of adversarial-tuner"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "adversarial-tuner"
exclude_patterns: list[str] = []
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
default_role = "code"  # docstrings write `name` for code
napoleon_google_docstring = True
napoleon_numpy_docstring = False
suppress_warnings = ["config.cache"]

_WORD_JOINER = "\u2060"


def setup(app: Sphinx) -> None:
    """Let intervals in tables stay on one line."""
    app.connect("doctree-resolved", lambda app, tree, name: _join_intervals(tree))


def _join_intervals(tree: nodes.document) -> None:
    """Forbid a line to end at the hyphen between two numbers of a table, as in 98.3-99.0."""
    for entry in tree.findall(nodes.entry):
        for text in list(entry.findall(nodes.Text)):
            if not isinstance(text.parent, nodes.literal):
                text.parent.replace(text, nodes.Text(re.sub(r"(?<=\d)-(?=\d)", f"-{_WORD_JOINER}", text.astext())))
