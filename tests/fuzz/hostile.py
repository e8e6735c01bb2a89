"""Values nobody would write, and run files that hold them."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import tomli_w
from hypothesis import strategies as st

from forestgaps_core.config.run_file import SECTIONS, SETTINGS
from forestgaps_core.kinds import KINDS
from forestgaps_core.plugins.registry import Plugins

INTEGERS = [0, 1, -1, 2, 3, 16, 17, 255, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64, 10**18, 10**400, -(10**4000)]
FLOATS = [0.0, -0.0, 0.5, 1.0, 1.5, -1.0, 199.999999, 1e18, 1e308, -1e308, 5e-324, float("inf"), float("-inf"), float("nan")]
TEXTS = [
    *(
        "",
        " ",
        "auto",
        "name",
        "nan",
        "true",
        "1",
        "\x00",
        "a\x00b",
        "\x1b[2J\x1b]0;owned\x07",
        "\u202egnp.exe",
        "\ufeff",
        "💥",
        "é",
        "e\u0301",
    ),
    *("a" * 300, "a" * 70_000, "../../../../etc/passwd", "/dev/null", "/dev/full", ".", "..", "/", "~", "C:\\CON", "a/" * 3000),
    *(
        "%s%n%d",
        "{0.__class__}",
        "${HOME}",
        "$(id)",
        "`id`",
        "[red]x[/]",
        "[/]",
        "<script>alert(1)</script>",
        "';--",
        "-",
        "--help",
    ),
    *(
        "os:system",
        "builtins:eval",
        "forestgaps_optimizers.adamw:AdamW",
        "forestgaps-losses:dice",
        ":",
        "a:b:c",
        "__class__",
        "\\",
        "\n",
        "\t",
    ),
]
TIMES = [datetime.date(1, 1, 1), datetime.time(23, 59, 59), datetime.datetime(2026, 2, 3, tzinfo=datetime.UTC)]

scalars = st.one_of(
    st.sampled_from(INTEGERS),
    st.sampled_from(FLOATS),
    st.sampled_from(TEXTS),
    st.sampled_from(TIMES),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
keys = st.one_of(
    st.sampled_from(
        ["", "name", "a.b", "a", "A", "é", "\x1b[31m", "a" * 200, "__init__", "self", "build", "..", "../x", "values", "\n"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
values = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=3)), max_leaves=6
) | st.sampled_from(
    [[], {}, [[]], [{}], list(range(3000)), [0.5] * 3000, [1, "a", 2.0], {"name": {}}, {"name": "dice", "weight": 1e308}]
)


def recipes(plugins: Plugins) -> dict[str, bytes]:
    """The text of every installed recipe."""
    from importlib.resources import files

    found = {}
    for name, (_, recipe) in plugins.recipes().items():
        package, _, file = recipe.target.partition(":")
        found[name] = (Path(str(files(package))) / file).read_bytes()
    return found


def places(table: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value of a tree but its root."""
    entries = table.items() if isinstance(table, dict) else enumerate(table) if isinstance(table, list) else ()
    for key, value in entries:
        yield (*path, key)
        yield from places(value, (*path, key))


def at(table: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        table = table[key]
    return table


def copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: copied(inner) for key, inner in value.items()}
    return [copied(inner) for inner in value] if isinstance(value, list) else value


@st.composite
def mutated(draw: Any, tables: list[dict[str, Any]]) -> dict[str, Any]:
    """A real run file with up to four things wrong in it."""
    table = copied(draw(st.sampled_from(tables)))
    for _ in range(draw(st.integers(1, 4))):
        there = list(places(table))
        if not there:
            break
        *above, last = draw(st.sampled_from(there))
        inner = at(table, tuple(above))
        change = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add", "rename", "wrap"]))
        if change == "replace":
            inner[last] = copied(draw(values))
        elif change == "remove":
            del inner[last]
        elif change == "wrap":
            inner[last] = draw(st.sampled_from([[inner[last]], {"name": inner[last]}]))
        elif isinstance(inner, dict):
            inner[draw(keys)] = inner.pop(last) if change == "rename" else copied(draw(values))
        else:
            inner.append(copied(draw(values)))
    return table


def offered(plugins: Plugins) -> dict[str, dict[str, type]]:
    """Config classes by section and name; settings under the name ''."""
    found: dict[str, dict[str, type]] = {section: {"": kind} for section, kind in SETTINGS.items()}
    for kind in KINDS:
        found[kind] = {name: offers[0].load() for name, offers in plugins.components(kind).items()}
    return found


@st.composite
def composed(draw: Any, classes: dict[str, dict[str, type]], sane: dict[str, Any]) -> dict[str, Any]:
    """A run file of components chosen anywhere, whose settings are named right and hold anything."""
    table = copied(sane)
    for section in draw(st.lists(st.sampled_from(SECTIONS), min_size=1, max_size=3, unique=True)):
        name = draw(st.sampled_from(sorted(classes[section])))
        fields = [attribute.name for attribute in attrs.fields(classes[section][name])]
        chosen = draw(st.lists(st.sampled_from(fields), max_size=3, unique=True)) if fields else []
        inner = ({"name": name} if name else {}) | {field: draw(st.one_of(scalars, values)) for field in chosen}
        several = section in KINDS and KINDS[section].several
        table[section] = {draw(keys) if draw(st.booleans()) else "label": inner} if several else inner
    return table


def as_toml(table: dict[str, Any]) -> bytes:
    return tomli_w.dumps(table).encode("utf-8")


