"""Files that run code where they are let, and files that ask for more than they are."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from forestgaps_core.files.checkpoint import FORMAT
from forestgaps_core.files.tensor_file import NO_CHECKSUM, PLACE


def with_checksum(header: Mapping[str, Any] | bytes, data: bytes = b"") -> bytes:
    """A file of tensors as if written by us: a checksum keeps accidents out, not people."""
    head = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    file = len(head).to_bytes(8, "little") + head + data
    assert file[PLACE] == NO_CHECKSUM
    return file[: PLACE.start] + hashlib.sha256(file).hexdigest().encode() + file[PLACE.stop :]


def checkpoint_file(text: str, data: bytes = b"", **tensors: Any) -> bytes:
    """A checkpoint whose state has this text, with a header that says this about its tensors."""
    return with_checksum({"__metadata__": {"sha256": NO_CHECKSUM.decode(), "state": text}, **tensors}, data)


def carried(data: bytes) -> dict[str, bytes]:
    """Files in which a checkpoint might carry a payload, by name."""
    state = json.dumps({"format": FORMAT, "about": {}, "model": {}, "callbacks": {}})
    entry = {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}
    return {"bare": data, "text": checkpoint_file(data.decode("latin1")), "tensor": checkpoint_file(state, data, payload=entry)}


class Reduced:
    """Makes a folder when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trace),)


def saved(tree: Any, **settings: Any) -> bytes:
    file = io.BytesIO()
    torch.save(tree, file, **settings)
    return file.getvalue()


