"""The home of all sweeps: where it is, which sweeps are in it, and which names are free."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from search_spaces.limits import NAME_PATTERN
from trainables.errors import StorageError
from trainables.storage.atomic import cache_folder, make_private
from trainables.storage.object_store import check_url, is_url, path_of
from trainables.storage.sweep_store import SweepStore
from tuner.errors import UserError

NAME = re.compile(NAME_PATTERN)
_SLIP_OF_URL = re.compile(r"[A-Za-z][\w+.:-]+:/")


def home(place: str | Path | None = None) -> SweepStore:
    """Return the store of all sweeps: the argument, else ``TUNER_HOME``, else the folder ``sweeps`` right here.

    For the URL of an object store, its root is a working copy in this machine's cache.

    Raises:
        UserError: the URL does not name an object store, contains a secret, or cannot be reached.
    """
    place = str(place or os.environ.get("TUNER_HOME") or "sweeps")
    if _SLIP_OF_URL.match(place) and not is_url(place):
        raise UserError(f"--home {place} is neither a URL like s3://BUCKET/FOLDER nor a path; a folder is ./{place}")
    if not is_url(place):
        return SweepStore(Path(place).absolute())
    scheme, _, rest = place.partition("://")
    url = f"{scheme.lower()}://{rest}"
    try:
        if url.startswith("file://"):
            return SweepStore(path_of(url))
        check_url(url)
    except (ValueError, StorageError) as error:
        raise UserError(f"the sweeps' storage cannot be used: {error}; choose another --storage") from error
    copy = cache_folder("sweeps") / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]
    make_private(copy)
    return SweepStore(copy, url)


def local_path(path: str | Path) -> Path:
    """Return a path on this machine, once it is no URL: what commands write beside sweeps goes to local files.

    Raises:
        UserError: it is a URL.
    """
    if _SLIP_OF_URL.match(f"{path}/"):
        url = re.sub("^([^/]*:)/*", r"\1//", str(path))
        raise UserError(f"{url} is a URL, and this is written on this machine: name a file or folder here")
    return Path(path)


def names(home: Path | SweepStore) -> list[str]:
    """Return the names of the sweeps in a home."""
    return SweepStore.of(home).names()


def check_available(name: str, home: Path | SweepStore, study_storage: str | None = None) -> None:
    """Check that a sweep can be created: its name is valid and free, and its home can be written and keep a study.

    Raises:
        UserError: with what to do instead.
    """
    check_name(name)
    store = SweepStore.of(home)
    if study_storage is None and store.url is not None:
        raise UserError(
            f"{store} cannot keep a study, because nothing can be added to a file there: name "
            "a database with --study-storage postgresql+psycopg://USER@HOST/DATABASE"
        )
    store.pull(store.root / name)
    if (store.root / name).exists():
        raise UserError(f"a sweep named {name!r} is in {store} already: `tuner resume {name}` continues it")
    nearest = next(folder for folder in (store.root, *store.root.parents) if folder.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        raise UserError(f"cannot write into {nearest}: choose another --home, or set TUNER_HOME")


def is_open_to_others(store: SweepStore) -> bool:
    """Return whether other users of this machine can enter or read the folder of all sweeps."""
    folders = [store.root, *store.root.parents]
    modes = [folder.stat().st_mode for folder in folders if folder.exists()]
    return bool(modes) and store.root.exists() and modes[0] & 0o007 != 0 and all(mode & 0o001 for mode in modes[1:])


def check_name(name: str) -> None:
    """Check that a name is allowed for a sweep.

    Raises:
        UserError: it is not; the message says which names are.
    """
    if not NAME.fullmatch(name):
        raise UserError(
            f"a sweep's name must be 1 to 63 of a-z, 0-9, '-' and '_', starting with a letter or digit, got {name!r}"
        )