@st.composite
def damaged(draw: Any, texts: list[bytes]) -> bytes:
    """A real run file with bytes flipped, cut out, doubled or put in."""
    content = bytearray(draw(st.sampled_from(texts)))
    for _ in range(draw(st.integers(1, 8))):
        where = draw(st.integers(0, max(len(content) - 1, 0)))
        change = draw(st.sampled_from(["flip", "cut", "end", "double", "insert"]))
        if change == "flip" and content:
            content[where] ^= 1 << draw(st.integers(0, 7))
        elif change == "cut":
            del content[where : where + draw(st.integers(1, 40))]
        elif change == "end":
            del content[where:]
        elif change == "double":
            content[where:where] = content[where : where + draw(st.integers(1, 200))]
        else:
            content[where:where] = draw(
                st.sampled_from(
                    [
                        b"\x00",
                        b"\xff\xfe",
                        b"\xef\xbb\xbf",
                        b"\r",
                        b'"',
                        b"'''",
                        b"[",
                        b"]",
                        b"{",
                        b"=",
                        b".",
                        b"\\u",
                        b"#",
                        b"\xed\xa0\x80",
                        b"\x1b[2J",
                    ]
                )
            )
    return bytes(content)


# Whole files by what is absurd in them; sizes are chosen so that whatever is quadratic in them takes a minute or more.
ABSURD: dict[str, bytes] = {
    "100,000 lists in one another": b"a = " + b"[" * 100_000 + b"]" * 100_000,
    "100,000 tables in one another": b"a = " + b"{a=" * 100_000 + b"1" + b"}" * 100_000,
    "400 lists in one another": b"a = " + b"[" * 400 + b"]" * 400,
    "200 tables in one another": b"a = " + b"{a=" * 200 + b"1" + b"}" * 200,
    "a key of 100,000 names": b".".join([b"a"] * 100_000) + b" = 1",
    "a key of 100,000 quoted names": b".".join([b'"\\""'] * 100_000) + b" = 1",
    "a key of 100,000 names and spaces": b" . ".join([b"a"] * 100_000) + b" = 1",
    "a table of 100,000 names": b"[" + b".".join([b"a"] * 100_000) + b"]\nx = 1",
    "a deep table of many keys": b"[" + b".".join([b"a"] * 50_000) + b"]\n" + b"".join(b"x%d=1\n" % n for n in range(60_000)),
    "a value deep in an inline table": b"a = {" + b".".join([b"a"] * 100_000) + b" = 1}",
    "100,000 tables": b"".join(b"[a%d]\n" % n for n in range(100_000)),
    "100,000 tables of one list": b"[[a]]\n" * 100_000,
    "100,000 unknown keys": b"[training]\n" + b"".join(b"k%d=1\n" % n for n in range(100_000)),
    "9,000 unknown keys": b"[training]\n" + b"".join(b"k%d=1\n" % n for n in range(9_000)),
    "9,000 unknown tables": b"".join(b"[a%d]\n" % n for n in range(9_000)),
    "4,000 metrics": b"".join(b'[metrics.m%d]\nname="segmentatoin"\n' % n for n in range(4_000)),
    "4,000 parts of a loss": b'[loss]\nname="sum"\n' + b"".join(b'[loss.parts.p%d]\nname="dise"\n' % n for n in range(4_000)),
    "100,000 thresholds": b"[thresholds]\nvalues = [" + b"1," * 100_000 + b"]",
    "9,000 thresholds of a wrong type": b"[thresholds]\nvalues = [" + b'"a",' * 9_000 + b"]",
    "9,000 thresholds falling": b"[thresholds]\nvalues = [" + b",".join(b"%d" % n for n in range(9_000, 0, -1)) + b"]",
    "a whole number of 5,000 digits": b"[training]\nepochs = " + b"9" * 5_000,
    "a whole number of 900,000 bits": b"[training]\nepochs = 0x" + b"f" * 225_000,
    "a whole number just beyond": b"[training]\nepochs = 9223372036854775808",
    "a number of 900,000 digits": b"[loss]\nfocus = 1." + b"1" * 900_000,
    "a text of 900,000 letters": b'[data]\nname = "' + b"a" * 900_000 + b'"',
    "a key of 900,000 letters": b"a" * 900_000 + b" = 1",
    "a text that never ends": b'a = """' + b"a" * 900_000,
    "a text of escapes that never ends": b'a = """' + b'\\"""' * 200_000,
    "a string of dots and quotes": b'a = "' + b'.\\"' * 300_000 + b'"',
    "dots and quotes": b'."' * 450_000,
    "dots and apostrophes": b".'" * 450_000,
    "dots and words": b".a" * 450_000,
    "dots": b"." * 900_000,
    "spaces": b" " * 900_000,
    "dots and spaces": b". " * 450_000,
    "one line of comments": b"#" * 900_000,
    "10 MB": b"# nothing\n" * 1_000_000,
    "10 MB of a list": b"a = [" + b"1," * 5_000_000 + b"]",
    "zeros": b"\x00" * 900_000,
    "no UTF-8": b"\xff" * 900_000,
    "UTF-16": '[data]\nname = "hills"'.encode("utf-16"),
    "surrogates": b'a = "\xed\xa0\x80"',
    "an escaped surrogate": b'a = "\\ud800"',
    "one key twice": b"[training]\nepochs = 1\nepochs = 2",
    "one table twice": b"[training]\n[training]",
    "escape codes in keys": b'["\\u001b[2J"]\n"\\u001b]0;x\\u0007" = 1',
    "nothing": b"",
}


def parsed(texts: dict[str, bytes]) -> list[dict[str, Any]]:
    return [tomllib.loads(text.decode("utf-8")) for text in texts.values()]
