"""Sphinx's settings: `make docs` builds the pages into build/docs."""

from __future__ import annotations

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
