"""Files of tensors: the layout of safetensors, with a checksum of every byte."""

from __future__ import annotations

import io

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import torch as reference

from forestgaps_core.files.tensor_file import DTYPES, LENGTH, TensorFileError, pack_tensors, read_tensors, read_texts, write_tensors

TENSORS = {
    "second": torch.arange(6.0).view(2, 3),
    "first": torch.arange(3, dtype=torch.int8),
    "scalar": torch.tensor(0.1, dtype=torch.float64),
    "empty": torch.zeros(0, 3),
    "transposed": torch.arange(12.0).view(3, 4).T[1:, ::2],
    "expanded": torch.ones(1).expand(5),
    "ü": torch.tensor([True, False]),
    "parameter": torch.nn.Parameter(torch.ones(3)),
    "negative": torch.imag(torch.tensor([1 + 2j]).conj()),
}


def equal(one, other):
    return one.dtype == other.dtype and torch.equal(one, other)


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "file.safetensors"
    path.write_bytes(pack_tensors(TENSORS, {"about": "ä"}))
    found, texts = read_tensors(path)
    assert found.keys() == TENSORS.keys()
    assert all(equal(found[name], tensor) for name, tensor in TENSORS.items())
    assert texts["about"] == "ä"


@pytest.mark.parametrize("name", DTYPES)
def test_every_type_round_trips_in_its_bits(name, tmp_path):
    dtype = DTYPES[name]
    generator = torch.Generator().manual_seed(0)
    raw = torch.randint(0, 256, (3, 8), dtype=torch.uint8, generator=generator)
    tensor = (raw > 127) if dtype is torch.bool else raw.view(dtype)
    found, _ = read_tensors(tmp_path, pack_tensors({"x": tensor}, {}))
    assert found["x"].dtype == dtype
    assert torch.equal(found["x"].view(torch.uint8), tensor.view(torch.uint8))


def test_the_library_reads_what_is_written_and_the_other_way_round(tmp_path):
    dense = {name: tensor.detach().contiguous().clone() for name, tensor in TENSORS.items()}
    found = reference.load(pack_tensors(TENSORS, {}))
    assert all(equal(found[name], tensor) for name, tensor in dense.items())
    found, texts = read_tensors(tmp_path, reference.save(dense, metadata={"format": "pt"}))
    assert all(equal(found[name], tensor) for name, tensor in dense.items())
    assert texts == {"format": "pt"}


@given(st.data())
def test_every_changed_byte_and_every_length_is_noticed(data):
    whole = pack_tensors(TENSORS, {"about": "text"})
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    for content in (bytes(changed), whole[:place], whole + b"\0"):
        try:
            _, texts = read_tensors("path", content)
        except TensorFileError:
            continue
        # Only a file whose checksum has lost its name is read: checkpoints are refused without one.
        assert "sha256" not in texts
        assert LENGTH <= place < LENGTH + 30


def test_equal_tensors_give_equal_files_in_any_order():
    assert pack_tensors(TENSORS, {}) == pack_tensors(dict(reversed(TENSORS.items())), {})


def test_each_tensor_starts_at_a_multiple_of_its_item_size():
    data = pack_tensors(TENSORS, {})
    size = int.from_bytes(data[:LENGTH], "little")
    assert size % 8 == 0
    import json

    header = json.loads(data[LENGTH : LENGTH + size])
    for name, tensor in TENSORS.items():
        assert header[name]["data_offsets"][0] % tensor.element_size() == 0


def test_a_file_of_no_tensors_and_one_of_others(tmp_path):
    assert read_tensors(tmp_path, pack_tensors({}, {}))[0] == {}
    for content in (b"", b"PK\x03\x04" + bytes(100), b"\0" * 100):
        with pytest.raises(TensorFileError, match=r"it is (empty|a file of torch|cut short)"):
            read_tensors(tmp_path, content)


def test_a_disk_that_refuses_is_heard():
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_tensors(Full(), TENSORS, {})


@pytest.mark.parametrize(("start", "words"), [(b"PK\x03\x04", "a file of torch"), (b"\x80\x02", "a pickle"), (b"", "it is empty")])
def test_a_file_of_another_kind_is_named(start, words):
    with pytest.raises(TensorFileError, match=words):
        read_texts(start + b"0" * 100 if start else b"")


def test_a_header_whose_length_begins_like_a_pickle_is_read():
    found = set()
    for letters in range(300):
        data = pack_tensors({}, {"text": "a" * letters})
        assert read_texts(data)["text"] == "a" * letters
        found.add(data[0])
    assert 0x80 in found
