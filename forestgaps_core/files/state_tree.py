"""Convert a tree of plain values and tensors to JSON text and a table of tensors, and back.

JSON has fewer kinds of values than a state. The others are written as a table with one key that starts with `$`:

    {"$tensor": NAME}       the tensor of this name in the table
    {"$strided": [NAME, STRIDES]}                 the same, in another order in memory, such as channels last
    {"$complex": NAME}      a tensor of complex numbers, real and imaginary parts in its last dimension
    {"$float": "inf"}       also -inf, nan
    {"$bytes": BASE64}
    {"$tuple": [...]}       {"$set": [...]}       {"$size": [...]}, a `torch.Size`
    {"$dict": [[KEY, VALUE], ...]}                a dict whose keys are not all text, or look like the above
    {"$ordered": [[[KEY, VALUE], ...], METADATA]} an `OrderedDict`, such as the weights of a network with their versions

Each tensor occurs once. Tensors that share memory, such as tied weights, are separate ones after reading. So a tree is as large as
its text and its tensors: nothing in it can be a reference to something else in it.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from math import inf, isfinite, nan
from typing import Any

import torch
from attrs import define, field
from torch import Tensor, nn

from forestgaps_core.files.safe_opening import parse_json
from forestgaps_core.files.tensor_file import NAMES, contiguous_strides, is_dense

MAX_DEPTH = 100  # of containers in containers
MAX_VALUES = 400_000
MAX_INTEGER_BITS = 64
TOO_DEEP = f"it is nested more than {MAX_DEPTH} deep"
FLOATS = {"inf": inf, "-inf": -inf, "nan": nan}


class StateError(ValueError):
    """What cannot be written or read. The message is a clause: "it is nested more than 100 deep"."""


def encode_state(state: Any) -> tuple[str, dict[str, Tensor]]:
    """Return the text and the tensors of a tree.

    Raises:
        StateError: It holds something else than plain values and dense tensors on the CPU, or too much; names the place.
    """
    encoder = _Encoder()
    try:
        tree = encoder.encode(state, ())
    except RecursionError:
        raise StateError(TOO_DEEP) from None
    return json.dumps(tree, allow_nan=False, separators=(",", ":")), encoder.tensors


def decode_state(text: str, tensors: Mapping[str, Tensor]) -> Any:
    """Return the tree that `encode_state` took apart.

    Raises:
        StateError: The text is not such a tree, or refers to other tensors than these.
    """
    try:
        tree = parse_json(text)
    except ValueError as error:
        raise StateError(f"its values are not JSON ({error})") from error
    decoder = _Decoder(dict(tensors))
    try:
        state = decoder.decode(tree, 0)
    except RecursionError:
        raise StateError(TOO_DEEP) from None
    if decoder.tensors:
        names = ", ".join(map(repr, sorted(decoder.tensors)[:3]))  # a name may hold a line break
        raise StateError(f"it holds tensors that belong to nothing: {names[:200]}")
    return state


def find_unstorable(state: Any) -> str:
    """Return a clause about the first thing in a tree that cannot be stored, or ''."""
    try:
        encode_state(state)
    except StateError as error:
        return str(error)
    return ""


# --- writing --------------------------------------------------------------------------------------------------------


@define(eq=False)
class _Encoder:
    tensors: dict[str, Tensor] = field(factory=dict)
    count: int = 0

    def encode(self, value: Any, path: tuple[str, ...]) -> Any:
        self.count += 1
        if self.count > MAX_VALUES:
            raise StateError(f"it holds more than {MAX_VALUES:,} values")
        if len(path) > MAX_DEPTH:
            raise StateError(TOO_DEEP)
        encode = ENCODERS.get(type(value))
        if encode is None:
            raise self.refuse(path, f"a {type(value).__name__}, which is neither a plain value nor a tensor")
        return encode(self, value, path)

    def refuse(self, path: tuple[str, ...], reason: str) -> StateError:
        place = ".".join(path)
        return StateError(f"at {place[:200]!r}: {reason}" if path else reason)

    def encode_integer(self, value: int, path: tuple[str, ...]) -> int:
        if value.bit_length() > MAX_INTEGER_BITS:
            raise self.refuse(path, f"a whole number of {value.bit_length()} bits")
        return value

    def encode_items(self, values: Any, path: tuple[str, ...]) -> list[Any]:
        return [self.encode(value, (*path, str(index))) for index, value in enumerate(values)]

    def encode_table(self, values: dict[Any, Any], path: tuple[str, ...]) -> dict[str, Any]:
        if all(type(key) is str and not key.startswith("$") for key in values):
            return {key: self.encode(value, (*path, key)) for key, value in dict.items(values)}
        return {"$dict": self.encode_pairs(values, path)}

    def encode_pairs(self, values: dict[Any, Any], path: tuple[str, ...]) -> list[Any]:
        for key in values:
            if type(key) not in KEYS:
                raise self.refuse(path, f"a key that is not a plain value (a {type(key).__name__})")
        return [[self.encode(key, path), self.encode(value, (*path, str(key)))] for key, value in dict.items(values)]

    def encode_ordered(self, values: OrderedDict[Any, Any], path: tuple[str, ...]) -> dict[str, Any]:
        attributes = dict(vars(values))
        metadata = attributes.pop("_metadata", None)
        if attributes:
            raise self.refuse(path, f"a dictionary with {', '.join(map(repr, attributes))} overwritten")
        return {"$ordered": [self.encode_pairs(values, path), self.encode(metadata, (*path, "_metadata"))]}

    def encode_set(self, values: set[Any], path: tuple[str, ...]) -> dict[str, Any]:
        for value in values:
            if type(value) not in KEYS:
                raise self.refuse(path, f"a set of something else than plain values (a {type(value).__name__})")
        return {"$set": self.encode_items(values, path)}

    def encode_tensor(self, value: Tensor, path: tuple[str, ...]) -> dict[str, Any]:
        dense = value.layout == torch.strided and not value.is_quantized and value.device.type == "cpu"
        if not dense or value._backward_hooks or vars(value):
            raise self.refuse(path, "a tensor that is not of plain numbers in memory")
        numbers = torch.view_as_real(value.detach().resolve_conj()) if value.is_complex() else value
        if numbers.dtype not in NAMES:
            raise self.refuse(path, f"a tensor of {value.dtype}")
        name = "/".join(path).encode("utf-8", "replace").decode()
        while name in self.tensors or name == "__metadata__":
            name += "+"
        self.tensors[name] = numbers
        if value.is_complex():
            return {"$complex": name}
        if value.numel() and value.stride() != contiguous_strides(value.shape) and is_dense(value.shape, value.stride()):
            return {"$strided": [name, list(value.stride())]}
        return {"$tensor": name}


def encode_float(encoder: _Encoder, value: float, path: tuple[str, ...]) -> Any:
    return value if isfinite(value) else {"$float": repr(value)}


ENCODERS: Mapping[type, Callable[[_Encoder, Any, tuple[str, ...]], Any]] = {
    **dict.fromkeys((type(None), bool, str), lambda encoder, value, path: value),
    int: _Encoder.encode_integer,
    float: encode_float,
    bytes: lambda encoder, value, path: {"$bytes": b64encode(value).decode()},
    list: _Encoder.encode_items,
    tuple: lambda encoder, value, path: {"$tuple": encoder.encode_items(value, path)},
    torch.Size: lambda encoder, value, path: {"$size": encoder.encode_items(value, path)},
    set: _Encoder.encode_set,
    dict: _Encoder.encode_table,
    OrderedDict: _Encoder.encode_ordered,
    Tensor: _Encoder.encode_tensor,
    nn.Parameter: _Encoder.encode_tensor,
}
KEYS = (str, int, float, bool, bytes, type(None))


# --- reading --------------------------------------------------------------------------------------------------------


@define(eq=False)
class _Decoder:
    tensors: dict[str, Tensor]  # those that were not used yet
    count: int = 0

    def decode(self, node: Any, depth: int) -> Any:
        self.count += 1
        if self.count > MAX_VALUES:
            raise StateError(f"it holds more than {MAX_VALUES:,} values")
        if depth > MAX_DEPTH:
            raise StateError(TOO_DEEP)
        if isinstance(node, list):
            return [self.decode(item, depth + 1) for item in node]
        if isinstance(node, dict):
            kind = next((key for key in node if key.startswith("$")), None)
            if kind is None:
                return {key: self.decode(value, depth + 1) for key, value in node.items()}
            if len(node) > 1 or kind not in DECODERS:
                raise StateError(f"it holds values of an unknown kind ({kind[:40]!r})")
            return DECODERS[kind](self, node[kind], depth + 1)
        if type(node) is int and node.bit_length() > MAX_INTEGER_BITS:
            raise StateError(f"it holds a whole number of {node.bit_length()} bits")
        return node

    def decode_items(self, node: Any, depth: int) -> list[Any]:
        if not isinstance(node, list):
            raise StateError("it holds a sequence that is not a list")
        return [self.decode(item, depth) for item in node]

    def decode_pairs(self, node: Any, depth: int) -> dict[Hashable, Any]:
        if not isinstance(node, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in node):
            raise StateError("it holds a table that is not pairs of key and value")
        return {self.decode_key(key, depth): self.decode(value, depth) for key, value in node}

    def decode_key(self, node: Any, depth: int) -> Hashable:
        key = self.decode(node, depth)
        if type(key) not in KEYS:
            raise StateError("it holds a key that is not a plain value")
        return key  # type: ignore[no-any-return]

    def decode_ordered(self, node: Any, depth: int) -> OrderedDict[Hashable, Any]:
        if not isinstance(node, list) or len(node) != 2:
            raise StateError("it holds a table that is not pairs of key and value")
        values = OrderedDict(self.decode_pairs(node[0], depth))
        if (metadata := self.decode(node[1], depth)) is not None:
            values._metadata = metadata  # type: ignore[attr-defined]
        return values

    def decode_set(self, node: Any, depth: int) -> set[Hashable]:
        if not isinstance(node, list):
            raise StateError("it holds a sequence that is not a list")
        return {self.decode_key(item, depth) for item in node}

    def decode_size(self, node: Any, depth: int) -> torch.Size:
        lengths = self.decode_items(node, depth)
        if not all(type(length) is int and 0 <= length < 1 << 62 for length in lengths):
            raise StateError("it holds a shape that is not whole numbers")
        return torch.Size(lengths)

    def decode_tensor(self, node: Any, depth: int) -> Tensor:
        if not isinstance(node, str) or node not in self.tensors:
            raise StateError(f"it refers to a tensor that is missing, or twice to the same ({str(node)[:80]!r})")
        return self.tensors.pop(node)

    def decode_strided(self, node: Any, depth: int) -> Tensor:
        """In the same order in memory as before: optimizers compute with the moments and the weights of a layer in parallel."""
        if not isinstance(node, list) or len(node) != 2 or not isinstance(node[1], list):
            raise StateError("it holds a tensor without its strides")
        tensor, strides = self.decode_tensor(node[0], depth), node[1]
        fitting = len(strides) == tensor.dim() and all(type(stride) is int and 0 <= stride < 1 << 62 for stride in strides)
        if not fitting or not tensor.numel() or not is_dense(tensor.shape, strides):
            raise StateError("it holds a tensor whose strides do not fit its shape")
        return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype).copy_(tensor)

    def decode_complex(self, node: Any, depth: int) -> Tensor:
        numbers = self.decode_tensor(node, depth)
        if numbers.dtype not in (torch.float16, torch.float32, torch.float64) or numbers.shape[-1:] != (2,):
            raise StateError("it holds complex numbers without a part")
        return torch.view_as_complex(numbers)

    def decode_float(self, node: Any, depth: int) -> Any:
        if not isinstance(node, str) or node not in FLOATS:
            raise StateError("it holds a number that is not a number")
        return FLOATS[node]

    def decode_bytes(self, node: Any, depth: int) -> Any:
        try:
            return b64decode(node, validate=True)
        except (TypeError, ValueError) as error:
            raise StateError("it holds bytes that are not base64") from error


DECODERS: Mapping[str, Callable[[_Decoder, Any, int], Any]] = {
    "$tensor": _Decoder.decode_tensor,
    "$strided": _Decoder.decode_strided,
    "$complex": _Decoder.decode_complex,
    "$float": _Decoder.decode_float,
    "$bytes": _Decoder.decode_bytes,
    "$tuple": lambda decoder, node, depth: tuple(decoder.decode_items(node, depth)),
    "$set": _Decoder.decode_set,
    "$size": _Decoder.decode_size,
    "$dict": _Decoder.decode_pairs,
    "$ordered": _Decoder.decode_ordered,
}
