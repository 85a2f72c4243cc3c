"""The fuzzer: ``python -m tests.fuzz --rounds 3000 --seed 7`` damages files and runs the commands that read them.

Each round changes one file of a small sweep, of a bundle, of weights or of a space: bits, digits, lines, types, other
files' content. A command must then print what it printed before, or refuse in words, or say what it noticed. Failures
are tracebacks, numbers that change without a word, more than 2 s of processor time or 5 s of waiting, and more than
1 GB of memory; the exit code is 1 if there are any. Seed and number of a round decide what it does: with the same files
(``--corpus``), ``--first`` does one again.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.rounds import CLASSES, FAILURES, Fuzzer, Result


def run(rounds: range, seed: int, folder: Path) -> Iterator[Result]:
    """Do rounds with the corpus in a folder, which is made if the folder is empty, and yield their results."""
    before = Path.cwd()
    if not any(folder.iterdir()):
        subprocess.run([sys.executable, "-m", "tests.fuzz.corpus", str(folder)], check=True, stdout=subprocess.DEVNULL)
    os.chdir(folder)
    try:
        fuzzer = Fuzzer(folder, seed)
        for number in rounds:
            yield from fuzzer.round(number)
    finally:
        os.chdir(before)


def table(results: list[Result]) -> str:
    """Return how many commands ended in which class, by file."""
    counts: dict[str, Counter[str]] = {}
    for result in results:
        counts.setdefault(Path(result.file).name, Counter())[result.kind] += 1
    counts["all"] = sum(counts.values(), Counter())
    header = f"{'file':24}{'tried':>8}" + "".join(f"{kind:>12}" for kind in CLASSES)
    rows = [
        f"{file:24}{sum(counter.values()):8}" + "".join(f"{counter[kind]:12}" for kind in CLASSES)
        for file, counter in counts.items()
    ]
    return "\n".join([header, *rows])


def main() -> int:
    """Run the rounds; print each kind of failure once, as soon as it is seen, and in the end a table by class."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first round: to do one again, or to go on")
    parser.add_argument("--corpus", type=Path, help="where the files are made, and kept; by default they are made anew")
    parser.add_argument("--any-speed", action="store_true", help="slow commands are counted, and are no failures")
    arguments = parser.parse_args()
    counted = set(FAILURES) - ({"slow"} if arguments.any_speed else set())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a damaged file is put back
    print(f"seed {arguments.seed}", flush=True)
    rounds = range(arguments.first, arguments.first + arguments.rounds)
    results, failures = [], set()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = (arguments.corpus or Path(name)).absolute()
        folder.mkdir(exist_ok=True)
        try:
            for result in run(rounds, arguments.seed, folder):
                results.append(result)
                failure = (Path(result.file).name, result.command, result.kind, result.damage)
                if result.kind in counted and failure not in failures:
                    failures.add(failure)
                    print(_text(result), flush=True)
        finally:
            last = results[-1].number if results else arguments.first - 1
            print(f"\nrounds {arguments.first} to {last}\n{table(results)}", flush=True)
    return 1 if failures else 0


def _text(result: Result) -> str:
    where = f"round {result.number}: {result.file}, {result.damage}: tuner {result.command}"
    times = f"{result.answer.seconds:.1f} s, waited {result.answer.waited_s:.1f} s"
    return f"\n{result.kind}, {where} ({times})\n{_last_lines(result)}"


def _last_lines(result: Result) -> str:
    if result.answer.failure:
        return "\n".join(result.answer.failure.splitlines()[-6:])
    before = {*result.expected.output.splitlines(), *result.expected.written}
    added = [line for line in (*result.answer.output.splitlines(), *result.answer.written) if line not in before]
    return "\n".join(f"  {line[:190]}" for line in [*added, *result.answer.errors.splitlines()][:6])


if __name__ == "__main__":
    sys.exit(main())
