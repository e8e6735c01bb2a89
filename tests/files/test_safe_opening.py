"""At most so many bytes, of regular files."""

from __future__ import annotations

import ast
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from forestgaps_core.files.safe_opening import (
    UnreadableError,
    open_regular_file,
    parse_json,
    read_at_most,
    read_bytes,
    read_json,
    read_text,
)

ROOT = Path(__file__).parents[2]


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def make_huge(path: Path) -> None:
    """A file with a hole: it takes no room."""
    path.touch()
    os.truncate(path, 1 << 40)


SPECIAL = {
    "device": lambda path: path.symlink_to("/dev/zero"),
    "random": lambda path: path.symlink_to("/dev/urandom"),
    "null": lambda path: path.symlink_to("/dev/null"),
    "terminal": lambda path: path.symlink_to("/dev/tty"),
    "pipe": os.mkfifo,
    "link to a pipe": lambda path: (os.mkfifo(path.with_suffix(".pipe")), path.symlink_to(path.with_suffix(".pipe"))),
    "folder": os.mkdir,
    "socket": make_socket,
    "huge": make_huge,
    "memory of the system": lambda path: path.symlink_to("/proc/kcore"),
    "circle": lambda path: path.symlink_to(path.name),
    "nothing": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("what", SPECIAL)
def test_what_is_not_a_small_regular_file_is_refused_at_once(what, tmp_path):
    path = tmp_path / "file"
    SPECIAL[what](path)
    for read in (read_bytes, read_text, read_json):
        with pytest.raises(OSError) as told:  # noqa: PT011
            read(path)
        assert told.value.strerror


def test_the_limit_is_exact(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bytes(path, 5) == b"12345"
    with pytest.raises(UnreadableError, match="is larger than the 4 bytes"):
        read_bytes(path, 4)


def test_a_file_of_the_system_without_a_size_is_read_to_the_limit():
    """Files of /proc say that they have no bytes."""
    assert read_bytes("/proc/self/status", 1 << 20)
    with pytest.raises(UnreadableError, match="is larger"):
        read_bytes("/proc/self/status", 10)


def test_a_link_to_a_regular_file_is_followed(tmp_path):
    (tmp_path / "file").write_text("\ufeffone\r\ntwo\n", encoding="utf-8")
    (tmp_path / "link").symlink_to("file")
    assert read_text(tmp_path / "link") == "one\ntwo\n"
    with open_regular_file(tmp_path / "link") as file:
        assert file.read(3) == b"\xef\xbb\xbf"


def test_a_name_that_no_file_can_have_is_an_error_of_reading():
    with pytest.raises(OSError, match="is not the name of a file"):
        read_bytes("a\0b")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 100_000, "[" * 5000 + "]" * 5000, "", "{", "\0"])
def test_json_that_cannot_be_read_is_one_kind_of_error(text):
    with pytest.raises(ValueError):  # noqa: PT011
        parse_json(text)


# Where else a file is opened: paths of the system, of the package itself, or written here.
KNOWN = {
    "forestgaps_core/files/safe_opening.py",
    "forestgaps_core/runtime/environment.py",  # /proc
    "forestgaps_core/runtime/memory.py",  # /proc
    "forestgaps_core/cli/scaffold.py",  # its own templates
    "forestgaps_core/cli/commands/config.py",  # a recipe of an installed package
    "forestgaps_callbacks/profiler.py",  # what torch's profiler has just written
    "forestgaps_export/aoti.py",  # what torch has just written; /proc
    "forestgaps_rasters/sources/mosaics.py",  # what GDAL has just written
    "forestgaps_rasters/prepared/index.py",  # what has just been written
    "forestgaps_rasters/work/disk_space.py",
    "forestgaps_geo/bands/value_band.py",  # what GDAL has just written
}
LIBRARIES = ("rasterio", "os", "self", "runs", "source", "self.source")  # whose `open` opens no file by itself


def test_files_are_read_through_the_bounded_functions():
    found = set()
    for path in [*ROOT.glob("forestgaps_core/**/*.py"), *ROOT.glob("plugins/*/forestgaps_*/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            modes = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            library = isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) in LIBRARIES
            reading = name in ("read_text", "read_bytes") and isinstance(node.func, ast.Attribute)
            reading |= name == "open" and not library and bool({"r", "rb", "rt"} & set(modes) or not (node.args or node.keywords))
            if reading:
                found.add(re.search(r"(?<=/)forestgaps_.*", path.as_posix().removeprefix(ROOT.as_posix()))[0])
    assert found <= KNOWN, found - KNOWN


def test_a_small_file_takes_little_memory_whatever_the_limit(tmp_path):
    """A machine with less memory than the limit reads it too: the limit is not reserved."""
    (tmp_path / "weights").write_bytes(b"small")
    code = (
        "import resource, sys\nfrom forestgaps_core.files.safe_opening import read_bytes\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))\n"
        "print(read_bytes(sys.argv[1], 2**33))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "weights")], capture_output=True, text=True, check=False)
    assert done.stdout == "b'small'\n", done.stderr


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 2**20, b"x" * (2**21 + 1)])
def test_a_file_whose_size_is_not_known_is_read_whole_or_refused(tmp_path, monkeypatch, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    monkeypatch.setattr(os, "fstat", lambda descriptor, own=os.fstat: Sizeless(own(descriptor)))
    with open(path, "rb") as file:
        assert read_at_most(file, 2**22, path) == content
    with open(path, "rb") as file:
        assert read_at_most(file, len(content), path) == content
    if content:
        with open(path, "rb") as file, pytest.raises(UnreadableError, match="larger than"):
            read_at_most(file, len(content) - 1, path)


class Sizeless:
    """What the system says of files that it makes up as they are read."""

    st_size = 0

    def __init__(self, about):
        self.st_mode = about.st_mode
