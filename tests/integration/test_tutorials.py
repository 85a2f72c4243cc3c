"""The tutorials, typed as they stand, in one empty folder: every command and every line of Python of them works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import OF_FAIR_WORKERS

pytestmark = pytest.mark.ray
FOLDER = Path(__file__).parents[2] / "docs" / "tutorials"
BLOCKS = [
    (page, *block)
    for page in ("first_sweep", "reading_a_comparison", "from_search_to_export")
    for block in re.findall(r"^```(console|python)\n(.*?)^```", (FOLDER / f"{page}.md").read_text(), re.M | re.S)
]


def test_they_work_one_after_the_other(tmp_path):
    assert len(BLOCKS) >= 10
    environment = {**os.environ, **dict([OF_FAIR_WORKERS])}
    tuner = f"export PATH={Path(sys.executable).parent}:$PATH\n"
    for page, language, text in BLOCKS:
        command = ["bash", "-ec", tuner + text] if language == "console" else [sys.executable, "-c", text]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, f"{page}:\n{text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert (tmp_path / "reports" / "first.html").exists()
