"""The fuzzer: ``python -m tests.fuzz --rounds 3000 --seed 7`` damages files and runs the commands that read them.

Each round changes one file of a small sweep, of a bundle, of weights or of a space: bits, digits, lines, types, other
files' content. A command must then print what it printed before, or refuse in words, or say what it noticed. Failures
are tracebacks, numbers that change without a word, more than 2 s of processor time and more than 1 GB of memory; the
exit code is 1 if there are any.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz.rounds import CLASSES, FAILURES, Fuzzer, Result


def run(rounds: int, seed: int) -> list[Result]:
    """Make the corpus in a temporary folder, and return the results of all rounds."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        subprocess.run([sys.executable, "-m", "tests.fuzz.corpus", name], check=True, stdout=subprocess.DEVNULL)
        os.chdir(name)
        try:
            fuzzer = Fuzzer(Path(name), seed)
            return [result for _ in range(rounds) for result in fuzzer.round()]
        finally:
            os.chdir(before)


def table(results: list[Result]) -> str:
    """Return how many commands ended in which class, by file."""
    counts: dict[str, Counter[str]] = {}
    for result in results:
        counts.setdefault(Path(result.file).name, Counter())[result.kind] += 1
    counts["all"] = sum(counts.values(), Counter())
    header = f"{'file':28}{'tried':>9}" + "".join(f"{kind:>11}" for kind in CLASSES)
    rows = [
        f"{file:28}{sum(counter.values()):9}" + "".join(f"{counter[kind]:11}" for kind in CLASSES)
        for file, counter in counts.items()
    ]
    return "\n".join([header, *rows])


def failures(results: list[Result]) -> list[Result]:
    """Return the results that are failures, one for each file's name, command and class."""
    first = {(Path(result.file).name, result.command, result.kind, result.damage): result for result in results}
    return [result for result in first.values() if result.kind in FAILURES]


def main() -> int:
    """Run the rounds and print a table by class, and each kind of failure once."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    results = run(arguments.rounds, arguments.seed)
    for result in failures(results):
        print(
            f"\n{result.kind}: {result.file}, {result.damage}: tuner {result.command} ({result.answer.seconds:.1f} s)"
        )
        print(_last_lines(result))
    print("\n" + table(results))
    return 1 if failures(results) else 0


def _last_lines(result: Result) -> str:
    if result.answer.failure:
        return "\n".join(result.answer.failure.splitlines()[-6:])
    before = set(result.expected.output.splitlines())
    added = [line for line in result.answer.output.splitlines() if line not in before]
    return "\n".join(f"  {line[:190]}" for line in [*added, *result.answer.errors.splitlines()][:6])


if __name__ == "__main__":
    sys.exit(main())
