"""The authentication token of a Ray cluster: where it is kept, how it is made, and who may read it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from tuner.errors import UserError

_MODE = "RAY_AUTH_MODE"


def is_token_mode() -> bool:
    """Return whether ``RAY_AUTH_MODE`` requires a token; Ray takes every value but ``token`` for ``disabled``."""
    return os.environ.get(_MODE, "token").lower() == "token"


def check_mode(*, insecure: bool) -> None:
    """Check that what is started here will require a token.

    Args:
        insecure: accept that it requires none: whoever reaches this machine can run code on it.

    Raises:
        UserError: ``RAY_AUTH_MODE`` turns tokens off.
    """
    if not (insecure or is_token_mode()):
        raise UserError(
            f"{_MODE} is {os.environ[_MODE]!r}, so whoever reaches this machine could run code on it; it must be "
            "'token' (unset does): without authentication Ray starts only with --insecure"
        )


def token_path() -> Path:
    """Return the file that Ray reads the token from: ``RAY_AUTH_TOKEN_PATH``, else ``~/.ray/auth_token``."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or _home() / "auth_token")


def _home() -> Path:
    try:
        return Path.home() / ".ray"
    except RuntimeError:
        raise UserError("this user has no home directory: set HOME to a folder that can be written") from None


def read_token() -> str | None:
    """Return the token from ``RAY_AUTH_TOKEN`` or from its file; None if there is neither.

    Raises:
        UserError: the file cannot be read.
    """
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    path = token_path()
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(
            f"the token in {path} cannot be read: {error}; RAY_AUTH_TOKEN_PATH names another file"
        ) from None


def make_token() -> Path:
    """Write a new token that only this user can read, unless there is one already, and return its file.

    Raises:
        UserError: the file cannot be written.
    """
    path = token_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path
    except OSError as error:
        raise UserError(f"cannot write a token into {path}: {error}; RAY_AUTH_TOKEN_PATH names another file") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    return path


def check_token_file() -> None:
    """Check that no other user of this machine can read the token.

    Raises:
        UserError: the mode of its file allows it.
    """
    path = token_path()
    if os.environ.get("RAY_AUTH_TOKEN") or not path.exists():
        return
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise UserError(
            f"{path} has mode {mode:04o}, so others can read the token; it must be 0600: `chmod 600 {path}`, or, if "
            "others may have read it, remove it on all nodes, and `tuner cluster head` makes a new one"
        )


def secure_own_token() -> None:
    """Make the token of a cluster on this machine alone, with mode 0600; Ray would make one that everybody can read.

    Raises:
        UserError: it cannot be made, or another user has made it.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or not is_token_mode():
        return
    path = make_token()
    if path.parent == _home() and path.parent.stat().st_mode & 0o022:  # made under a umask that lets others replace it
        path.parent.chmod(0o700)
    owner = path.stat().st_uid
    if owner not in (0, os.getuid()):
        raise UserError(f"{path} was made by another user (uid {owner}), who knows the token: remove it")
    if owner == os.getuid():
        path.chmod(0o600)
