"""What another user of this machine can do: Python code that runs as nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
# What is imported first may lie where only the first user can read it.
_BECOME_NOBODY = f"""
import encodings.idna, http.client, json, os, pathlib, sys
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
"""


def as_nobody(code: str, *arguments: Any) -> Any:
    """Run code as nobody, and return what it prints as JSON; its arguments are in ``arguments``."""
    script = f"{_BECOME_NOBODY}\narguments = json.loads(sys.argv[1])\n{code}"
    command = [sys.executable, "-P", "-c", script, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
