"""The pages of the catalogue: one for each kind of component, and one for each other table that plugins fill."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from generate_tables import escape_prose, settings_table

from forestgaps_core.plugins.config_forms import view_settings
from forestgaps_core.plugins.registry import Plugins, load_target

ROOT = Path(__file__).parent.parent
FIRST_PARTY = sorted(path.parent.name for path in (ROOT / "plugins").glob("*/pyproject.toml"))
TITLES = {
    "data": "Data",
    "model": "Models",
    "normalization": "Normalization",
    "loss": "Losses",
    "scheduler": "Schedulers",
    "optimizer": "Optimizers",
    "augmentations": "Augmentations",
    "augmentation": "Augmentations",
    "metrics": "Metrics",
    "callbacks": "Callbacks",
    "exporter": "Exporters",
    "postprocessor": "Post-processing",
    "reader": "Readers",
    "report_section": "Report sections",
    "baseline": "Baselines",
    "recipe": "Recipes",
    "network": "Pretrained networks",
    "engine": "Engines",
    "executor": "Executors",
}
TABLES = {  # of records that are not components: how to use one, what the page says of all
    "recipe": ("forestgaps config init run.toml --recipe {}", "Complete run files to start from."),
    "network": ("forestgaps predict dsm.tif --network {} --out maps", "Trained networks that a package contains."),
    "engine": (
        "forestgaps predict FOLDER dsm.tif --engine {} --out maps",
        "Programs that run a network written by `forestgaps export` or `forestgaps quantize`.",
    ),
    "executor": ("forestgaps predict dsm.tif --cluster {}://ADDRESS --out maps", "Clusters that `forestgaps predict` can use."),
}


def catalogue_pages(note: str) -> dict[str, str]:
    """Return the text of each page of the catalogue by its name, `index` included."""
    plugins = Plugins.discover()
    pages = {kind: kind_page(kind, plugins) for kind in plugins.kinds}
    pages |= {table: table_page(table, plugins) for table in TABLES}
    pages["index"] = index_page(pages)
    return {name: "\n".join([lines[0], "", note, *lines[1:]]).rstrip("\n") + "\n" for name, lines in pages.items()}


def index_page(pages: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a table with a row for each page: its title, and a link to each entry."""
    lines = [
        "# Catalogue",
        "",
        "These pages list every component of the packages in this repository, with its settings, ranges and sources.",
        "",
        "```bash",
        "forestgaps plugins list --components    # all installed components, including those of other packages",
        "forestgaps config explain loss.focal    # the settings of one",
        "```",
        "",
        "| page | what a run file or a command can name |",
        "|---|---|",
    ]
    for name, page in pages.items():
        entries = [match.groups() for line in page if (match := re.fullmatch(r"## (\S+) \{ #(\S+) \}", line))]
        links = ", ".join(f"[`{entry}`]({name}.md#{anchor})" for entry, anchor in entries)
        lines.append(f"| [{title_of(name)}]({name}.md) | {links} |")
    return lines


def kind_page(kind: str, plugins: Plugins) -> list[str]:
    about = plugins.kinds[kind]
    table = f"[{kind}.LABEL]" if about.several else f"[{kind}]"
    rows = [component for offers in plugins.components(kind).values() for component in offers]
    use = "Parts of other components, and functions for Python"
    if about.table:
        use = f"Table `{table}` of a [run file](../run-file.md)"
    elif about.is_option:
        use = f"Option `{about.how.format('NAME')}`, with `--set NAME.KEY=VALUE` for settings"
    lines = [*heading(kind), f"{use}. Hook `{about.hook}`. `build` returns {about.makes}."]
    if rows and about.table:
        lines += ["", "```toml", table, f'name = "{rows[0].name}"', "```"]
    for component in rows:
        if component.plugin.distribution in FIRST_PARTY:
            lines += entry(
                kind, component.name, component.load(), f"Package `{component.plugin.distribution}`, `{component.place}`"
            )
    return lines


def table_page(table: str, plugins: Plugins) -> list[str]:
    """Return the page of a table whose rows are records: recipes, networks, engines, executors."""
    use, about = TABLES[table]
    lines = [*heading(table), about]
    for name, offers in plugins.offers(table).items():
        for offer in offers:
            if offer.plugin.distribution not in FIRST_PARTY:
                continue
            text = getattr(offer.record, "help", "") or first_paragraph(load_record(offer.record, name))
            lines += ["", f"## {name} {{ #{table}-{name} }}", "", escape_prose(text), ""]
            lines += ["```bash", use.format(name), "```", "", f"Package `{offer.plugin.distribution}`."]
    return lines


def load_record(record: Any, name: str) -> Any:
    return load_target(record, name) if isinstance(record, str) else record


def heading(name: str) -> list[str]:
    return [f"# {title_of(name)}", "", "[Catalogue](index.md)", ""]


def title_of(name: str) -> str:
    return TITLES.get(name, name.replace("_", " ").capitalize())


def entry(kind: str, name: str, config_class: type, origin: str) -> Iterator[str]:
    """Yield the lines of one component: description, origin, source, table of settings."""
    text = inspect.getdoc(view_settings(config_class)) or ""
    yield from ["", f"## {name} {{ #{kind}-{name} }}", "", escape_prose(first_paragraph(config_class)), ""]
    source = re.search(r"Sources?: (.*?)(?=\n\n|\Z)", text, re.DOTALL)
    if source and source[0] not in first_paragraph(config_class):
        yield from [escape_prose(source[0]), ""]
    yield from [f"{origin}.", ""]
    yield from settings_table(config_class)


def first_paragraph(documented: Any) -> str:
    return (inspect.getdoc(documented) or "").split("\n\n")[0]
