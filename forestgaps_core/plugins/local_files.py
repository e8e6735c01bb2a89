"""Local plugin files (`forestgaps -p FILE`), in this process and its child processes.

A file is imported as a module whose name holds the hash of its content, so that pickles of its objects say what they need. The
files that a command was given stand in the environment, where the processes that it starts find them; what is sent to other
machines carries the content of the files along.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from forestgaps_core.errors import LOCAL_MODULE, PluginError, shorten
from forestgaps_core.files.safe_opening import MAX_TEXT_BYTES, read_bytes
from forestgaps_core.plugins.choice import accept_disabled, list_disabled

FILES = "FORESTGAPS_PLUGIN_FILES"  # a JSON list of paths

_contents: dict[str, tuple[str, bytes]] = {}  # of the modules loaded here: the file's path, and what it held

_sent: dict[str, tuple[str, bytes]] = {}  # of them, those that another process or machine sent


def list_sent_files() -> list[tuple[Path, bytes]]:
    """Return path and content of the files that came with a pickle; they may not be on this machine."""
    return [(Path(path), content) for path, content in _sent.values()]


def list_given_files() -> list[Path]:
    """Return the files that this process, or the one that started it, was given.

    Raises:
        PluginError: The environment holds something else.
    """
    text = os.environ.get(FILES)
    if not text:
        return []
    import json  # as hashlib, for local files only

    try:
        paths = json.loads(text)
    except ValueError:
        paths = None
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise PluginError(f"{FILES}: found {shorten(text)!r}, expected a JSON list of paths; unset it")
    return [Path(path) for path in paths]


def give_files(paths: Iterable[Path]) -> Callable[[], None]:
    """Let everything that this process and those it starts discover include these files; returns what undoes it."""
    import json

    before = os.environ.get(FILES)
    every = dict.fromkeys([*map(str, list_given_files()), *(str(path.absolute()) for path in paths)])
    os.environ[FILES] = json.dumps(list(every))

    def undo() -> None:
        if before is None:
            os.environ.pop(FILES, None)
        else:
            os.environ[FILES] = before

    return undo


def compute_digest(content: bytes) -> str:
    import hashlib  # only local files need it, and it takes a tenth of the start-up

    return hashlib.sha256(content).hexdigest()[:12]


def make_module_name(path: Path, content: bytes) -> str:
    return f"{LOCAL_MODULE}{path.stem}_{compute_digest(content)}"


def import_file(path: Path, content: bytes) -> ModuleType:
    """Return the module of a file; the one that is there already where this process has imported the same content."""
    name = make_module_name(path, content)
    if name in sys.modules:
        return sys.modules[name]
    return import_content(name, str(path), content)


def import_content(name: str, path: str, content: bytes) -> ModuleType:
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module  # attrs and pickle look classes up by their module
    try:
        exec(compile(content, path, "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    _contents[name] = (path, content)
    return module


# --- in other processes ---------------------------------------------------------------------------------------------


def pickle_with_files(thing: Any) -> bytes:
    """Return a pickle that other processes and machines can read with `unpickle_with_files`, also of objects from local files."""
    import pickle

    inner, given = pickle.dumps(thing), [path.absolute() for path in list_given_files()]
    needed = {
        name: (path, content)
        for name, (path, content) in _contents.items()
        if name.encode() in inner or Path(path).absolute() in given
    }
    return pickle.dumps((needed, list_disabled(), inner))


def unpickle_with_files(data: bytes) -> Any:
    """Return what `pickle_with_files` was given. Runs the local files that came with it; read only what this program sent."""
    import pickle

    contents, disabled, inner = pickle.loads(data)
    accept_disabled(disabled)
    for name, (path, content) in contents.items():
        if name not in sys.modules:
            import_content(name, path, content)
            _sent[name] = (path, content)
    return pickle.loads(inner)


class LocalFiles:
    """Finds the modules of the files in the environment, for pickles that are read in processes started by this one."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> Any:
        if not name.startswith(LOCAL_MODULE):
            return None
        from importlib.util import spec_from_file_location

        for file in list_given_files():
            if file.is_file() and make_module_name(file, read_bytes(file, MAX_TEXT_BYTES)) == name:
                return spec_from_file_location(name, file)
        return None
