"""Which run of which sweep a file belongs to, and with which settings: metrics and checkpoints say it of themselves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def settings_digest(settings: Mapping[str, Any]) -> str:
    """Return the digest of a run's complete settings: SHA-256 of their canonical JSON, in hexadecimal."""
    return hashlib.sha256(_canonical(settings).encode()).hexdigest()


@dataclass(frozen=True)
class RunIdentity:
    """One run of one sweep with its settings.

    Attributes:
        sweep: id of the sweep.
        run: key of the run, unique in the sweep.
        settings: digest of the run's settings, see `settings_digest`.
    """

    sweep: str
    run: str
    settings: str

    def as_json(self) -> dict[str, str]:
        """Return the keys and values that a file carries."""
        return {"sweep": self.sweep, "run": self.run, "settings": self.settings}

    def mismatch(self, content: Mapping[str, object]) -> str:
        """Return to what else a file belongs by its content, as the end of a sentence; empty if it is this run's."""
        if content.get("sweep") != self.sweep:
            return f"it belongs to another sweep, of the id {content.get('sweep')}"
        if content.get("run") != self.run:
            return f"it belongs to the run {content.get('run')}"
        if content.get("settings") != self.settings:
            return "it belongs to a run with other settings"
        return ""
