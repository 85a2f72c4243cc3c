"""Ways to damage a file, chosen by a seeded generator. Each returns the new content; none returns what was there."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

HUGE = (b"1e400", b"-1e400", b"1e308", b"NaN", b"Infinity", b"9" * 400, b"-1", b"0", b"10000000000", b"1e-320")
OTHER_TYPES: tuple[object, ...] = (
    None,
    True,
    [],
    {},
    "",
    "x" * 100_000,
    -1,
    0,
    1.5,
    10**30,
    [[]],
    {"a": {}},
    "\x1b[2J",
)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")

Mutation = Callable[[random.Random, bytes], bytes]


def flip_bit(random: random.Random, content: bytes) -> bytes:
    """Change one bit."""
    changed = bytearray(content)
    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def change_digit(random: random.Random, content: bytes) -> bytes:
    """Change a digit to another one: what stands there is still a number."""
    places = [number for number, byte in enumerate(content) if byte in b"0123456789"]
    if not places:
        return flip_bit(random, content)
    place = random.choice(places)
    digit = random.choice([digit for digit in b"0123456789" if digit != content[place]])
    return content[:place] + bytes([digit]) + content[place + 1 :]


def overwrite(random: random.Random, content: bytes) -> bytes:
    """Put random bytes over a part."""
    begin = random.randrange(len(content))
    length = min(random.randrange(1, 200), len(content) - begin)
    return content[:begin] + random.randbytes(length) + content[begin + length :]


def cut(random: random.Random, content: bytes) -> bytes:
    """Keep the beginning only; at times nothing."""
    return content[: random.choice([0, 1, random.randrange(len(content)), len(content) - 1])]


def cut_lines(random: random.Random, content: bytes) -> bytes:
    """Drop the last lines."""
    lines = content.splitlines(keepends=True)
    return b"".join(lines[: random.randrange(len(lines))])


def drop_line(random: random.Random, content: bytes) -> bytes:
    """Drop a line, often one from the middle."""
    lines = content.splitlines(keepends=True)
    del lines[random.randrange(len(lines))]
    return b"".join(lines)


def repeat_line(random: random.Random, content: bytes) -> bytes:
    """Put a line in once more, elsewhere."""
    lines = content.splitlines(keepends=True)
    lines.insert(random.randrange(len(lines) + 1), random.choice(lines))
    return b"".join(lines)


def huge_number(random: random.Random, content: bytes) -> bytes:
    """Replace a number by a huge one, or by none."""
    places = list(_NUMBER.finditer(content))
    if not places:
        return flip_bit(random, content)
    place = random.choice(places)
    return content[: place.start()] + random.choice(HUGE) + content[place.end() :]


def other_type(random: random.Random, content: bytes) -> bytes:
    """Replace a value of a JSON text, or of a line of it, by one of another type."""
    lines = content.splitlines(keepends=True)
    for number in random.sample(range(len(lines)), min(len(lines), 5)):
        whole, line = (content, None) if random.random() < 0.3 else (lines[number], number)
        try:
            value = json.loads(whole)
        except ValueError:
            continue
        changed = (json.dumps(_replaced(random, value)) + "\n").encode()
        return changed if line is None else b"".join([*lines[:line], changed, *lines[line + 1 :]])
    try:
        return json.dumps(_replaced(random, json.loads(content)), indent=2).encode() + b"\n"
    except ValueError:
        return change_digit(random, content)


def _replaced(random: random.Random, value: object) -> object:
    """Return the value with one part of it replaced, dropped, or a level more."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(sorted(value))
        rest = {name: item for name, item in value.items() if name != key}
        return rest if random.random() < 0.15 else {**rest, key: _replaced(random, value[key])}
    if isinstance(value, list) and value and random.random() < 0.85:
        place = random.randrange(len(value))
        return [*value[:place], _replaced(random, value[place]), *value[place + 1 :]]
    return random.choice([other for other in OTHER_TYPES if other != value])


MUTATIONS: dict[str, Mutation] = {
    "bit flipped": flip_bit,
    "digit changed": change_digit,
    "part overwritten": overwrite,
    "cut off": cut,
    "last lines dropped": cut_lines,
    "line dropped": drop_line,
    "line repeated": repeat_line,
    "huge number": huge_number,
    "wrong type": other_type,
}


def gone(path: Path) -> None:
    """Remove the file."""
    path.unlink()


def folder(path: Path) -> None:
    """Put a folder in its place."""
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    """Put a pipe in its place that nobody writes to."""
    path.unlink()
    os.mkfifo(path)


def endless(path: Path) -> None:
    """Put a link to a file without an end in its place."""
    path.unlink()
    path.symlink_to("/dev/zero")


REPLACEMENTS: dict[str, Callable[[Path], None]] = {
    "removed": gone,
    "a folder": folder,
    "a pipe": pipe,
    "/dev/zero": endless,
}


def swap(random: random.Random, path: Path, others: Sequence[Path]) -> bytes:
    """Return the content of another file of the same name, or of any."""
    same = [other for other in others if other.name == path.name and other.read_bytes() != path.read_bytes()]
    choices = same if same and random.random() < 0.8 else list(others)
    return random.choice(choices).read_bytes()
