"""A base of the tests that compute: on one thread, which is much faster for tiny networks on a busy machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


class SingleThreadedTests:
    """Tests that run torch on one thread; afterwards it has as many as before."""

    @pytest.fixture(autouse=True)
    def single_thread(self) -> Iterator[None]:
        """Set the number of threads, for the time of a test."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(before)
