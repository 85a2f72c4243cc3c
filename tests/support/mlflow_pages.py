"""The pages that `tuner ui` and `tuner dashboard` serve, for a browser: a link, what the console may say, a table."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.servers import free_port

# MLflow asks who is signed in where nobody signs in, and its charts change their sizes while they are drawn.
OF_MLFLOW = re.compile(r"404 .*/mlflow/users/current$|/favicon\.ico$|ResizeObserver loop")
CELLS = """
(() => {
  const rows = {};
  for (const cell of document.querySelectorAll('.ag-row .ag-cell')) {
    const row = rows[cell.closest('.ag-row').getAttribute('row-index')] ??= {};
    row[cell.getAttribute('col-id')] = (cell.querySelector('a') ?? cell).innerText.trim();
  }
  return Object.keys(rows).sort((one, other) => one - other).map(index => rows[index]);
})()
"""
"""The rows of a table of runs, each as texts by the name of their column."""


@contextlib.contextmanager
def served(home: Path, name: str, command: str = "ui") -> Iterator[str]:
    """Run `tuner ui NAME`, or another command that serves pages, and yield the link that it prints."""
    with contextlib.ExitStack() as stack:
        output = Path(stack.enter_context(tempfile.NamedTemporaryFile()).name)
        process = subprocess.Popen(
            [sys.executable, "-m", "tuner", command, name, "--home", str(home), "--port", str(free_port())],
            stdout=stack.enter_context(output.open("wb")),
            stderr=subprocess.STDOUT,
            env={**os.environ, "COLUMNS": "80"},
        )
        stack.callback(process.wait, 60)
        stack.callback(process.send_signal, signal.SIGINT)
        while (found := re.search(rf"{name} in [^:]+: (http://\S+) ", output.read_text())) is None:
            assert process.poll() is None, output.read_text()
            time.sleep(0.2)
        yield found[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert "Traceback" not in output.read_text()
