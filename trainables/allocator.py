"""Keeps the memory of one minibatch for the next.

By default glibc returns freed activations to the kernel, and every minibatch takes them back page by page: up to a
quarter of the time of an update on a CPU.
"""

from __future__ import annotations

import ctypes
import sys

# From malloc.h. What is larger than the second is still mapped on its own; 32 MiB is the most that glibc takes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES, _LARGEST_BYTES = 2**30, 2**25


def keep_freed_memory() -> None:
    """Let this process keep up to 1 GiB that it has freed; does nothing where the C library is not glibc."""
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_MMAP_THRESHOLD, _LARGEST_BYTES)
