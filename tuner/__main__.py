"""``python -m tuner`` is ``tuner``."""

from __future__ import annotations

from tuner.cli.app import main

main()
