"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# No test is judged by the clock: machines are busy with other things now and then.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
