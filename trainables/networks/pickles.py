"""The plain part of a pickle: mappings, lists, texts and numbers. Nothing that it names is imported or called.

Python's own unpickler calls what a file names, and can be made to allocate or compute without end. Here the file's
instructions, as `pickletools` reads them, move plain data; the caller decides what a named function makes.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

MAX_INSTRUCTIONS = 300_000


@dataclass(frozen=True)
class Name:
    """A class or function that a pickle names.

    Attributes:
        module: where the file says that it is.
        attribute: its name there.
    """

    module: str
    attribute: str

    @property
    def text(self) -> str:
        """Both, with a dot."""
        return f"{self.module}.{self.attribute}"


@dataclass(frozen=True)
class Unread:
    """An object of a class or function that is not called.

    Attributes:
        name: of the class or function.
    """

    name: str


class _Mark:
    """Where the items of a collection begin on the stack."""


_MARK = _Mark()
_KEYS = (str, int, float, bytes, type(None))
"""Types of keys whose hash costs no more than their length; other keys are left out."""


class _Machine:
    """The stack and the memo of one pickle."""

    def __init__(self, persistent: Callable[[Any], Any], make: Callable[[Name, tuple[Any, ...]], Any]) -> None:
        self.persistent, self._make = persistent, make
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def items(self) -> list[Any]:
        """Take everything above the last mark off the stack, and the mark."""
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def last(self, count: int) -> list[Any]:
        """Take so many values off the stack, and return them in the order in which they were put there."""
        return [self.stack.pop() for _ in range(count)][::-1]

    def extend(self, items: list[Any]) -> None:
        """Add items to the list on top of the stack; an object that is none stays as it is."""
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)

    def fill(self, items: list[Any]) -> None:
        """Add keys and values in turn to the mapping on top of the stack."""
        _fill(self.stack[-1], items)

    def call(self, function: Any, arguments: Iterable[Any]) -> Any:
        """Return what a named class or function makes of its arguments."""
        if not isinstance(function, Name):
            return function if isinstance(function, Unread) else Unread("an object")
        arguments = tuple(arguments)
        if function.text == "collections.OrderedDict":
            return _fill({}, [item for pair in (arguments[0] if arguments else ()) for item in pair])
        if function.text == "torch.Size":
            return tuple(arguments[0])
        return self._make(function, arguments)


def _name(argument: str) -> Name:
    return Name(*argument.split(" ", 1))


_ON_STACK: dict[str, Callable[[_Machine, Any], object]] = {
    "PROTO": lambda machine, argument: None,
    "FRAME": lambda machine, argument: None,
    "POP": lambda machine, argument: machine.stack.pop(),
    "POP_MARK": lambda machine, argument: machine.items(),
    "PUT": lambda machine, argument: machine.memo.update({argument: machine.stack[-1]}),
    "MEMOIZE": lambda machine, argument: machine.memo.update({len(machine.memo): machine.stack[-1]}),
    "APPEND": lambda machine, argument: machine.extend(machine.last(1)),
    "APPENDS": lambda machine, argument: machine.extend(machine.items()),
    "SETITEM": lambda machine, argument: machine.fill(machine.last(2)),
    "SETITEMS": lambda machine, argument: machine.fill(machine.items()),
    "BUILD": lambda machine, argument: machine.stack.pop(),
}
"""Instructions that put nothing new on the stack."""

_NEW_VALUE: dict[str, Callable[[_Machine, Any], Any]] = {
    "NONE": lambda machine, argument: None,
    "NEWTRUE": lambda machine, argument: True,
    "NEWFALSE": lambda machine, argument: False,
    "EMPTY_DICT": lambda machine, argument: {},
    "EMPTY_LIST": lambda machine, argument: [],
    "EMPTY_SET": lambda machine, argument: [],
    "EMPTY_TUPLE": lambda machine, argument: (),
    "MARK": lambda machine, argument: _MARK,
    "DUP": lambda machine, argument: machine.stack[-1],
    "GET": lambda machine, argument: machine.memo[argument],
    "TUPLE": lambda machine, argument: tuple(machine.items()),
    "FROZENSET": lambda machine, argument: tuple(machine.items()),
    "TUPLE1": lambda machine, argument: tuple(machine.last(1)),
    "TUPLE2": lambda machine, argument: tuple(machine.last(2)),
    "TUPLE3": lambda machine, argument: tuple(machine.last(3)),
    "LIST": lambda machine, argument: machine.items(),
    "DICT": lambda machine, argument: _fill({}, machine.items()),
    "GLOBAL": lambda machine, argument: _name(argument),
    "STACK_GLOBAL": lambda machine, argument: Name(*map(str, machine.last(2))),
    "REDUCE": lambda machine, argument: machine.call(*machine.last(2)),
    "NEWOBJ": lambda machine, argument: machine.call(*machine.last(2)),
    "NEWOBJ_EX": lambda machine, argument: machine.call(*machine.last(3)[:2]),
    "OBJ": lambda machine, argument: machine.call((items := machine.items())[0], items[1:]),
    "INST": lambda machine, argument: machine.call(_name(argument), machine.items()),
    "BINPERSID": lambda machine, argument: machine.persistent(machine.stack.pop()),
}
"""Instructions that put one value on the stack."""

_SAME_AS = {"BINPUT": "PUT", "LONG_BINPUT": "PUT", "BINGET": "GET", "LONG_BINGET": "GET", "ADDITEMS": "APPENDS"}
_REFUSED = ("PERSID", "EXT1", "EXT2", "EXT4")


def _follow(machine: _Machine, instruction: str, argument: Any) -> None:
    instruction = _SAME_AS.get(instruction, instruction)
    if instruction in _ON_STACK:
        _ON_STACK[instruction](machine, argument)
    elif instruction in _NEW_VALUE:
        machine.stack.append(_NEW_VALUE[instruction](machine, argument))
    elif isinstance(argument, str | int | float | bytes | bytearray) and instruction not in _REFUSED:
        machine.stack.append(argument)
    else:
        raise ValueError(f"the instruction {instruction}")


def _fill(mapping: Any, items: list[Any]) -> Any:
    """Add keys and values in turn to a mapping; an object that is none stays as it is."""
    if isinstance(mapping, dict):
        mapping.update(
            {key: value for key, value in zip(items[::2], items[1::2], strict=True) if isinstance(key, _KEYS)}
        )
    return mapping


def _make_nothing(function: Name, _: tuple[Any, ...]) -> Unread:
    return Unread(function.text)


def _no_persistent(identity: Any) -> Any:
    raise ValueError("a reference to something outside the pickle")


def read_pickle(
    stream: BinaryIO,
    persistent: Callable[[Any], Any] = _no_persistent,
    make: Callable[[Name, tuple[Any, ...]], Any] = _make_nothing,
) -> Any:
    """Return the plain data of the pickle that begins at a stream's position, which is then behind the pickle.

    Args:
        stream: of bytes.
        persistent: returns what a persistent identity stands for.
        make: returns what a named class or function makes of its arguments.

    Raises:
        ValueError, IndexError, KeyError, TypeError, AttributeError: the pickle is damaged or has too many instructions.
    """
    machine = _Machine(persistent, make)
    for count, (instruction, argument, _) in enumerate(pickletools.genops(stream)):
        if count > MAX_INSTRUCTIONS:
            raise ValueError("a pickle of more instructions than a checkpoint has")
        if instruction.name != "STOP":
            _follow(machine, instruction.name, argument)
    return machine.stack.pop()
