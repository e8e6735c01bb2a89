"""Files that run code where they are let, and files that ask for more than they are."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from forestgaps_core.files.checkpoint import FORMAT, SEAL


def sealed(data: bytes) -> bytes:
    """As if written by us: a seal keeps accidents out, not people."""
    return data + hashlib.sha256(data).digest() + SEAL


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


# --- more than there is ---------------------------------------------------------------------------------------------


def holding_itself() -> bytes:
    loop: list[Any] = []
    loop.append(loop)
    return saved({"format": FORMAT, "callbacks": {"x": loop}})


def laughs() -> bytes:
    """100 to the power of 30 values in 3 kB."""
    many: list[Any] = [1]
    for _ in range(30):
        many = [many] * 100
    return saved({"format": FORMAT, "about": many})


def deep() -> bytes:
    return archive(b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".")


def expanded() -> bytes:
    return saved({"format": FORMAT, "model": {"w": torch.zeros(1).expand(1 << 40)}})


def shared_tensor() -> bytes:
    tensor = torch.zeros(1 << 20)
    return saved({"format": FORMAT, "model": {str(number): tensor.view(-1) for number in range(500)}})


def meta() -> bytes:
    return saved({"format": FORMAT, "model": {"w": torch.zeros(1 << 40, device="meta")}})


def sparse() -> bytes:
    tensor = torch.sparse_coo_tensor(torch.zeros((1, 1), dtype=torch.int64), torch.ones(1), (1 << 40,), check_invariants=False)
    return saved({"format": FORMAT, "model": {"w": tensor}})


def long_number() -> bytes:
    return saved({"format": FORMAT, "position": {"epoch": 1 << 1000}})


def overwritten_method() -> bytes:
    weights = b"ccollections\nOrderedDict\n)R}" + short("items") + b"K\x03sb"
    return archive(b"\x80\x02}" + short("format") + b"K\x02s" + short("model") + weights + b"s.")


def function() -> bytes:
    return archive(b"\x80\x02}" + short("format") + b"K\x02s" + short("about") + b"ctorch._utils\n_rebuild_tensor_v2\ns.")


def bomb() -> bytes:
    """64 MB of zeros in 64 kB."""
    file = io.BytesIO()
    data = saved({"format": FORMAT, "model": {"w": torch.zeros(1 << 24)}})
    with zipfile.ZipFile(io.BytesIO(data)) as plain, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name in plain.namelist():
            made.writestr(name, plain.read(name))
    return file.getvalue()


def overlapping() -> bytes:
    """A hundred storages in the place of one: the directory names the same bytes again and again."""
    data = bytearray(archive(b"\x80\x02}.", parts={"data/0": bytes(1 << 16)}))
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as made:
        made.getinfo("archive/data/0")
        start = made.start_dir
    directory = bytes(data[start : data.rindex(b"PK\x05\x06")])
    entries = directory.count(b"PK\x01\x02")
    whole = directory * 100
    end = bytearray(data[data.rindex(b"PK\x05\x06") :])
    end[8:10] = end[10:12] = (100 * entries).to_bytes(2, "little")
    end[12:16] = len(whole).to_bytes(4, "little")
    return bytes(data[:start]) + whole + bytes(end)


def lying_storage() -> bytes:
    """A tensor of a million values over a storage of four bytes."""
    whole = saved({"format": FORMAT, "model": {"w": torch.zeros(1)}})
    with zipfile.ZipFile(io.BytesIO(whole)) as made:
        plain = made.read(next(name for name in made.namelist() if name.endswith("data.pkl")))
    lied = plain.replace(b"K\x01tq", b"J\x40\x42\x0f\x00tq", 1)
    assert lied != plain
    return archive(lied, parts={"data/0": bytes(4)})


def outside() -> bytes:
    """Parts with names that lead out of any folder they would be unpacked to."""
    return archive(b"\x80\x02}.", parts={"../../outside": b"x", "/outside": b"x"})


def number(value: int) -> bytes:
    return b"J" + value.to_bytes(4, "little", signed=True)  # BININT


def table(value: bytes) -> bytes:
    """A pickle of a state whose table of callbacks is this."""
    return b"\x80\x02}" + short("format") + b"K\x02s" + short("callbacks") + value + b"s."


def tensor(size: bytes, stride: bytes, *, offset: bytes = b"K\0", count: int = 1, more: bytes = b"") -> bytes:
    """A tensor over one storage of `count` numbers in four bytes each."""
    storage = b"(" + short("storage") + b"ctorch\nFloatStorage\n" + short("0") + short("cpu") + number(count) + b"tQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + size + stride + b"\x89" + hooks + more + b"tR"


def with_tensor(size: bytes, stride: bytes, **settings: Any) -> bytes:
    parts = {"data/0": bytes(4)}
    return archive(table(tensor(size, stride, **settings)), parts=parts)


def two_directories() -> bytes:
    """zipfile takes the second directory, of a harmless archive; torch the first end it finds, of a bomb of 32 MB."""
    harmless, large = archive(table(b"}")), bomb()
    return large[:-2] + len(harmless).to_bytes(2, "little") + harmless


def end_within_a_comment() -> bytes:
    data = archive(table(b"}"))
    end = data[data.rindex(b"PK\x05\x06") :]
    return data[:-2] + len(end).to_bytes(2, "little") + end


def large_directory_elsewhere() -> bytes:
    """The wide end of the directory, which readers prefer, names another one."""
    data = archive(table(b"}"))
    last = data.rindex(b"PK\x05\x06")
    wide = b"PK\x06\x06" + (44).to_bytes(8, "little") + bytes(12) + (1).to_bytes(8, "little") * 2 + bytes(16)
    return data[:last] + wide + b"PK\x06\x07" + bytes(4) + last.to_bytes(8, "little") + (1).to_bytes(4, "little") + data[last:]


def header_unlike_the_directory() -> bytes:
    data = bytearray(archive(table(b"}")))
    data[22:26] = (1 << 30).to_bytes(4, "little")  # the size in the first part's own header
    return bytes(data)


def bytes_between_parts() -> bytes:
    data = archive(table(b"}"))
    return moved(data, data.index(b"PK\x03\x04", 4), b"PK\x03\x04hidden")


def bytes_before_the_parts() -> bytes:
    return moved(archive(table(b"}")), 0, b"MZ hidden")


def moved(data: bytes, place: int, hidden: bytes) -> bytes:
    """The archive with bytes put into it, and a directory that knows."""
    made = bytearray(data)
    start = int.from_bytes(made[-6:-2], "little")
    at = start
    while made[at : at + 4] == b"PK\x01\x02":
        where = int.from_bytes(made[at + 42 : at + 46], "little")
        made[at + 42 : at + 46] = (where + len(hidden) * (where >= place)).to_bytes(4, "little")
        at += 46 + int.from_bytes(made[at + 28 : at + 30], "little")
    made[-6:-2] = (start + len(hidden)).to_bytes(4, "little")
    made[place:place] = hidden
    return bytes(made)


def one_name_in_two_cases() -> bytes:
    """torch looks for a part without regard to capital letters."""
    return archive(table(b"}"), parts={"DATA.PKL": table(b"]")})


def two_parts_of_one_name() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = io.BytesIO(archive(table(b"}")))
        with zipfile.ZipFile(file, "a") as made:
            made.writestr("archive/data.pkl", table(b"]"))
        return file.getvalue()


def zeros_on_demand() -> bytes:
    """4.4 GB in 459 bytes."""
    return archive(table(b"c__builtin__\nbytearray\n" + b"\x8a\x05" + (4_400_000_000).to_bytes(5, "little") + b"\x85R"))


def many_empty_lists() -> bytes:
    return archive(table(b"](" + b"]" * 1_000_000 + b"e"))


def many_lists_in_each_other() -> bytes:
    return archive(table(b"]" * 500_000 + b"a" * 499_999))


def many_marks() -> bytes:
    return archive(b"\x80\x02" + b"(" * 2_000_000 + b".")


def wide_number() -> bytes:
    """Eight million bits."""
    return archive(table(b"\x8b" + (1_000_000).to_bytes(4, "little") + b"\x7f" * 1_000_000))


def wide_number_as_text() -> bytes:
    return archive(table(b"L" + b"9" * 1_000_000 + b"L\n"))


def copied_text() -> bytes:
    """A text of a megabyte, copied ten thousand times into bytes."""
    first = b"c_codecs\nencode\nq\x00" + short("x" * 1_000_000) + short("latin1") + b"\x86q\x01R"
    return archive(table(b"](" + first + b"h\x00h\x01R" * 10_000 + b"e"))


def copied_shape() -> bytes:
    return archive(table(b"](" + b"ctorch\nSize\nq\x00(" + b"K\1" * 100_000 + b"t\x85q\x01R" + b"h\x00h\x01R" * 10_000 + b"e"))


def copied_set() -> bytes:
    first = b"c__builtin__\nset\nq\x00](" + b"".join(number(value) for value in range(50_000)) + b"e\x85q\x01R"
    return archive(table(b"](" + first + b"h\x00h\x01R" * 10_000 + b"e"))


def slow_key() -> bytes:
    """A key whose hash takes 2^60 steps: pairs of pairs of pairs, each twice the same."""
    pairs = b"K\1" + b"".join(b"q%ch%c\x86" % (index, index) for index in range(60))
    return archive(table(b"}" + pairs + b"K\1s"))


def slow_element() -> bytes:
    pairs = b"K\1" + b"".join(b"q%ch%c\x86" % (index, index) for index in range(60))
    return archive(table(b"c__builtin__\nset\n](" + pairs + b"e\x85R"))


def claimed_shape() -> bytes:
    """torch makes room for a tensor that is larger than its storage."""
    return with_tensor(number(1 << 30) + b"\x85", b"K\1\x85")


def claimed_step() -> bytes:
    return with_tensor(b"K\2\x85", number(1 << 30) + b"\x85")


def claimed_offset() -> bytes:
    return with_tensor(b"K\1\x85", b"K\1\x85", offset=number(1 << 30))


def negative_size() -> bytes:
    return with_tensor(number(-(1 << 30)) + b"\x85", b"K\1\x85")


def negative_step() -> bytes:
    return with_tensor(b"K\2\x85", number(-1) + b"\x85")


def overflowing_size() -> bytes:
    half = b"\x8a\x08" + (1 << 62).to_bytes(8, "little")
    return with_tensor(half + half + half + b"\x87", b"K\0K\0K\0\x87")


def many_dimensions() -> bytes:
    return with_tensor(b"(" + b"K\1" * 100_000 + b"t", b"(" + b"K\1" * 100_000 + b"t")


def claimed_storage() -> bytes:
    return with_tensor(b"K\1\x85", b"K\1\x85", count=1 << 30)


def attributes_of_a_tensor() -> bytes:
    return with_tensor(b"K\1\x85", b"K\1\x85", more=b"}" + short("item") + b"K\1s")


def storage_of_two_types() -> bytes:
    other = tensor(b"K\1\x85", b"K\1\x85").replace(b"FloatStorage", b"IntStorage")
    return archive(table(b"](" + tensor(b"K\1\x85", b"K\1\x85") + other + b"e"), parts={"data/0": bytes(4)})


def more_after_the_end() -> bytes:
    return archive(table(b"}") + b"cos\nsystem\n.")


TOO_MUCH: Mapping[str, Callable[[], bytes]] = {
    make.__name__: make
    for make in (
        holding_itself, laughs, deep, expanded, shared_tensor, meta, sparse, long_number, overwritten_method, function, bomb,
        overlapping, lying_storage, outside, two_directories, end_within_a_comment, large_directory_elsewhere,
        header_unlike_the_directory, bytes_between_parts, bytes_before_the_parts, one_name_in_two_cases, two_parts_of_one_name,
        zeros_on_demand, many_empty_lists, many_lists_in_each_other, many_marks, wide_number, wide_number_as_text, copied_text,
        copied_shape, copied_set, slow_key, slow_element, claimed_shape, claimed_step, claimed_offset, negative_size,
        negative_step, overflowing_size, many_dimensions, claimed_storage, attributes_of_a_tensor, storage_of_two_types,
        more_after_the_end,
    )
}  # fmt: skip
