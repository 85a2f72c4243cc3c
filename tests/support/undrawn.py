"""The command line, but the driver draws nothing at its end: for tests of how sweeps end, which end many."""

from __future__ import annotations

import sys


def draw_nothing() -> None:
    """Let no driver of this process draw its sweep or its champion, which takes seconds of computing."""
    from tuner.results.pictures.draw import Pictures
    from tuner.tracking import sync
    from tuner.tracking.registry import logged_model

    # A command imports the driver only when it drives, and that takes the function from the first.
    for module in (sync, sys.modules.get("tuner.execution.search", sync)):
        assert module.draw_pictures
        module.draw_pictures = lambda *_, **__: {}
    assert logged_model.draw_run
    logged_model.draw_run = lambda *_: Pictures()


if __name__ == "__main__":
    if {"launch", "resume", "confirm"} & set(sys.argv):  # for the others this would be imported in vain
        draw_nothing()
    from tuner.cli.app import main

    main()
