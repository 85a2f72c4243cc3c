"""Every file of a sweep is damaged in many ways: every command answers in words, and no number changes in silence."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tuner.conftest import train_all
from trainables.storage import checked_json
from tuner.results.confirmation import write_confirmation
from tuner.search.confirmation import make_plan
from tuner.search.confirmation_ledger import ConfirmLedger
from tuner.search.ledger import Ledger
from tuner.sweep.evaluations import EVALUATION_FILES, EvaluationResults
from tuner.sweep.folder import SweepFolder
from tuner.sweep.runs import Run
from tuner.sweep.snapshot import read_snapshot

COMMANDS = (
    ("status",),
    ("status", "tiny"),
    ("status", "tiny", "--format", "json"),
    ("trials", "tiny"),
    ("compare", "tiny"),
    ("show", "tiny", "1"),
    ("show", "tiny", "1", "--format", "json"),
    ("replay", "tiny", "--pruner", "none"),
)
NUM_COMMANDS = int(os.environ.get("DAMAGE_COMMANDS", "1"))
NUM_DAMAGES = int(os.environ.get("DAMAGE_DAMAGES", "5"))
HUGE = (b"1e999", b"-1", b"NaN", b"9" * 500, b"0")
VALUES: tuple[object, ...] = (None, True, [], {}, "", "x" * 5000, -1, 0, 1.5, 10**30, "\x1b[2J")


def evaluate(run: Run, tier: str, sweep: SweepFolder) -> None:
    metrics = {"clean": 0.875, "robust": 0.625}
    results = EvaluationResults(
        tier=tier, dataset="digits", split="test", images=64, epsilon=0.3, metrics=metrics, run=run.key
    )
    content = {"format": 1, "sweep_id": sweep.id, **results.model_dump()}
    sweep.store.write_json(run.folder / EVALUATION_FILES[tier], content)


@pytest.fixture
def home(make_sweep, tmp_path, monkeypatch) -> Path:
    """Return a home with two sweeps; the first one was searched, confirmed, evaluated and stopped."""
    monkeypatch.setenv("COLUMNS", "200")
    sweep = make_sweep()
    with sweep.lock():
        train_all(Ledger(sweep))
        plan = make_plan(sweep, 1, 2, ["standard"])
        ledger = ConfirmLedger(sweep, plan)
        train_all(ledger)
        records = list(ledger.records.values())
        for record in records:
            evaluate(record.run, "rank", sweep)
        write_confirmation(sweep, plan, records, "rank", ledger.record_result)
        for record in read_snapshot(sweep).records:
            evaluate(record.run, "final", sweep)
        sweep.store.write_json(sweep.folder / "phase.json", {"format": 1, "phase": "stopped"})
    other = make_sweep("other", num_trials=1)
    with other.lock():
        train_all(Ledger(other))
    return tmp_path


def changed_value(random: random.Random, value: object) -> object:
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(sorted(value))
        return {**value, key: changed_value(random, value[key])}
    if isinstance(value, list) and value and random.random() < 0.85:
        place = random.randrange(len(value))
        return [*value[:place], changed_value(random, value[place]), *value[place + 1 :]]
    return random.choice([other for other in VALUES if other != value])


def damages(random: random.Random, content: bytes, others: list[bytes]) -> Iterator[bytes]:
    for _ in range(4):
        place = random.randrange(len(content))
        yield content[:place] + bytes([content[place] ^ 1 << random.randrange(8)]) + content[place + 1 :]
    digits = [place for place, byte in enumerate(content) if byte in b"0123456789"]
    for _ in range(3):
        place = random.choice(digits)
        yield content[:place] + str((content[place] - 47) % 10).encode() + content[place + 1 :]
        place = random.choice(digits)
        yield content[:place] + random.choice(HUGE) + content[place + 1 :]
    lines = content.splitlines(keepends=True)
    yield content[: random.randrange(len(content))]
    yield b"".join(lines[: random.randrange(len(lines))])
    number = random.randrange(len(lines))
    yield b"".join(lines[:number] + lines[number + 1 :])
    yield b""
    if b"{" in content[:2]:
        for _ in range(3):
            number = random.randrange(len(lines)) if content[-3:] != b"\n}\n" else None
            value = json.loads(content if number is None else lines[number])
            text = json.dumps(changed_value(random, value)).encode() + b"\n"
            yield text if number is None else b"".join([*lines[:number], text, *lines[number + 1 :]])
    yield random.choice(others)


def replacements(path: Path) -> Iterator[Callable[[], object]]:
    path.unlink()
    yield lambda: None
    path.mkdir()
    yield path.rmdir
    os.mkfifo(path)
    yield path.unlink
    path.symlink_to("/dev/zero")
    yield path.unlink


def answers(run, commands) -> dict[tuple[str, ...], tuple[int, str]]:
    return {command: run(*command, "--home", "home") for command in commands}


def check(run, expected, dice: random.Random, what: str) -> None:
    for command, (code, output) in answers(run, dice.sample(COMMANDS, NUM_COMMANDS)).items():
        assert "Traceback" not in output, (what, command, output)
        assert "\x1b[2J" not in output, (what, command)
        added = [line for line in output.splitlines() if line not in expected[command][1]]
        if code == 0:  # the list of all sweeps, which says below it what is wrong with one
            is_told = command == ("status",) and any("home/tiny" in line for line in added)
            assert output == expected[command][1] or is_told, (what, output)
        else:
            assert code == 2, (what, command, output)
            assert any(len(line) > 20 for line in added), (what, command, output)


def test_no_command_ends_in_a_traceback_or_prints_another_number_in_silence(home, run, monkeypatch):
    monkeypatch.setattr(checked_json, "MAX_BYTES", 10_000_000)
    dice = random.Random(0)
    files = sorted(path for path in home.rglob("*") if path.is_file() and path.name != ".lock" and "tiny" in path.parts)
    (home / "home").mkdir()
    for name in ("tiny", "other"):
        shutil.move(home / name, home / "home" / name)
    files = [home / "home" / path.relative_to(home) for path in files]
    expected = answers(run, COMMANDS)
    assert all(code == 0 for code, _ in expected.values()), expected
    contents = {path: path.read_bytes() for path in files}
    kinds = {path.name: path for path in dice.sample(files, len(files))}
    for name, path in sorted(kinds.items()):
        content = contents[path]
        for damaged in dice.sample(list(damages(dice, content, list(contents.values()))), NUM_DAMAGES):
            if damaged != content:
                path.write_bytes(damaged)
                check(run, expected, dice, f"{name}: {damaged[-300:]!r}")
        for put_back in replacements(path):
            check(run, expected, dice, f"{name}: replaced")
            put_back()
        path.write_bytes(content)
