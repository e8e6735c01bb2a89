"""Check the contents of an untrusted file: plain values and tensors, in a tree of limited size.

A checkpoint is read without executing anything, and can still hold what does harm later: a list that holds itself, a list of a
hundred lists of a hundred lists, and so on, which share their memory until somebody writes them out, a tensor of a terabyte over
four bytes of data, a dictionary whose methods are overwritten, a function where a number is expected.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

DEPTH = 100  # of containers in containers
VALUES = 2_000_000  # counting a part again wherever it stands
LETTERS = 1_000  # of a text that count as one value
DIGITS = 64  # bits of a whole number
SLACK = 2**26  # bytes that tensors may claim beyond `REPEATED` times the data there are
REPEATED = 16  # tied weights, of which there is one in memory
PLAIN = (bool, int, float, str, bytes, type(None))
CONTAINERS = (dict, OrderedDict, list, tuple, set, torch.Size)


class Extent(NamedTuple):
    """Of a part of the tree."""

    depth: int
    values: int
    bytes: int  # of its tensors


def not_plain(tree: Any) -> str:
    """A sentence about the first thing in a tree that is neither a plain value nor a tensor of its own data, or ''.

    Takes time and memory by what is in memory, not by what the tree would be when written out.
    """
    known: dict[int, Extent] = {}
    storages: dict[int, int] = {}
    if wrong := wrong_leaf(tree):
        return wrong
    path: list[tuple[Any, Iterator[tuple[Hashable, Any]], list[Extent]]] = []
    open_parts: set[int] = set()

    def enter(node: Any) -> None:
        path.append((node, parts(node), []))
        open_parts.add(id(node))

    enter(tree)
    while True:
        node, rest, extents = path[-1]
        key, child = next(rest, (None, END))
        if child is END:
            path.pop()
            open_parts.discard(id(node))
            extent = whole(node, extents)
            if extent.values > VALUES:
                return f"it would hold more than {VALUES:,} values when written out"
            if extent.depth > DEPTH:
                return f"it is nested more than {DEPTH} deep"
            known[id(node)] = extent
            if isinstance(node, Tensor):
                storage = node.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
            if not path:
                break
            path[-1][2].append(extent)
        elif id(child) in known:
            extents.append(known[id(child)])
        elif id(child) in open_parts:
            return f"{key!r} holds itself"
        elif wrong := wrong_leaf(child) or wrong_leaf(key):
            return f"at {str(key)[:80]!r}: {wrong}"
        elif len(path) >= 2 * DEPTH:  # no need to go to the end of it
            return f"it is nested more than {DEPTH} deep"
        else:
            enter(child)
    claimed = known[id(tree)].bytes
    return "" if claimed <= REPEATED * sum(storages.values()) + SLACK else f"its tensors claim {claimed:,} bytes that are not there"


END = object()


def parts(node: Any) -> Iterator[tuple[Hashable, Any]]:
    if isinstance(node, dict):
        yield from dict.items(node)
        yield from vars(node).items() if isinstance(node, OrderedDict) else ()  # `_metadata` of a network's state
    elif isinstance(node, list | tuple | set):
        yield from enumerate(node)


def whole(node: Any, extents: list[Extent]) -> Extent:
    own = 1 + len(node) // LETTERS if isinstance(node, str | bytes) else 1
    data = node.numel() * node.element_size() if isinstance(node, Tensor) else 0
    return Extent(
        depth=1 + max((extent.depth for extent in extents), default=0),
        values=own + sum(extent.values for extent in extents),
        bytes=data + sum(extent.bytes for extent in extents),
    )


def wrong_leaf(node: Any) -> str:
    """A sentence about one value, whatever it holds, or ''."""
    kind = type(node)
    if kind in (Tensor, nn.Parameter):
        dense = node.layout == torch.strided and not node.is_quantized and node.device.type == "cpu"
        return "" if dense and not node._backward_hooks and not vars(node) else "a tensor that is not of plain numbers in memory"
    if kind is int and node.bit_length() > DIGITS:
        return f"a whole number of {node.bit_length()} bits"
    if kind is OrderedDict and vars(node).keys() - {"_metadata"}:
        return f"a dictionary with {', '.join(map(repr, vars(node)))} overwritten"
    return "" if kind in PLAIN or kind in CONTAINERS else f"a {kind.__name__}, which is neither a plain value nor a tensor"
