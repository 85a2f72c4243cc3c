"""Which code of others this user lets run: a launch notes what it runs, `tuner trust` what came from elsewhere.

An installed package with plug-ins runs anyway: whoever has installed it has let it run. One that is not installed, but
of which a sweep keeps a wheel, runs only if the SHA-256 of its code is known.

A sweep's folder or a bundle may be somebody else's. The code in it runs only if its SHA-256 stands in this list, which
is a file in the user's own cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trainables.config.plugins.packages import is_package
from trainables.config.plugins.references import is_weights
from trainables.errors import UserError
from trainables.storage.atomic import cache_folder, reason_of

_FILE = "trusted-code"  # a SHA-256 on each line


def remember(digests: Iterable[str]) -> None:
    """Let code run from now on.

    Args:
        digests: SHA-256 of the files.

    Raises:
        UserError: the cache cannot be written.
    """
    path = cache_folder(_FILE)
    try:
        if new := sorted(set(digests) - _known()):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.writelines(f"{digest}\n" for digest in new)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {reason_of(error)}; set TUNER_CACHE to a folder that can be written"
        ) from error


def needs_trust(name: str) -> bool:
    """Return whether a key of the code that settings name runs only if the user lets it: a file or a module does."""
    return not is_package(name) and not is_weights(name)


def is_known(digest: str) -> bool:
    """Return whether this user lets the code of a SHA-256 run."""
    return digest in _known()


def check(code: Mapping[str, str], where: str) -> None:
    """Check that code may run.

    Args:
        code: SHA-256 by the name of the file or module.
        where: the sweep or bundle that needs it, for the message.

    Raises:
        UserError: some of it may not; the message says how to let it.
    """
    known = _known()
    if unknown := [name for name, digest in code.items() if digest not in known and needs_trust(name)]:
        raise UserError(
            f"{where} needs code that you have not let run here ({', '.join(unknown)}): read it, then `tuner trust "
            f"{where}` lets it run"
        )


def _known() -> set[str]:
    try:
        return set(cache_folder(_FILE).read_text().split())
    except (OSError, ValueError):
        return set()
