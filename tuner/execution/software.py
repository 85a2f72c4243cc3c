"""Whether a sweep goes on with the software that trained its runs: the code that trains, its commit, its packages.

Other code makes other numbers, which cannot be compared in one table: it is refused unless somebody accepts it. Other
packages and commits are said. What a sweep went on with is added to its ``provenance.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from trainables.storage.checked_json import read_json
from tuner.errors import UserError
from tuner.results.terminal.output import say
from tuner.storage.recorded_files import RecordedFiles
from tuner.sweep.folder import SweepFolder
from tuner.sweep.provenance import Provenance, Resumption, Software, software

_NUM_SHOWN = 4
_COMMIT_LENGTH = 12


@dataclass(frozen=True)
class SoftwareChange:
    """In what the software that is running differs from that of a sweep.

    Attributes:
        now: the software that is running.
        differences: from the software that the sweep went on with last, in words; empty if only the digests of the code
            were not known.
        files: of the code that trains, those that differ; empty if runs of the sweep were trained with the same code.
    """

    now: Software
    differences: Sequence[str]
    files: Sequence[str]


def compare_software(known: Provenance, now: Software) -> SoftwareChange | None:
    """Return in what the software that is running differs from that of a sweep; None if it is the same."""
    earlier: list[Software] = [known, *known.get("resumed", [])]
    last = earlier[-1]
    codes = [each["code"] for each in earlier if "code" in each]
    is_new = bool(codes) and now["code"]["sha256"] not in {code["sha256"] for code in codes}
    files = _differing(codes[-1]["files"], now["code"]["files"]) if is_new else []
    differences = _differences(last, now)
    is_same = not differences and not files and last.get("code", {}).get("sha256") == now["code"]["sha256"]
    return None if is_same else SoftwareChange(now, differences, files)


def _differences(last: Software, now: Software) -> list[str]:
    before, after = last["versions"], now["versions"]
    pairs = {name: (before.get(name, "none"), after.get(name, "none")) for name in sorted({*before, *after})}
    pairs["commit"] = _short(last["git_commit"]), _short(now["git_commit"])
    return [f"{name} {old} -> {new}" for name, (old, new) in pairs.items() if old != new]


def _short(commit: str | None) -> str:
    """Return the first digits of a commit, with what follows it if the working tree was changed."""
    digits, _, changed = (commit or "none").partition("-")
    return digits[:_COMMIT_LENGTH] + (" with changes" if changed else "")


def _differing(before: dict[str, str], after: dict[str, str]) -> list[str]:
    return [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]


def check_software(
    sweep: SweepFolder, console: Console, *, accept_code_change: bool, command: str = "resume"
) -> SoftwareChange | None:
    """Say in what the software that is running differs from that of a sweep, and return it; None if it is the same.

    Args:
        sweep: that is about to go on.
        console: shows the difference in a line.
        accept_code_change: go on although the code that trains differs.
        command: of `tuner` that is to go on, for the message.

    Raises:
        UserError: the code that trains differs from that of all of the sweep's runs, and this is not accepted; or
            ``provenance.json`` is missing or damaged.
    """
    change = compare_software(sweep.read_provenance(), software())
    if change is None:
        return None
    shown = ", ".join(change.files[:_NUM_SHOWN]) + (", ..." if len(change.files) > _NUM_SHOWN else "")
    if change.files and not accept_code_change:
        since = f" (since then: {', '.join(change.differences)})" if change.differences else ""
        raise UserError(
            f"the code that trains is not the one that trained the runs of {sweep.name!r}: {shown} differ{since}. New "
            f"runs could not be compared with them: go back to that code, or accept and record the change with `tuner "
            f"{command} {sweep.name} --accept-code-change`"
        )
    words = [*change.differences, *([f"accepted changes in the code that trains: {shown}"] if change.files else [])]
    if words:
        say(console, f"{sweep.name} goes on with other software: {'; '.join(words)}")
    return change


def record_software(sweep: SweepFolder, change: SoftwareChange | None, files: RecordedFiles) -> None:
    """Add the software that a sweep goes on with to its ``provenance.json``; nothing is changed there.

    Args:
        sweep: whose lock the caller holds.
        change: what `check_software` has returned.
        files: writes the file, see `tuner.sweep.reader.open_files`.
    """
    if change is None:
        return
    path = sweep.folder / "provenance.json"
    known = read_json(path, dict[str, Any], remedy="put a copy of it in its place", sweep_id=sweep.id)
    entry: Resumption = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "accepted_code_change": bool(change.files),
        **change.now,
    }
    resumed = [*known.get("resumed", []), entry]
    files.write_json(path, {**known, "sweep_id": sweep.id, "resumed": resumed})
