"""What a pickle would do, found out before it is done.

The pickle of a checkpoint is a program for a stack machine. This module runs it on stand-ins: containers and plain values are
made as the pickle says, tensors and calls are not. So it takes time and memory in proportion to the bytes of the pickle, and
whatever could take more is refused: every instruction and every function that `torch.save` does not write for plain values and
tensors, copies of what is there only once, tensors that are larger than their data.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from attrs import define, field, frozen

MAX_PICKLE_BYTES = 2**25
MAX_INSTRUCTIONS = 400_000  # a plain value takes 2 or 3, a tensor about 30
MAX_CALLS = 200_000
MAX_DIMENSIONS = 64  # of a tensor
MAX_INTEGER_BITS = 64
ITEM_BYTES = {
    **dict.fromkeys(("Byte", "Char", "Bool", "Untyped"), 1),
    **dict.fromkeys(("Short", "Half", "BFloat16"), 2),
    **dict.fromkeys(("Int", "Float"), 4),
    **dict.fromkeys(("Long", "Double", "ComplexFloat"), 8),
    "ComplexDouble": 16,
}
STORAGES = {f"torch {name}Storage": size for name, size in ITEM_BYTES.items()} | {"torch.storage UntypedStorage": 1}
SCALARS = (str, int, float, bytes, type(None))  # bool is an int


class PickleError(ValueError):
    """Not what a checkpoint holds. The message is a clause: "it calls os.system"."""


class _Tensor:
    """Whatever it holds."""


class _Set:
    """Whatever it holds."""


class _OrderedDict(dict[Any, Any]):
    """Which may have attributes."""


@frozen(eq=False)
class _Global:
    name: str  # module, a space, name


@frozen(eq=False)
class _Storage:
    kind: str
    size: int  # bytes


def scan_pickle(data: bytes, storages: Mapping[str, int]) -> None:
    """Refuse a pickle that is not a tree of plain values and of tensors over storages that there are.

    Args:
        data: The pickle.
        storages: Bytes of each storage, by its key.

    Raises:
        PickleError: It does something else, or asks for more than it holds.
    """
    if len(data) > MAX_PICKLE_BYTES:
        raise PickleError(f"its values take {len(data):,} bytes; at most {MAX_PICKLE_BYTES:,} are read")
    machine = _Machine(storages, room=len(data))
    last = 0
    try:
        for count, (instruction, argument, position) in enumerate(pickletools.genops(data)):
            if count >= MAX_INSTRUCTIONS:
                raise PickleError(f"it holds more than {MAX_INSTRUCTIONS:,} values and steps")
            step = STEPS.get(instruction.name)
            if step is None:
                raise PickleError(f"it holds more than data (the instruction {instruction.name})")
            step(machine, argument)
            last = int(position or 0)
    except PickleError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError, AssertionError) as error:
        raise PickleError(f"its values cannot be read ({' '.join(str(error).split())[:200]})") from error
    if last + 1 != len(data) or len(machine.stack) != 1 or machine.outer:
        raise PickleError("its values cannot be read (they do not end where the file says)")


@define(eq=False)
class _Machine:
    storages: Mapping[str, int]
    room: int  # bytes that calls may still copy
    stack: list[Any] = field(factory=list)
    outer: list[list[Any]] = field(factory=list)  # stacks below the marks
    memo: dict[int, Any] = field(factory=dict)
    known: dict[str, tuple[str, int]] = field(factory=dict)  # storages that were used
    calls: int = 0

    def mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def items(self) -> list[Any]:
        """What is above the last mark, which is taken off."""
        found, self.stack = self.stack, self.outer.pop()
        return found

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def make_tuple(self, items: list[Any]) -> None:
        self.stack.append(tuple(items))

    def pop(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise IndexError("the stack is empty")
        found = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return found

    def append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise PickleError("it appends to what is not a list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict) or len(items) % 2:
            raise PickleError("it sets an item of what is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.stack[-1][hashable(key)] = value

    def make_integer(self, value: int) -> None:
        if value.bit_length() > MAX_INTEGER_BITS:
            raise PickleError(f"a whole number of {value.bit_length()} bits")
        self.stack.append(value)

    def find(self, name: str) -> None:
        if name not in CALLS and name not in STORAGES and dtype_of(name) is None:
            raise PickleError(f"it holds more than data ({name.replace(' ', '.')[:100]})")
        self.stack.append(_Global(name))

    def load(self) -> None:
        """A storage; each key always with the same type and size."""
        word, kind, key, place, count = self.stack.pop()
        if word != "storage" or not isinstance(kind, _Global) or kind.name not in STORAGES or not isinstance(place, str):
            raise PickleError("it holds more than data (an object of another process)")
        if type(count) is not int or count < 0 or type(key) is not str or key not in self.storages:
            raise PickleError("it names data that are not there")
        size = count * STORAGES[kind.name]
        if size != self.storages[key] or self.known.setdefault(key, (kind.name, size)) != (kind.name, size):
            raise PickleError(f"it says that its data {key} have {size:,} bytes, and there are {self.storages[key]:,}")
        self.stack.append(_Storage(kind.name, size))

    def call(self) -> None:
        function, arguments = self.pop(2)
        self.calls += 1
        if self.calls > MAX_CALLS:
            raise PickleError(f"it holds more than {MAX_CALLS:,} tensors and tables")
        if not isinstance(function, _Global) or function.name not in CALLS or type(arguments) is not tuple:
            raise PickleError("it holds more than data (a call)")
        self.stack.append(CALLS[function.name](self, *arguments))

    def build(self) -> None:
        """Attributes of an ordered dictionary: the `_metadata` of a network's weights."""
        made, attributes = self.stack[-2], self.stack.pop()
        if not isinstance(made, _OrderedDict) or type(attributes) is not dict or attributes.keys() - {"_metadata"}:
            raise PickleError("it holds more than data (attributes of an object)")

    def spend(self, count: int) -> None:
        self.room -= count
        if self.room < 0:
            raise PickleError("it copies what it holds only once")


