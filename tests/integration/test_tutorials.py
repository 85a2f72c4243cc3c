"""The tutorials, typed as they stand, in one empty folder; then what the how-to pages say of a sweep that is there.

The notebook has a folder of its own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import OF_FAIR_WORKERS

pytestmark = pytest.mark.ray
DOCS = Path(__file__).parents[2] / "docs"
FENCE = re.compile(r"^```(console|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# What serves, asks, fetches or trains for long, or needs files that are not here, has tests of its own.
ELSEWHERE = re.compile(
    r"tuner (launch|ui|dashboard|confirm|train|data|delete|trust|pause|stop|spaces (show|plan)|cluster|evaluate first)"
    r"|net\.pt"
)
BLOCKS = [
    (page, *block)
    for page in ("first_sweep", "reading_a_comparison", "from_search_to_export")
    for block in FENCE.findall((DOCS / "tutorials" / f"{page}.md").read_text())
]
HOW_TO = {  # each once, in the order of the pages
    line.partition("  #")[0].rstrip(): page.name
    for page in (DOCS.parent / "README.md", DOCS / "howto" / "everyday.md", DOCS / "howto" / "after_a_crash.md")
    for line in re.findall(r"^tuner .*", page.read_text(), re.MULTILINE)
    if not ELSEWHERE.search(line)
}
IN_ONE_PROCESS = """
import pathlib, shlex, shutil, sys
from tuner.cli.app import main

for line in sys.stdin:
    words = shlex.split(line, comments=True)
    if words[1] == "export":
        shutil.rmtree("exports", ignore_errors=True)
        shutil.rmtree("best", ignore_errors=True)
    bundle = next(map(str, pathlib.Path().glob("exports/first-trial-*")), "")
    sys.argv = [{"7": "3", "exports/first-trial-0007": bundle}.get(word, word) for word in words]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    if code:
        sys.exit(f"{code}: {' '.join(sys.argv)}")
"""


def done_in(folder: Path, *command: str, text: str | None = None) -> None:
    """Run a command in a folder; it must end as it should."""
    environment = {**os.environ, **dict([OF_FAIR_WORKERS]), "COLUMNS": "80", "IPYTHONDIR": str(folder)}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env=environment, input=text, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def test_they_work_one_after_the_other(tmp_path):
    assert len(BLOCKS) >= 10
    for _, language, text in BLOCKS:
        done_in(tmp_path, *(["bash", "-ec", text] if language == "console" else [sys.executable, "-c", text]))
    assert (tmp_path / "reports" / "first.html").exists()
    assert len(HOW_TO) >= 20
    done_in(tmp_path, sys.executable, "-c", IN_ONE_PROCESS, text="\n".join(HOW_TO))


def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path):
    command = [sys.executable, str(DOCS / "run_notebook.py"), str(DOCS / "tutorials" / "in_a_notebook.ipynb")]
    done_in(tmp_path, *command, "--output", "after.ipynb")
    before, after = (
        json.loads(path.read_text())["cells"]
        for path in (DOCS / "tutorials" / "in_a_notebook.ipynb", tmp_path / "after.ipynb")
    )
    outputs = [output for cell in after for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert any(
        "6 of 6 runs ended" in str(output.get("data")) for output in outputs
    )  # the live table, in its last state
    kinds = [[set(output.get("data", {})) for output in cell.get("outputs", ())] for cell in after]
    assert kinds == [[set(output.get("data", {})) for output in cell.get("outputs", ())] for cell in before]
    assert {"text/plain", "text/html"} in [kind for cell in kinds for kind in cell]
    assert list(tmp_path.glob("exports/notebook-*/model.pt2"))
    assert (tmp_path / "reports" / "notebook.html").exists()