def archive(data: bytes, *, compression: int = zipfile.ZIP_STORED, parts: Mapping[str, bytes] | None = None) -> bytes:
    """A torch archive around a pickle of one's own."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        made.writestr("archive/data.pkl", data)
        for name, part in {"byteorder": b"little", "version": b"3\n", **(parts or {})}.items():
            made.writestr(name if name.startswith((".", "/")) else f"archive/{name}", part)
    return file.getvalue()


def short(text: str) -> bytes:
    data = text.encode()
    return b"X" + len(data).to_bytes(4, "little") + data  # BINUNICODE


def called(module: str, name: str, argument: bytes) -> bytes:
    """A pickle that calls `module.name(argument)`."""
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + argument + b"\x85R."


def global_by_stack(module: str, name: str, argument: bytes) -> bytes:
    return b"\x80\x04" + short(module) + short(name) + b"\x93" + argument + b"\x85R."


# --- code -----------------------------------------------------------------------------------------------------------


def in_state(place: tuple[str, ...]) -> Callable[[dict[str, Any], Path], bytes]:
    def make(state: dict[str, Any], trace: Path) -> bytes:
        tree: dict[str, Any] = {**state}
        inner = tree
        for key in place[:-1]:
            inner[key] = dict(inner.get(key) or {})
            inner = inner[key]
        inner[place[-1]] = Reduced(trace)
        return saved(tree)

    return make


def as_key(state: dict[str, Any], trace: Path) -> bytes:
    return saved({**state, "callbacks": {Reduced(trace): 1}})


def legacy(state: dict[str, Any], trace: Path) -> bytes:
    return saved({**state, "more": Reduced(trace)}, _use_new_zipfile_serialization=False)


def legacy_tar(state: dict[str, Any], trace: Path) -> bytes:
    """The oldest format of torch, whose way in was CVE-2025-32434."""
    info = {"protocol_version": 1000, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    members = {
        "sys_info": pickle.dumps(info),
        "pickle": pickle.dumps(Reduced(trace), protocol=2),
        "storages": pickle.dumps(0),
        "tensors": pickle.dumps(0),
    }
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            made.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def bare_pickle(state: dict[str, Any], trace: Path) -> bytes:
    return pickle.dumps({**dict.fromkeys(state), "format": FORMAT, "more": Reduced(trace)})


def compressed_pickle(state: dict[str, Any], trace: Path) -> bytes:
    return gzip.compress(pickle.dumps(Reduced(trace)))


def textual_pickle(state: dict[str, Any], trace: Path) -> bytes:
    return f"cos\nmkdir\n(S'{trace}'\ntR.".encode()


def instance(state: dict[str, Any], trace: Path) -> bytes:
    return archive(f"(S'{trace}'\nios\nmkdir\n.".encode())


def object_opcode(state: dict[str, Any], trace: Path) -> bytes:
    return archive(b"\x80\x02(cos\nmkdir\n" + short(str(trace)) + b"o.")


def torchscript(state: dict[str, Any], trace: Path) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Identity()), file)
    return file.getvalue()


def calling(module: str, name: str, words: Callable[[Path], bytes]) -> dict[str, Callable[[dict[str, Any], Path], bytes]]:
    made = {"call": called, "stack": global_by_stack}
    return {
        f"{module}.{name} by {how}": lambda state, trace, make=make: archive(make(module, name, words(trace)))
        for how, make in made.items()
    }


def path(trace: Path) -> bytes:
    return short(str(trace))


def line(trace: Path) -> bytes:
    return short(f"mkdir {trace}")


def code(trace: Path) -> bytes:
    return short(f"__import__('os').mkdir({str(trace)!r})")


def pickled(trace: Path) -> bytes:
    data = saved(Reduced(trace))
    return b"B" + len(data).to_bytes(4, "little") + data  # BINBYTES


def module(trace: Path) -> bytes:
    return short("trap")


WAYS_IN: Mapping[str, Callable[[dict[str, Any], Path], bytes]] = {
    **{
        f"reduce in {'.'.join(place)}": in_state(place)
        for place in (
            ("more",),
            ("model", "first.weight"),
            ("about", "config", "model", "width"),
            ("about", "components", "model", "version"),
            ("callbacks", "notes"),
            ("optimizer", "state"),
            ("position", "epoch"),
            ("scheduler",),
            ("calibration",),
        )
    },
    "reduce as a key": as_key,
    "legacy format": legacy,
    "legacy tar": legacy_tar,
    "pickle": bare_pickle,
    "pickle, compressed": compressed_pickle,
    "pickle as text": textual_pickle,
    "opcode INST": instance,
    "opcode OBJ": object_opcode,
    "TorchScript": torchscript,
    **calling("os", "mkdir", path),
    **calling("posix", "mkdir", path),
    **calling("os", "system", line),
    **calling("builtins", "eval", code),
    **calling("builtins", "exec", code),
    **calling("subprocess", "getoutput", line),
    **calling("pty", "spawn", line),
    **calling("timeit", "timeit", code),
    **calling("runpy", "run_module", module),
    **calling("importlib", "import_module", module),
    **calling("builtins", "__import__", module),
    **calling("pydoc", "locate", module),
    **calling("torch.storage", "_load_from_bytes", pickled),
    **calling("torch.serialization", "load", path),
    **calling("torch.hub", "load", path),
    **calling("torch.utils.collect_env", "run", line),
    **calling("torch.utils._config_module", "ConfigModule", path),
    **calling("torch.distributed.rpc.internal", "deserialize", pickled),
    **calling("numpy.testing._private.utils", "runstring", code),
    **calling("forestgaps_core.plugins.registry", "load_target", module),
}


# --- more than there is, or something else --------------------------------------------------------------------------


def state_text(callbacks: str) -> str:
    """The text of a state whose table of callbacks is this."""
    return f'{{"format":{FORMAT},"about":{{}},"model":{{}},"callbacks":{callbacks}}}'


def state_file(callbacks: str) -> bytes:
    return checkpoint_file(state_text(callbacks))


def with_tensor(callbacks: str = '{"x":{"$tensor":"w"}}', data: bytes = bytes(16), **changed: Any) -> bytes:
    """A tensor of four numbers."""
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changed}
    return checkpoint_file(state_text(callbacks), data, w=entry)


def raw_header(head: bytes) -> bytes:
    return len(head).to_bytes(8, "little") + head


TOO_MUCH: Mapping[str, Callable[[], bytes]] = {
    "deep": lambda: state_file("[" * 50_000 + "]" * 50_000),
    "deep_tables": lambda: state_file('{"a":' * 150 + "1" + "}" * 150),
    "deep_tuples": lambda: state_file('{"$tuple":[' * 400 + "]}" * 400),
    "deep_header": lambda: raw_header(b"[" * 100_000 + b"]" * 100_000),
    "many_empty_lists": lambda: state_file("[" + "[]," * 1_000_000 + "[]]"),
    "many_lists_in_each_other": lambda: state_file("[" * 500_000 + "]" * 500_000),
    "many_tables": lambda: state_file("[" + "{}," * 2_000_000 + "{}]"),
    "many_numbers": lambda: state_file("[" + "1," * 450_000 + "1]"),
    "wide_header": lambda: state_file('"' + "x" * 2**23 + '"'),
    "long_number": lambda: state_file(str(1 << 1000)),
    "number_of_many_digits": lambda: state_file("9" * 1_000_000),
    "long_number_as_a_key": lambda: state_file(f'{{"$dict":[[{1 << 65},1]]}}'),
    "header_longer_than_the_file": lambda: (1 << 20).to_bytes(8, "little") + b"{}",
    "header_of_exabytes": lambda: ((1 << 63) - 1).to_bytes(8, "little") + b"{}",
    "header_without_end": lambda: b"\xff" * 8 + b"{}",
    "header_of_nothing": lambda: bytes(8),
    "header_that_is_a_list": lambda: raw_header(b"[1]"),
    "header_that_is_not_json": lambda: raw_header(b"{'w': 1}"),
    "header_that_is_not_text": lambda: raw_header(b"\xff{}"),
    "metadata_that_is_a_list": lambda: raw_header(b'{"__metadata__":[]}'),
    "metadata_that_is_not_text": lambda: raw_header(b'{"__metadata__":{"sha256":1,"state":{}}}'),
    "without_checksum": lambda: raw_header(json.dumps({"__metadata__": {"state": state_text("{}")}}).encode()),
    "checksum_elsewhere": lambda: raw_header(json.dumps({"__metadata__": {"state": "{}", "sha256": "0" * 64}}).encode()),
    "without_state": lambda: with_checksum({"__metadata__": {"sha256": NO_CHECKSUM.decode()}}),
    "text_that_is_not_json": lambda: checkpoint_file("{'format': 3}"),
    "text_that_ends_early": lambda: checkpoint_file(state_text("{}")[:-1]),
    "text_with_more_after_its_end": lambda: checkpoint_file(state_text("{}") + "{}"),
    "text_that_is_a_list": lambda: checkpoint_file("[]"),
    "missing_tensor": lambda: state_file('{"x":{"$tensor":"w"}}'),
    "tensor_twice": lambda: with_tensor('{"x":{"$tensor":"w"},"y":{"$tensor":"w"}}'),
    "tensor_five_hundred_times": lambda: with_tensor("[" + ",".join(['{"$tensor":"w"}'] * 500) + "]"),
    "unused_tensor": lambda: with_tensor("{}"),
    "tensor_named_by_a_number": lambda: with_tensor('{"x":{"$tensor":1}}'),
    "tensor_as_a_key": lambda: with_tensor('{"$dict":[[{"$tensor":"w"},1]]}'),
    "strides_of_another_shape": lambda: with_tensor('{"x":{"$strided":["w",[1,1]]}}'),
    "strides_of_terabytes": lambda: with_tensor('{"x":{"$strided":["w",[1099511627776]]}}'),
    "strides_that_overlap": lambda: with_tensor('{"x":{"$strided":["w",[1,1]]}}', shape=[2, 2]),
    "strides_of_text": lambda: with_tensor('{"x":{"$strided":["w",["1"]]}}'),
    "strides_below_0": lambda: with_tensor('{"x":{"$strided":["w",[-1]]}}'),
    "strides_that_are_missing": lambda: with_tensor('{"x":{"$strided":["w"]}}'),
    "complex_without_a_part": lambda: with_tensor('{"x":{"$complex":"w"}}'),
    "complex_of_integers": lambda: with_tensor('{"x":{"$complex":"w"}}', dtype="I32", shape=[2, 2]),
    "complex_scalar": lambda: with_tensor('{"x":{"$complex":"w"}}', bytes(4), shape=[], data_offsets=[0, 4]),
    "kind_that_is_unknown": lambda: state_file('{"$object":["os","mkdir"]}'),
    "two_kinds": lambda: state_file('{"$tuple":[],"$set":[]}'),
    "kind_beside_a_key": lambda: state_file('{"x":1,"$tuple":[]}'),
    "tuple_of_text": lambda: state_file('{"$tuple":"abc"}'),
    "set_of_a_table": lambda: state_file('{"$set":{"a":1}}'),
    "set_of_lists": lambda: state_file('{"$set":[[1]]}'),
    "slow_key": lambda: state_file('{"$dict":[[{"$tuple":[1,2]},1]]}'),
    "table_of_three": lambda: state_file('{"$dict":[[1,2,3]]}'),
    "table_of_numbers": lambda: state_file('{"$dict":[1]}'),
    "ordered_without_metadata": lambda: state_file('{"$ordered":[[]]}'),
    "ordered_of_a_table": lambda: state_file('{"$ordered":{"items":[]}}'),
    "shape_of_text": lambda: state_file('{"$size":["a"]}'),
    "negative_shape": lambda: state_file('{"$size":[-1]}'),
    "number_of_text": lambda: state_file('{"$float":"1e5"}'),
    "number_of_a_list": lambda: state_file('{"$float":[]}'),
    "bytes_that_are_not_base64": lambda: state_file('{"$bytes":"*"}'),
    "bytes_of_a_number": lambda: state_file('{"$bytes":7}'),
    "claimed_shape": lambda: with_tensor(shape=[1 << 30]),
    "claimed_offset": lambda: with_tensor(data_offsets=[1 << 30, (1 << 30) + 16]),
    "claimed_end": lambda: with_tensor(shape=[1 << 38], data_offsets=[0, 1 << 40]),
    "negative_size": lambda: with_tensor(shape=[-2, -2]),
    "negative_offset": lambda: with_tensor(data_offsets=[-16, 0]),
    "overflowing_size": lambda: with_tensor(shape=[1 << 33, 1 << 33]),
    "many_dimensions": lambda: with_tensor(shape=[1] * 100_000),
    "unknown_type": lambda: with_tensor(dtype="PICKLE"),
    "type_that_is_code": lambda: with_tensor(dtype="os:system"),
    "bytes_of_no_tensor": lambda: with_tensor(data=bytes(1000)),
    "bytes_cut_short": lambda: with_tensor(data=bytes(8)),
    "tensors_that_overlap": lambda: checkpoint_file(
        state_text('{"v":{"$tensor":"v"},"w":{"$tensor":"w"}}'),
        bytes(16),
        v={"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
        w={"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
    ),
    "more_after_the_end": lambda: state_file("{}") + b"cos\nsystem\n.",
    "bytes_before_the_start": lambda: b"MZ" + state_file("{}"),
    "old_torch_file": lambda: saved({"format": FORMAT, "about": {}, "model": {}, "callbacks": {}}),
}