def hashable(key: Any) -> Any:
    """A key whose hash takes no time: tuples of tuples that share their parts could take any."""
    if not isinstance(key, SCALARS):
        raise PickleError("a key that is not a plain value")
    return key


# --- what may be called ---------------------------------------------------------------------------------------------


def dtype_of(name: str) -> torch.dtype | None:
    module, _, word = name.partition(" ")
    found = getattr(torch, word, None) if module == "torch" else None
    return found if isinstance(found, torch.dtype) else None


def check_tensor(
    machine: _Machine, storage: Any, offset: Any, size: Any, stride: Any, gradient: Any, hooks: Any, *, item: int | None = None
) -> _Tensor:
    """A view of its storage that lies within it."""
    if not isinstance(storage, _Storage) or type(size) is not tuple or type(stride) is not tuple or len(size) != len(stride):
        raise PickleError("a tensor without data")
    numbers = (offset, *size[: MAX_DIMENSIONS + 1], *stride[: MAX_DIMENSIONS + 1])
    if len(size) > MAX_DIMENSIONS or not all(type(number) is int and 0 <= number < 1 << 62 for number in numbers):
        raise PickleError("a tensor of a shape that no tensor has")
    if type(gradient) is not bool or not isinstance(hooks, _OrderedDict) or hooks:
        raise PickleError("it holds more than data (a function at a tensor)")
    end = offset + 1 + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) if all(size) else offset
    if end * (item or STORAGES[storage.kind]) > storage.size:
        raise PickleError("a tensor that is larger than its data")
    return _Tensor()


def check_typed_tensor(
    machine: _Machine, storage: Any, offset: Any, size: Any, stride: Any, gradient: Any, hooks: Any, kind: Any
) -> _Tensor:
    dtype = dtype_of(kind.name) if isinstance(kind, _Global) else None
    if dtype is None:
        raise PickleError("a tensor of no type")
    return check_tensor(machine, storage, offset, size, stride, gradient, hooks, item=dtype.itemsize)


def check_parameter(machine: _Machine, tensor: Any, gradient: Any, hooks: Any) -> _Tensor:
    if not isinstance(tensor, _Tensor) or type(gradient) is not bool or not isinstance(hooks, _OrderedDict) or hooks:
        raise PickleError("a parameter that is not a tensor")
    return tensor


def check_bytes(machine: _Machine, text: Any, encoding: Any) -> bytes:
    if type(text) is not str or encoding != "latin1":
        raise PickleError("it holds more than data (a text in another encoding)")
    machine.spend(len(text))
    return b""


def check_shape(machine: _Machine, numbers: Any) -> tuple[int, ...]:
    if type(numbers) is not tuple or not all(type(number) is int for number in numbers):
        raise PickleError("a shape that is not whole numbers")
    machine.spend(len(numbers))
    return numbers


def check_set(machine: _Machine, items: Any) -> _Set:
    if type(items) is not list:
        raise PickleError("a set of what is not a list")
    machine.spend(len(items))
    for item in items:
        hashable(item)
    return _Set()


CALLS: Mapping[str, Callable[..., Any]] = {
    "collections OrderedDict": lambda machine: _OrderedDict(),
    "torch._utils _rebuild_tensor_v2": check_tensor,
    "torch._utils _rebuild_tensor_v3": check_typed_tensor,
    "torch._utils _rebuild_parameter": check_parameter,
    "torch Size": check_shape,
    "_codecs encode": check_bytes,
    "__builtin__ set": check_set,
}

# --- instructions ---------------------------------------------------------------------------------------------------


def check_protocol(machine: _Machine, version: int) -> None:
    if version != 2 or machine.stack:
        raise PickleError(f"its values are written in protocol {version}, not 2")


def push(machine: _Machine, value: Any) -> None:
    machine.stack.append(value)


STEPS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "PROTO": check_protocol,
    "STOP": lambda machine, _: None,
    "MARK": lambda machine, _: machine.mark(),
    **dict.fromkeys(("BINUNICODE", "BINFLOAT"), push),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1"), _Machine.make_integer),
    "NONE": lambda machine, _: push(machine, None),
    "NEWTRUE": lambda machine, _: push(machine, True),
    "NEWFALSE": lambda machine, _: push(machine, False),
    "EMPTY_LIST": lambda machine, _: push(machine, []),
    "EMPTY_DICT": lambda machine, _: push(machine, {}),
    "EMPTY_TUPLE": lambda machine, _: push(machine, ()),
    "TUPLE1": lambda machine, _: machine.make_tuple(machine.pop(1)),
    "TUPLE2": lambda machine, _: machine.make_tuple(machine.pop(2)),
    "TUPLE3": lambda machine, _: machine.make_tuple(machine.pop(3)),
    "TUPLE": lambda machine, _: machine.make_tuple(machine.items()),
    "APPEND": lambda machine, _: machine.append(machine.pop(1)),
    "APPENDS": lambda machine, _: machine.append(machine.items()),
    "SETITEM": lambda machine, _: machine.set_items(machine.pop(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.items()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Machine.put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _Machine.get),
    "GLOBAL": _Machine.find,
    "BINPERSID": lambda machine, _: machine.load(),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
}
