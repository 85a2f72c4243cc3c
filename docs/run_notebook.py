"""Runs the cells of a notebook in this process, without Jupyter, and keeps what they show as Jupyter would.

`python docs/run_notebook.py NOTEBOOK` writes the outputs into the notebook, and its page in Markdown beside it;
`--output FILE` writes them there instead, and no page.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PAGE = "<!-- Made from {name} by docs/run_notebook.py: change it there. -->\n"


def run(notebook: dict[str, Any]) -> None:
    """Run the cells of code one after the other, and put their outputs into the notebook.

    Raises:
        Exception: what a cell has raised.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code, 1):
        cell |= {"execution_count": number, "outputs": list(_outputs("".join(cell["source"]), names, number))}


def _outputs(source: str, names: dict[str, Any], number: int) -> Iterator[dict[str, Any]]:
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, f"cell {number}", "exec"), names)  # noqa: S102 - the cells are this project's
        value = None
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)  # noqa: S307
    if printed.getvalue():
        yield {"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(keepends=True)}
    if value is not None:
        shown = {"text/plain": repr(value).splitlines(keepends=True)}
        if hasattr(value, "_repr_html_"):
            shown["text/html"] = value._repr_html_().splitlines(keepends=True)
        yield {"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": shown}


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
            lines = "\n".join(line.rstrip() for line in text.rstrip().splitlines())
            parts.append(f"```text\n{lines}\n```\n")
    return "\n".join(parts)


def main() -> None:
    """Run a notebook and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    notebook = json.loads(options.notebook.read_text(encoding="utf-8"))
    run(notebook)
    target = options.output or options.notebook
    target.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if options.output is None:
        options.notebook.with_suffix(".md").write_text(page(notebook, options.notebook.name), encoding="utf-8")


if __name__ == "__main__":
    main()
