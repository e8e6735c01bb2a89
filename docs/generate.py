"""Write the pages of the reference from the code: python docs/generate.py

The catalogue and `first_party.json` of the core come from the tables of the plugins in this repository, commands.md from the
commands, and the tables of run-file.md from the settings' fields. `tests/test_docs.py` compares them with the code.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from generate_catalogue import FIRST_PARTY, catalogue_pages
from generate_commands import commands_page
from generate_modules import module_pages
from generate_tables import settings_table

from forestgaps_core.config.run_file import SETTINGS
from forestgaps_core.kinds import TABLES
from forestgaps_core.plugins.registry import Plugins

DOCS = Path(__file__).parent
REFERENCE = DOCS / "reference"
FIRST_PARTY_NAMES = DOCS.parent / "forestgaps_core" / "plugins" / "first_party.json"
NOTE = "<!-- Written by docs/generate.py; change the code that it describes instead. -->"


def first_party() -> str:
    """Return which package offers which name, for messages about packages that are not installed."""
    plugins = Plugins.discover()
    names: dict[str, dict[str, list[str]]] = {package: {} for package in FIRST_PARTY}
    for table in (*plugins.kinds, *TABLES):
        for name, rows in (plugins.offers(table) if table in TABLES else plugins.components(table)).items():
            for row in rows:
                if row.plugin.distribution in FIRST_PARTY:
                    names[row.plugin.distribution].setdefault(table, []).append(name)
    return json.dumps({package: tables for package, tables in names.items() if tables}, indent=1) + "\n"


def run_file(page: str) -> str:
    """Return the page with new tables between its marks."""

    def replace(mark: re.Match[str]) -> str:
        return "\n".join([mark[1], "", *settings_table(SETTINGS[mark[2]]), "", "<!-- end -->"])

    return re.sub(r"(<!-- fields of (\w+) -->)\n.*?<!-- end -->", replace, page, flags=re.DOTALL)


def generated_pages() -> dict[Path, str]:
    """Return the text of each generated file."""
    return {
        **{REFERENCE / "catalogue" / f"{name}.md": text for name, text in catalogue_pages(NOTE).items()},
        **{REFERENCE / "modules" / f"{package}.md": text for package, text in module_pages(NOTE).items()},
        REFERENCE / "commands.md": commands_page(NOTE),
        FIRST_PARTY_NAMES: first_party(),
        REFERENCE / "run-file.md": run_file((REFERENCE / "run-file.md").read_text(encoding="utf-8")),
    }


if __name__ == "__main__":
    for path, text in generated_pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"Written: {path}")
