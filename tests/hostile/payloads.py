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

from forestgaps_core.checkpoint import FORMAT, SEAL


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
    **calling("forestgaps_core.plugins", "load_target", module),
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


TOO_MUCH: Mapping[str, Callable[[], bytes]] = {
    make.__name__: make
    for make in (
        holding_itself, laughs, deep, expanded, shared_tensor, meta, sparse, long_number, overwritten_method, function, bomb,
        overlapping, lying_storage, outside,
    )
}  # fmt: skip
