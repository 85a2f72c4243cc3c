"""``python -m tuner`` is ``tuner``."""

from __future__ import annotations

import os
import sys

# `python -m` looks for modules in the current folder first, where any file may lie.
if not sys.flags.safe_path and sys.path[0] != os.path.dirname(os.path.dirname(__file__)):  # noqa: PTH120 (not loaded yet)
    del sys.path[0]

from tuner.cli.app import main

main()
