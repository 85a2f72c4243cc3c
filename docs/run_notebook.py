"""Runs the cells of a notebook in Jupyter's own kernel, and keeps what they show.

`python docs/run_notebook.py NOTEBOOK` writes the outputs into the notebook, and its page in Markdown beside it;
`--output FILE` writes them there instead, and no page. What the cells write goes into the current folder.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient

_PAGE = "<!-- Made from {name} by docs/run_notebook.py: change it there. -->\n"
_TIMEOUT_S = 600
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def run(notebook: nbformat.NotebookNode) -> None:
    """Run the cells of code one after the other, and put their outputs into the notebook, without those left empty.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell has raised an error.
    """
    kernel = AsyncKernelManager(transport="ipc")  # no ports
    NotebookClient(notebook, km=kernel, timeout=_TIMEOUT_S, record_timing=False).execute()
    for cell in notebook["cells"]:
        if "outputs" in cell:
            cell["outputs"] = [each for each in cell["outputs"] if each.get("data", {}).get("text/plain") != ""]


def page(notebook: dict[str, Any], name: str) -> str:
    """Return a notebook as a page in Markdown: its texts, its code, and what the cells have shown as text."""
    parts = [_PAGE.format(name=name)]
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(f"{source}\n")
            continue
        parts.append(f"```python\n{source}\n```\n")
        for output in cell["outputs"]:
            text = "".join(output.get("text", output.get("data", {}).get("text/plain", "")))
            lines = "\n".join(line.rstrip() for line in _COLOURS.sub("", text).rstrip().splitlines())
            parts.append(f"```text\n{lines}\n```\n")
    return "\n".join(parts)


def main() -> None:
    """Run a notebook and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    notebook = nbformat.read(options.notebook, as_version=4)
    run(notebook)
    nbformat.write(notebook, options.output or options.notebook)
    if options.output is None:
        options.notebook.with_suffix(".md").write_text(page(notebook, options.notebook.name), encoding="utf-8")


if __name__ == "__main__":
    main()
