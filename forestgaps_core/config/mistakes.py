"""Mistakes in run files: their places, and the words for keys and values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from forestgaps_core.errors import shorten

Mistake = tuple[tuple[str, ...], str]  # the path inside, and a sentence
LISTED = 100  # mistakes printed; nobody reads more
LONGEST = 300  # characters of what a validator says
BARE = re.compile(r"[A-Za-z0-9_-]{1,60}")
INDEX = re.compile(r"\[\d+\]")


class MistakesError(Exception):
    """Mistakes below some place; each is (path inside, sentence)."""

    def __init__(self, found: list[Mistake]) -> None:
        self.found = found
        super().__init__(str(found))


def make_mistake(sentence: str) -> MistakesError:
    return MistakesError([((), sentence)])


def format_value(value: Any) -> str:
    """Return a value as in TOML, shortened if it is long."""
    try:
        text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    except (ValueError, RecursionError):  # whole numbers of thousands of digits, lists of lists of lists
        text = f"a {type(value).__name__} too long to show"
    return shorten(text)


def format_key(key: str) -> str:
    """A key as TOML has it: in quotation marks unless it is plain, so that its dots and control characters show."""
    return shorten(key) if BARE.fullmatch(key) else format_value(key)


def limit_mistakes(problems: Sequence[str]) -> list[str]:
    """The first of many mistakes, and how many more there are."""
    more = len(problems) - LISTED
    return [*problems[:LISTED], f"and {more} more"] if more > 0 else list(problems)


def explain_validator_error(error: Exception, name: str = "", value: Any = None) -> str:
    """What a validator said, without the field's name and value that the sentence tells already."""
    text = str(error.args[0]) if error.args else type(error).__name__
    text = text.removeprefix(f"'{name}' ").removesuffix(f": {value}")
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def format_place(path: Sequence[str]) -> str:
    """A place as in messages, such as `loss.parts.b.gamma` or `loss.parts[1].gamma`."""
    text = ""
    for part in path:
        inside_list = INDEX.fullmatch(part)
        text += part if inside_list else f"{'.' if text else ''}{format_key(part)}"
    return text
