"""``python -m tuner`` is ``tuner``, and both begin here, where little is loaded."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Load the command line and run it; Ctrl-C while it is loaded ends it without a word, for nothing has begun."""
    try:
        from tuner.cli.app import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    # `python -m` looks for modules in the current folder first, where any file may lie.
    if not sys.flags.safe_path and sys.path[0] != os.path.dirname(os.path.dirname(__file__)):  # noqa: PTH120 (not loaded yet)
        del sys.path[0]
    main()
