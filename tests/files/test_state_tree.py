"""Whatever a state holds comes back with the same types and bits."""

from __future__ import annotations

import json
import struct
from collections import OrderedDict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_core.files.state_tree import StateError, decode_state, encode_state, find_unstorable
from forestgaps_core.files.tensor_file import DTYPES

PLAIN = st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats() | st.text() | st.binary()
TREES = st.recursive(
    PLAIN,
    lambda parts: (
        st.lists(parts, max_size=4)
        | st.lists(parts, max_size=4).map(tuple)
        | st.lists(st.integers(0, 9), max_size=3).map(torch.Size)
        | st.dictionaries(st.text() | st.sampled_from(["$tuple", "$", "$dict"]), parts, max_size=4)
        | st.dictionaries(PLAIN.filter(lambda key: key == key), parts, max_size=4)
        | st.dictionaries(st.text(), parts, max_size=4).map(OrderedDict)
        | st.sets(PLAIN.filter(lambda key: key == key), max_size=4)
    ),
    max_leaves=30,
)


def fingerprint(value):
    """Equal only for equal types, orders and bits."""
    if isinstance(value, float):
        return "nan" if value != value else struct.pack("<d", value)
    if isinstance(value, dict):
        return type(value), [(fingerprint(key), fingerprint(part)) for key, part in value.items()]
    if isinstance(value, set):
        return "set", {fingerprint(part) for part in value}
    if isinstance(value, list | tuple):
        return type(value), tuple(fingerprint(part) for part in value)
    return type(value), value


def round_trip(state):
    text, tensors = encode_state(state)
    return decode_state(text, tensors)


@given(TREES)
def test_plain_values_round_trip_with_types_and_bits(state):
    assert fingerprint(round_trip(state)) == fingerprint(state)


@given(TREES)
def test_text_is_standard_json(state):
    def refuse(constant):
        raise AssertionError(constant)

    json.loads(encode_state(state)[0], parse_constant=refuse)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_tensors_are_named_by_their_place(dtype):
    state = {"model": {"w": torch.ones(2).to(dtype)}, "list": [torch.zeros(()), (torch.zeros(0, 3),)]}
    text, tensors = encode_state(state)
    assert list(tensors) == ["model/w", "list/0", "list/1/0"]
    assert decode_state(text, tensors)["model"]["w"] is tensors["model/w"]


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(120.0).view(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        torch.arange(8.0).view(2, 1, 2, 2).to(memory_format=torch.channels_last),
        torch.arange(8.0).view(2, 4, 1, 1).to(memory_format=torch.channels_last),
        torch.arange(6.0).view(2, 3).T,
        torch.arange(24.0).view(2, 3, 4).permute(2, 0, 1),
        torch.ones(()),
        torch.zeros(0, 3).T,
    ],
    ids=lambda tensor: str(tuple(tensor.shape)),
)
def test_dense_tensors_keep_their_order_in_memory(tensor):
    """Fused optimizers take weights and moments to lie in the same order."""
    text, tensors = encode_state([tensor])
    (found,) = decode_state(text, {name: part.clone(memory_format=torch.contiguous_format) for name, part in tensors.items()})
    assert torch.equal(found, tensor)
    assert found.stride() == tensor.stride() or not tensor.numel()


def test_views_that_leave_memory_out_are_written_by_value():
    text, _ = encode_state([torch.arange(12.0).view(3, 4)[:, ::2], torch.ones(1).expand(3)])
    assert text == '[{"$tensor":"0"},{"$tensor":"1"}]'


def test_places_of_one_name_are_distinguished():
    state = {
        "a/b": torch.zeros(1),
        "a": {"b": torch.ones(1)},
        "\ud800": torch.ones(2),
        "?": torch.zeros(2),
        "__metadata__": torch.ones(3),
    }
    text, tensors = encode_state(state)
    assert len(tensors) == 5
    assert "__metadata__" not in tensors
    assert decode_state(text, tensors)["a"]["b"] is state["a"]["b"]


def test_weights_keep_the_versions_of_their_modules():
    weights = torch.nn.Sequential(torch.nn.BatchNorm2d(2)).state_dict()
    found = round_trip(weights)
    assert type(found) is OrderedDict
    assert found._metadata == weights._metadata


def test_tied_weights_are_separate_after_reading():
    shared = torch.ones(2)
    text, tensors = encode_state({"encoder": shared, "decoder": shared})
    assert sorted(tensors) == ["decoder", "encoder"]
    assert decode_state(text, tensors).keys() == {"encoder", "decoder"}


def test_depth_of_100_is_the_limit():
    for opened, closed, limit in (
        (list, lambda inner: [inner], 100),
        (tuple, lambda inner: (inner,), 100),
        (dict, lambda inner: {1: inner}, 100),
    ):
        state = opened()
        for _ in range(limit - 1):
            state = closed(state)
        assert fingerprint(round_trip(state)) == fingerprint(state)
        with pytest.raises(StateError, match="nested more than 100 deep"):
            encode_state(closed(closed(state)))


def test_find_unstorable_names_the_place():
    assert find_unstorable({"a": [1, "b", None]}) == ""
    assert find_unstorable({"a": [1, {"b": len}]}) == (
        "at 'a.1.b': a builtin_function_or_method, which is neither a plain value nor a tensor"
    )
    assert find_unstorable(len) == "a builtin_function_or_method, which is neither a plain value nor a tensor"


def test_a_line_break_in_a_name_does_not_split_the_message():
    text, tensors = encode_state({"model": {}})
    with pytest.raises(StateError) as caught:
        decode_state(text, {**tensors, "weights\nerror: all is well": torch.ones(1)})
    assert len(str(caught.value).splitlines()) == 1
    assert r"'weights\nerror: all is well'" in str(caught.value)
