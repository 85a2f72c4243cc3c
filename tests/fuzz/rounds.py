"""One round: a file is damaged, commands that read it run in a forked process, and what they did is put in a class."""

from __future__ import annotations

import contextlib
import gc
import io
import itertools
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import stat
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import typer.main

from tests.fuzz import corpus
from tests.fuzz.mutations import MUTATIONS, REPLACEMENTS, swap
from tuner.cli.app import app
from tuner.cli.exits import run_command

HANGS_AFTER_S = 30.0
_LOOK_EVERY_S = 1.0
SLOW_S = 2.0
WAITS_S = 5.0
MAX_MEMORY = 1 << 30
_MEMORY_LIMIT = 3 << 30
EXPORT, COPY = "exported", "copied"
CLASSES = (
    *("unchanged", "refused", "noticed", "unprotected"),
    *("traceback", "silent", "nameless", "escape", "slow", "memory"),
)
"""``unprotected``: changed without a word, in a sweep of an earlier release, whose files have no checksums.
``nameless``: refused without saying which sweep or file is wrong. ``escape``: control characters are printed."""
FAILURES = ("traceback", "silent", "nameless", "escape", "slow", "memory")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_command = typer.main.get_command(app)


def reading(sweep: str) -> list[Sequence[str]]:
    """Return the commands that read a sweep."""
    return [
        ("status",),
        ("status", sweep),
        ("status", sweep, "--format", "json"),
        ("show", sweep, "standard"),
        ("show", sweep, "1"),
        ("trials", sweep, "--format", "json"),
        ("compare", sweep),
        ("compare", sweep, corpus.OTHER),
        ("replay", sweep, "--pruner", "none"),
        ("verify", sweep),
        ("export", sweep, "--output", EXPORT),
        copying(sweep),
    ]


def copying(sweep: str) -> Sequence[str]:
    """Return the command that copies a sweep, which takes as long as all that read it."""
    return ("copy", sweep, COPY)


@dataclass(frozen=True)
class Answer:
    """What a command printed and did.

    Attributes:
        code: its exit code.
        output: what it has printed.
        errors: what it has printed to standard error.
        written: the end of each file that it has made.
        seconds: of processor time.
        waited_s: for how long it neither computed nor waited for a processor.
        failure: traceback of what it raised other than `SystemExit`; empty if nothing.
    """

    code: int
    output: str
    errors: str
    written: list[str]
    seconds: float
    waited_s: float = 0.0
    failure: str = ""


@dataclass(frozen=True)
class Result:
    """What a command made of a damage."""

    number: int
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
    code, used_s, idle_s = 0, time.process_time(), _idle_s()
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        sys.argv = ["tuner", *arguments]
        try:
            run_command(_command)
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else 0
        except BaseException:  # whatever it is: it is what is looked for
            failure = traceback.format_exc()
    used_s, idle_s = time.process_time() - used_s, _idle_s() - idle_s
    written = [f"{path}: {path.read_bytes().hex()[-400:]}" for path in sorted(Path(EXPORT).glob("*"))]
    for made in (Path(EXPORT), Path(os.environ["TUNER_HOME"]) / COPY):
        shutil.rmtree(made, ignore_errors=True)
    output, errors = (stream.buffer.getvalue().decode(errors="replace") for stream in streams)
    return Answer(code, output, errors, written, used_s, idle_s, failure)


def _idle_s() -> float:
    """Return a time in seconds that goes on as long as this thread neither runs nor waits for a processor."""
    return time.monotonic() - sum(_schedule("/proc/thread-self"))


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
    try:
        content = b"".join(_read_from(reader, child))
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        usage = os.wait4(child, 0)[2]
    return [Answer(**json.loads(line)) for line in content.splitlines()], usage.ru_maxrss * 1024


def _read_from(reader: int, child: int) -> Iterator[bytes]:
    """Yield what a child writes, until it has ended, or has computed or waited for too long."""
    began_s = time.monotonic()
    while True:
        if select.select([reader], [], [], _LOOK_EVERY_S)[0]:
            part = os.read(reader, 1 << 20)
            if not part:
                return
            yield part
        ran_s, for_processor_s = _schedule(f"/proc/{child}")
        if max(ran_s, time.monotonic() - began_s - ran_s - for_processor_s) > HANGS_AFTER_S:
            return


