"""``python -m tuner`` is ``tuner``, and both begin here, where little is loaded."""

from __future__ import annotations

import atexit
import os
import sys

_exit_code = 1


def main() -> None:
    """Load the command line and run it; Ctrl-C while it is loaded ends it without a word, for nothing has begun."""
    global _exit_code  # noqa: PLW0603  # it is the process's
    atexit.register(_end)  # the first that is registered is called last
    try:
        from tuner.cli.app import main as run
    except KeyboardInterrupt:
        _exit_code = 130
        sys.exit(130)
    try:
        run()
        _exit_code = 0
    except SystemExit as end:
        _exit_code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise


def _end() -> None:
    """End this process as Python would, but without freeing one by one what torch, Ray and MLflow have in memory.

    That takes a second in which a person sees nothing happen.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # closed, or none: Python says what there is to say
        return
    os._exit(_exit_code)


if __name__ == "__main__":
    # `python -m` looks for modules in the current folder first, where any file may lie.
    if not sys.flags.safe_path and sys.path[0] != os.path.dirname(os.path.dirname(__file__)):  # noqa: PTH120 (not loaded yet)
        del sys.path[0]
    main()
