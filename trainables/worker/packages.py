"""Packages with plug-ins on a node: where one is not installed, it comes from the wheel that the sweep keeps."""

from __future__ import annotations

from collections.abc import Mapping

from trainables.config.plugins.user_code import CODE
from trainables.config.plugins.wheels import provide_packages
from trainables.storage.object_store import below, store_at


def ensure_packages(code: Mapping[str, str], place: str) -> None:
    """Let this process use the packages that a run needs.

    Args:
        code: SHA-256 by name, as the settings of a run have them.
        place: folder or URL of the sweep; empty if it is not known.

    Raises:
        UserError: one is not installed and the sweep has no wheel of it, or another one is; or see
            `trainables.config.plugins.wheels.provide_wheel`.
        StorageError: the sweep's storage cannot be read.
    """
    provide_packages(code, lambda name: store_at(below(place, CODE)).read(name) if place else None)