def _schedule(process: str) -> tuple[float, float]:
    """Return for how many seconds a process or thread has computed, and has waited for a processor."""
    ran_ns, waited_ns, _ = map(int, Path(process, "schedstat").read_text().split())
    return ran_ns / 1e9, waited_ns / 1e9


def kind_of(answer: Answer, expected: Answer, file: str) -> str:
    """Return the class of an answer.

    Args:
        answer: of a command on damaged files.
        expected: what it answered before the damage.
        file: that was damaged, below its home.
    """
    if answer.failure or "Traceback (most recent call last)" in answer.errors + answer.output:
        return "traceback"
    if _CONTROL.search(answer.errors + answer.output):
        return "escape"
    shown = (answer.code, answer.output, answer.errors, answer.written)
    if shown == (expected.code, expected.output, expected.errors, expected.written):
        return "unchanged"
    if answer.code != 0:
        return _kind_of_failure(answer, file)
    added = set((answer.output + answer.errors).splitlines()) - set((expected.output + expected.errors).splitlines())
    names = (Path(file).name, f"/{corpus.HOME}/{corpus.SWEEP}/")  # what does not fit the damaged file may be said, too
    return "noticed" if any(name in line for line in added for name in names) else "silent"


def _kind_of_failure(answer: Answer, file: str) -> str:
    words = answer.errors.strip() or answer.output.strip()
    if answer.code not in (1, 2) or not words:
        return "silent"
    parts = Path(file).parts
    names = (parts[-1], parts[0], f"/{corpus.HOME}/")
    is_sweep_named = parts[0] == corpus.HOME and re.search(rf"\b{parts[1]}\b", words)
    if answer.code == 1 or not (is_sweep_named or any(name in words for name in names)):
        return "nameless"
    return "noticed" if answer.output.strip() else "refused"


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
        self._seed = seed
        self._random = random.Random(seed)
        home = folder / corpus.HOME
        elsewhere = (folder / corpus.OLDER, folder / corpus.OTHER_BUNDLE)
        self._others = [path for root in (home, *elsewhere) for path in _files(root)]
        evaluate = ("evaluate", "--images", "20", "--dataset", "digits")
        self._subjects: list[tuple[list[Path], Sequence[Sequence[str]]]] = [
            (_files(home / corpus.SWEEP), [*reading(corpus.SWEEP), copying(corpus.SWEEP)]),
            (_files(home / corpus.SAVED), [*reading(corpus.SAVED), copying(corpus.SAVED)]),
            (
                _files(folder / corpus.BUNDLE),
                [("evaluate", corpus.BUNDLE, "--images", "20"), ("verify", corpus.BUNDLE)],
            ),
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
            is_whole = corpus.SAVED not in command  # the other one has no checkpoints of its baselines
            if answer.failure or (answer.code and is_whole):
                raise RuntimeError(f"{command} fails without any damage: {answer}")
        gc.collect()
        gc.freeze()  # a collection in a forked process would copy all that is here

    def round(self, number: int) -> list[Result]:
        """Damage a file, run the commands that read it, and put it back.

        Args:
            number: of the round: with the seed, it decides what is done.
        """
        self._random = random.Random(f"{self._seed}:{number}")
        files, commands = self._random.choices(self._subjects, weights=(65, 5, 10, 5, 15))[0]
        path = self._random.choice(_spread(self._random, files))
        commands = commands or [("spaces", "check", str(path.relative_to(self._folder)))]
        if self._random.random() < 2 / 3:
            commands = [command for command in commands if command[0] != "copy"]
        before = path.read_bytes()
        damage = self._damage(path, before)
        try:
            answers, memory = call_apart(commands)
        finally:
            _put_back(path, before)
        file = str(path.relative_to(self._folder))
        results = []
        missing = Answer(0, "", "no answer", [], HANGS_AFTER_S)
        for command, answer in itertools.zip_longest(commands, answers, fillvalue=missing):
            expected = self._expected.get(command, replace(answer, code=0))  # a space has no numbers that could change
            kind = kind_of(answer, expected, file)
            if kind == "silent" and f"/{corpus.SAVED}/" in file:
                kind = "unprotected"
            if answer.seconds > SLOW_S or answer.waited_s > WAITS_S:
                kind = "slow"
            if memory > MAX_MEMORY:
                kind = "memory"
            results.append(Result(number, damage, file, " ".join(command), kind, answer, expected))
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
