"""Errors that the user can fix.

What the user can fix is a `ForestgapsError`: the command line prints its message and exits with status 2.
Any other exception is a bug of the program and keeps its traceback.
"""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any


class ForestgapsError(Exception):
    """A mistake that the user can fix. The message states what was found, where, and what to do."""


class ConfigError(ForestgapsError):
    """One or more mistakes in a run file.

    Attributes:
        problems: One sentence each, with its place in the file.
    """

    def __init__(self, problems: str | Sequence[str], source: str = "run file") -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        self.source = source
        count = len(self.problems)
        head = f"{source}: 1 mistake" if count == 1 else f"{source}: {count:,} mistakes"
        super().__init__("\n".join([head, *(f"  {problem}" for problem in self.problems)]))


class PluginError(ForestgapsError):
    """A plugin is missing, broken, or in conflict with another; the message names the package."""


class MissingPackageError(ConfigError, PluginError):
    """Packages that a run was made with are not there; one line says which, and how to install them."""

    def __init__(self, sentence: str) -> None:
        self.problems, self.source = (sentence,), "run folder"
        ForestgapsError.__init__(self, sentence)


class DataError(ForestgapsError):
    """Input data that cannot be used as it is."""


class CheckpointError(ForestgapsError):
    """A checkpoint that is missing, damaged, or made for something else."""


class DiskError(ForestgapsError):
    """Something could not be written; the message names the path, the reason, and the room needed and free where that matters."""


class ExistsError(DataError, DiskError):
    """A result has a name that is taken; nothing is overwritten."""


class BusyError(ForestgapsError):
    """Another process works in this folder."""


class NumbersError(ForestgapsError):
    """A non-finite value (NaN or infinity) in inputs, loss, gradients or weights; the message names step, batch and tiles."""


LOCAL_MODULE = "forestgaps_local_"  # begins the names of modules of local files
LONGEST_SHOWN = 4096  # characters, as the longest path
LONG_WORDS = re.compile(rf"\S{{{LONGEST_SHOWN + 1},}}")
VERY_LONG = 1000  # characters
LONGEST_WORD = 64  # characters; comparing takes time that grows with their product, and no name here is as long


def printable(text: str) -> str:
    """The text with what a terminal would obey or hide (escape codes, marks of direction) written out; ends of lines stay."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def shorten(text: str, longest: int = 60) -> str:
    """Return the beginning of a text that a user or a file gave, and how long it is where it is very long; a short text stays."""
    if len(text) <= longest:
        return text
    beginning = f"{text[: longest - 3]}..."
    return f"{beginning} ({len(text):,} characters)" if len(text) > VERY_LONG else beginning


def shorten_words(text: str) -> str:
    """Return a message with words shortened that are longer than any path, whatever repeats them."""
    if len(text) <= LONGEST_SHOWN:
        return text
    return LONG_WORDS.sub(lambda found: shorten(found[0], 200), text)


def format_class(kind: Any) -> str:
    """Return `module.Class` of a class or function; of a local file its place, `Class of my_loss.py, line 12`."""
    name = getattr(kind, "__qualname__", kind.__name__)
    module = sys.modules.get(kind.__module__)
    if not kind.__module__.startswith(LOCAL_MODULE) or module is None:
        return f"{kind.__module__}.{name}"
    try:
        line = f", line {inspect.getsourcelines(reduce(getattr, name.split('.'), module))[1]}"
    except (AttributeError, OSError, TypeError):  # it was made while the program ran, or the file is gone
        line = ""
    return f"{name} of {module.__file__}{line}"


def nearest(word: str, known: Iterable[str]) -> str:
    """' (did you mean x?)' for the known word nearest to `word`, or '' when none is near."""
    if len(word) > LONGEST_WORD:
        return ""
    names = list(known)
    folded = word.lower().replace("-", "_")
    close = [name for name in names if name.lower().replace("-", "_") == folded] or difflib.get_close_matches(
        folded, names, n=1, cutoff=0.5
    )
    return f" (did you mean {close[0]!r}?)" if close else ""
