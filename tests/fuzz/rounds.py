"""One round: a file is damaged, commands that read it run in a forked process, and what they did is put in a class."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import resource
import select
import shutil
import signal
import stat
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.fuzz import corpus
from tests.fuzz.mutations import MUTATIONS, REPLACEMENTS, swap
from tuner.cli.app import main

HANGS_AFTER_S = 30.0
SLOW_S = 2.0
MAX_MEMORY = 1 << 30
_MEMORY_LIMIT = 3 << 30
EXPORT = "exported"
CLASSES = ("unchanged", "refused", "noticed", "traceback", "silent", "slow", "memory")
FAILURES = ("traceback", "silent", "slow", "memory")
READING = (
    ("status",),
    ("status", corpus.SWEEP),
    ("trials", corpus.SWEEP, "--format", "json"),
    ("compare", corpus.SWEEP),
    ("replay", corpus.SWEEP, "--pruner", "none"),
    ("verify", corpus.SWEEP),
    ("export", corpus.SWEEP, "--output", EXPORT),
)


@dataclass(frozen=True)
class Answer:
    """What a command printed and did."""

    code: int
    output: str
    errors: str
    seconds: float
    """Processor time."""
    failure: str = ""
    """Traceback of what it raised other than `SystemExit`; empty if nothing."""


@dataclass(frozen=True)
class Result:
    """What a command made of a damage."""

    damage: str
    file: str
    command: str
    kind: str
    answer: Answer
    expected: Answer


def call(arguments: Sequence[str]) -> Answer:
    """Run a command in this process, as `tuner` does."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
    failure = ""
    code, started = 0, time.process_time()
    shutil.rmtree(EXPORT, ignore_errors=True)
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        sys.argv = ["tuner", *arguments]
        try:
            main()
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else 0
        except BaseException:  # whatever it is: it is what is looked for
            failure = traceback.format_exc()
    seconds = time.process_time() - started
    written = [f"{path}: {path.read_bytes().hex()[-400:]}" for path in sorted(Path(EXPORT).glob("*"))]
    output, errors = (stream.buffer.getvalue().decode(errors="replace") for stream in streams)
    return Answer(code, "\n".join([output, *written]), errors, seconds, failure)


def call_apart(commands: Sequence[Sequence[str]]) -> tuple[list[Answer], int]:
    """Run commands in a forked process; return what they answered, and the most memory that it took, in bytes.

    A command that takes too long gets no answer, nor do those behind it.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_LIMIT, _MEMORY_LIMIT))
        try:
            for command in commands:
                os.write(writer, (json.dumps(vars(call(command))) + "\n").encode())
        finally:
            os._exit(0)
    os.close(writer)
    content = b"".join(_read_until(reader, time.monotonic() + HANGS_AFTER_S))
    os.close(reader)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    usage = os.wait4(child, 0)[2]
    return [Answer(**json.loads(line)) for line in content.splitlines()], usage.ru_maxrss * 1024


def _read_until(reader: int, deadline: float) -> Iterator[bytes]:
    while select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(reader, 1 << 20)
        if not part:
            return
        yield part


def kind_of(answer: Answer, expected: Answer, file: str) -> str:
    """Return the class of an answer.

    Args:
        answer: of a command on damaged files.
        expected: what it answered before the damage.
        file: that was damaged, below its home.
    """
    if answer.failure or "Traceback (most recent call last)" in answer.errors + answer.output:
        return "traceback"
    if (answer.code, answer.output, answer.errors) == (expected.code, expected.output, expected.errors):
        return "unchanged"
    if answer.code != 0:
        words = answer.errors.strip() or answer.output.strip()
        return ("refused" if not answer.output.strip() else "noticed") if words else "silent"
    added = set((answer.output + answer.errors).splitlines()) - set((expected.output + expected.errors).splitlines())
    name = Path(file).name
    return "noticed" if any(name in line for line in added) else "silent"


class Fuzzer:
    """Damages the files of a corpus, one at a time, and puts them back.

    Args:
        folder: that holds the corpus; the current folder of this process.
        seed: of the choices.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        torch.set_num_threads(1)
        os.environ |= {"COLUMNS": "200", "TUNER_HOME": str(folder / corpus.HOME)}
        self._folder = folder
        self._random = random.Random(seed)
        home = folder / corpus.HOME
        self._others = [path for root in (home, folder / corpus.OLDER) for path in _files(root)]
        evaluate = ("evaluate", "--images", "20", "--dataset", "digits")
        self._subjects: list[tuple[list[Path], Sequence[Sequence[str]]]] = [
            (_files(home / corpus.SWEEP), READING),
            (_files(folder / corpus.BUNDLE), [("evaluate", corpus.BUNDLE, "--images", "20")]),
            ([folder / corpus.STATE_DICT], [(*evaluate, corpus.STATE_DICT)]),
            (_files(folder / corpus.SPACES), []),
        ]
        for _, commands in self._subjects:  # what they import is there before the first fork
            for command in commands:
                call(command)
        self._expected = {
            command: answer
            for _, commands in self._subjects
            for command, answer in zip(commands, call_apart(commands)[0], strict=True)
        }
        for command, answer in self._expected.items():
            if answer.failure or answer.code:
                raise RuntimeError(f"{command} fails without any damage: {answer}")

    def round(self) -> list[Result]:
        """Damage a file, run the commands that read it, and put it back."""
        files, commands = self._random.choices(self._subjects, weights=(70, 10, 5, 15))[0]
        path = self._random.choice(_spread(self._random, files))
        commands = commands or [("spaces", "check", str(path.relative_to(self._folder)))]
        before = path.read_bytes()
        damage = self._damage(path, before)
        try:
            answers, memory = call_apart(commands)
        finally:
            _put_back(path, before)
        file = str(path.relative_to(self._folder))
        results = []
        for number, command in enumerate(commands):
            answer = answers[number] if number < len(answers) else Answer(0, "", "no answer", HANGS_AFTER_S)
            expected = self._expected.get(command)
            if expected is None:  # a space has no numbers that could change
                kind = "traceback" if answer.failure else "refused" if answer.code else "unchanged"
            else:
                kind = kind_of(answer, expected, file)
            if answer.seconds > SLOW_S + (expected.seconds if expected else 0.0):
                kind = "slow"
            if memory > MAX_MEMORY:
                kind = "memory"
            results.append(Result(damage, file, " ".join(command), kind, answer, expected or answer))
        return results

    def _damage(self, path: Path, before: bytes) -> str:
        names = [*MUTATIONS, *MUTATIONS, "other content", "other content", *REPLACEMENTS]
        while True:
            name = self._random.choice(names)
            if name in REPLACEMENTS:
                REPLACEMENTS[name](path)
                return name
            if not before:
                continue
            others = self._others
            after = MUTATIONS[name](self._random, before) if name in MUTATIONS else swap(self._random, path, others)
            if after != before:
                path.write_bytes(after)
                return name


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", "mlflow.db"))


def _spread(random: random.Random, files: Sequence[Path]) -> list[Path]:
    """Return the files of one name, so that each kind of file is damaged as often as any other."""
    name = random.choice(sorted({path.name for path in files}))
    return [path for path in files if path.name == name]


def _put_back(path: Path, content: bytes) -> None:
    if path.is_symlink() or (path.exists() and not stat.S_ISDIR(path.lstat().st_mode)):
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    path.write_bytes(content)
