"""What a person can put right: shown without a traceback."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake in what was asked for; the message says what, where and what to do. Exit code 2."""
