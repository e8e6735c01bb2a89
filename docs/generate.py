"""Write the pages of the reference from the code: python docs/generate.py

catalogue.md and `first_party.json` of the core come from the tables of the plugins in this repository, commands.md from `--help`,
and the tables of run-file.md from the settings' fields. `tests/test_docs.py` fails when a page is not what this script would write.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import attrs

from forestgaps_core.config.explain import fields_of
from forestgaps_core.config.optimizers import OPTIMIZERS
from forestgaps_core.config.run_file import SETTINGS
from forestgaps_core.kinds import KINDS
from forestgaps_core.plugins.registry import TABLES, Component, Plugins, load_target

DOCS = Path(__file__).parent
REFERENCE = DOCS / "reference"
FIRST_PARTY = sorted(path.parent.name for path in (DOCS.parent / "plugins").glob("*/pyproject.toml"))
COMMANDS = (
    "", "train", "test", "evaluate", "report", "share", "simulate", "prepare", "predict", "gaps", "change", "export",
    "quantize",
    "config", "config init", "config check", "config explain",
    "plugins", "plugins list", "plugins show", "plugins check", "plugins new",
)  # fmt: skip
FIRST_PARTY_NAMES = DOCS.parent / "forestgaps_core" / "plugins" / "first_party.json"
NOTE = "<!-- Written by docs/generate.py; change the code that it describes instead. -->"


def catalogue() -> str:
    """Every component of this repository's packages: what it is, its settings, its source."""
    plugins = Plugins.discover()
    lines = [
        NOTE,
        "",
        "# Catalogue",
        "",
        "Every component of the packages in this repository: the name a run file says, the package it is from, and its settings. "
        "`forestgaps config explain KIND.NAME` shows the same on the command line, also for packages of other people.",
    ]
    for kind, about in KINDS.items():
        table = f"[{kind}.LABEL]" if about.several else f"[{kind}]"
        lines += ["", f"## {kind} {{ #{kind} }}", "", f"`{table}` in a run file; hook `{about.hook}`; makes {about.makes}."]
        for name, offers in plugins.components(kind).items():
            for component in offers:
                if component.plugin.distribution in FIRST_PARTY:
                    lines += ["", *entry(name, component)]
    lines += ["", "## optimizer { #optimizer }", "", "`[optimizer]` in a run file; part of the core."]
    for name, target in OPTIMIZERS.items():
        lines += ["", f"### {name} {{ #optimizer-{name} }}", "", *described(load_target(target, name))]
    return "\n".join(lines) + "\n"


def first_party() -> str:
    """Which package offers which name, for messages about packages that are not installed."""
    plugins = Plugins.discover()
    names: dict[str, dict[str, list[str]]] = {package: {} for package in FIRST_PARTY}
    for table in (*KINDS, *TABLES):
        for name, rows in (plugins.components(table) if table in KINDS else plugins.offers(table)).items():
            for row in rows:
                if row.plugin.distribution in FIRST_PARTY:
                    names[row.plugin.distribution].setdefault(table, []).append(name)
    return json.dumps({package: tables for package, tables in names.items() if tables}, indent=1) + "\n"


def entry(name: str, component: Component) -> Iterator[str]:
    yield f"### {name} {{ #{component.kind}-{name} }}"
    yield ""
    yield from described(component.load(), f"{component.plugin}, `{component.place}`")


def described(config_class: type, origin: str = "forestgaps-core") -> Iterator[str]:
    text = inspect.getdoc(config_class) or ""
    yield prose(text.split("\n\n")[0])
    yield ""
    source = re.search(r"Sources?: (.*?)(?=\n\n|\Z)", text, re.DOTALL)
    if source and not text.split("\n\n")[0].endswith(source[0]):
        yield prose(source[0])
        yield ""
    yield f"<small>{origin}</small>"
    yield ""
    yield from fields_table(config_class)


def prose(text: str) -> str:
    """One paragraph, in which nothing but code is taken for Markdown."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else re.sub(r"([*_<|\[\]])", r"\\\1", part) for part in parts)


def fields_table(config_class: type) -> Iterator[str]:
    rows = list(fields_rows(config_class))
    if not rows:
        yield "No settings."
        return
    yield "| setting | default | type, limits | meaning |"
    yield "|---|---|---|---|"
    yield from rows


def fields_rows(config_class: type, inside: str = "") -> Iterator[str]:
    """A row for each field; a field that is a table of its own is followed by the fields of that table."""
    hints = get_type_hints(config_class)
    for row in fields_of(config_class):
        inner = hints[row["name"]]
        kind = row["type"].replace(" | None", "").replace("|", "or") + row["limits"]
        default = row["default"].strip("()") if row["default"].startswith("(") else f"`{row['default']}`"
        if attrs.has(inner):
            kind, default = "table", "as below"
        yield f"| `{inside}{row['name']}` | {default} | `{kind}` | {prose(row['help'])} |"
        if attrs.has(inner):
            yield from fields_rows(inner, f"{inside}{row['name']}.")


def commands() -> str:
    lines = [NOTE, "", "# Commands", "", "What each command says with `--help`."]
    for command in COMMANDS:
        words = command.split()
        lines += ["", f"## {' '.join(['forestgaps', *words])}", "", "```text", *shown_help(words), "```"]
    return "\n".join(lines) + "\n"


def shown_help(words: list[str]) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS")}
    environment |= {"COLUMNS": "96", "NO_COLOR": "1", "TERM": "dumb", "PYTHONIOENCODING": "utf-8"}
    line = [sys.executable, "-m", "forestgaps_core", *words, "--help"]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, encoding="utf-8", check=True)
    return [text.rstrip() for text in done.stdout.strip("\n").splitlines()]


def run_file(page: str) -> str:
    """The page with the tables between its marks made anew."""

    def made(mark: re.Match[str]) -> str:
        return "\n".join([mark[1], "", *fields_table(SETTINGS[mark[2]]), "", "<!-- end -->"])

    return re.sub(r"(<!-- fields of (\w+) -->)\n.*?<!-- end -->", made, page, flags=re.DOTALL)


def pages() -> dict[Path, str]:
    """What each generated page should hold."""
    return {
        REFERENCE / "catalogue.md": catalogue(),
        REFERENCE / "commands.md": commands(),
        FIRST_PARTY_NAMES: first_party(),
        REFERENCE / "run-file.md": run_file((REFERENCE / "run-file.md").read_text(encoding="utf-8")),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(f"Written: {path}")
