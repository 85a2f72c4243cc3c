"""The command line, but the driver draws nothing at its end: for tests of how sweeps end, which end many."""

from __future__ import annotations

from tuner.cli.app import main
from tuner.tracking import sync

if __name__ == "__main__":
    assert sync.draw_pictures
    sync.draw_pictures = lambda *_, **__: {}  # before the driver is imported, which takes it from there
    main()
