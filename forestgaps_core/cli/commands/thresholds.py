"""The option `-t`: height thresholds in meters. It accepts all usual notations.

`-t 2 -t 5 -t 10`, `-t 2 5 10`, `-t 2,5,10`, `-t "2; 5"` and `-t 5m` are read. Anything else is refused, with the value named.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer

from forestgaps_core.config.thresholds import explain_indistinct_heights
from forestgaps_core.errors import shorten

MAX_HEIGHT_M = 150  # the tallest known tree has 116 m
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
METERS = re.compile(r"m|metres?|meters?", re.IGNORECASE)
SPACE_BEFORE_UNIT = re.compile(r"(?<=[\d.])\s+(?=[^\W\d])")
SEPARATORS = re.compile(r"[\s;,/|]+")
DECIMAL_COMMA = re.compile(r"(\d+),(\d+)\s*(m|metres?|meters?)?", re.IGNORECASE)
FURTHER_VALUE = re.compile(r"[+-]?\.?\d[\d.,;]*(m|metres?|meters?)?[,;]?", re.IGNORECASE)
OPTIONS = ("--threshold", "-t")
EXAMPLE = "write meters, such as -t 5, -t 2.5 or -t 2,5,10"


def read_heights(text: str) -> tuple[float, ...]:
    """Return the heights that one value of `-t` contains, meters.

    Raises:
        ValueError: One of them is not a height threshold; the message names it.
    """
    words = [word for word in SEPARATORS.split(SPACE_BEFORE_UNIT.sub("", text.strip().removeprefix("="))) if word]
    if not words:
        raise ValueError(f"{shorten(text)!r} does not contain a height; {EXAMPLE}")
    return tuple(map(read_height, words))


def read_height(word: str) -> float:
    number = NUMBER.match(word)
    unit = word[number.end() :] if number else ""
    if number is not None and unit.isalpha() and not METERS.fullmatch(unit):
        raise ValueError(f"{shorten(word)!r} has the unit {shorten(unit)!r}, and thresholds are in meters; {EXAMPLE}")
    if number is None or (unit and not METERS.fullmatch(unit)):
        raise ValueError(f"{shorten(word)!r} is not a height in meters; {EXAMPLE}")
    height = float(number[0])
    if not isfinite(height) or height <= 0:
        raise ValueError(f"{shorten(word)!r} is not above 0 m, and a gap is canopy lower than the threshold; {EXAMPLE}")
    if height > MAX_HEIGHT_M:
        raise ValueError(f"{shorten(word)!r} is above {MAX_HEIGHT_M} m, and no canopy is that tall; {EXAMPLE}")
    return height


def parse_heights(value: str) -> tuple[float, ...]:
    """Return the heights of one value, as `read_heights`; report on the error stream what could have meant something else."""
    try:
        heights = read_heights(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if decimals := DECIMAL_COMMA.fullmatch(value.strip()):
        whole, part = decimals[1], decimals[2]
        note = f"-t {value} means two thresholds, {whole} m and {part} m; for {whole}.{part} m write -t {whole}.{part}"
        typer.echo(f"note: {note}", err=True)
    return heights


def join_heights(values: Sequence[Any] | None) -> list[float] | None:
    """Return the heights of all values of the option, each once."""
    if not values:
        return None
    heights = [height for value in values for height in (value if isinstance(value, tuple) else (value,))]
    for height in dict.fromkeys(height for height in heights if heights.count(height) > 1):
        typer.echo(f"note: the threshold {height:g} m is given more than once; it is used once", err=True)
    if fault := explain_indistinct_heights(heights):
        raise typer.BadParameter(fault, param_hint="-t")
    return list(dict.fromkeys(heights))


THRESHOLDS_HELP = "Height below which canopy is gap; for several: -t 2,5,10."


def thresholds_option(help_text: str = THRESHOLDS_HELP) -> Any:
    """Return the option `-t`, for a parameter of type `list[float] | None`."""
    return typer.Option(*OPTIONS, metavar="METERS", parser=parse_heights, callback=join_heights, help=help_text)


Thresholds = Annotated[list[float] | None, thresholds_option()]


def spread_thresholds(command: Any, arguments: Sequence[str]) -> list[str]:
    """Return the arguments with `-t 2 5 10` as `-t 2 -t 5 -t 10`, for a command that has the option.

    A number that is also the name of a file or folder remains an argument.
    """
    names = OPTIONS if any(set(OPTIONS) <= set(parameter.opts) for parameter in command.params) else ()
    spread: list[str] = []
    words, option = iter(arguments), ""
    for word in words:
        if word == "--":
            return [*spread, word, *words]
        if option and FURTHER_VALUE.fullmatch(word) and not Path(word).exists():
            spread += [option, word]
            continue
        option = next((name for name in names if word == name or is_joined(word, name)), "")
        spread.append(word)
        if word == option and (value := next(words, None)) is not None:
            spread.append(value)
    return spread


def is_joined(word: str, option: str) -> bool:
    """Whether a word is an option with its value, such as -t5 or --threshold=5."""
    return word.startswith(f"{option}=") if option.startswith("--") else word.startswith(option) and not word.startswith("--")
