"""Sections of pages that packages add. A section that fails is reported on the page and in the log, and the page is written."""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import frozen

from forestgaps_core.config.command_components import choose_components
from forestgaps_core.kinds import BuildContext
from forestgaps_core.output.report_sections import ReportData, SectionPart, SectionPicture, SectionTable
from forestgaps_core.plugins.names import format_error, list_usable_names
from forestgaps_core.plugins.registry import Plugins
from forestgaps_evaluation.pages.rendering import TableRow

KIND = "report_section"
LONGEST_TITLE = 100  # characters
SIGNATURES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"<svg": "svg+xml", b"<?xml": "svg+xml"}
log = logging.getLogger("forestgaps")


@frozen
class PagePart:
    """A part of a section for the template; `kind` is "text", "table" or "picture"."""

    kind: str
    content: Any


@frozen
class PageSection:
    """A section for the template; `problem` stands in place of the parts of one that failed."""

    anchor: str
    title: str
    parts: tuple[PagePart, ...] = ()
    problem: str = ""


def split_section_settings(settings: Iterable[str], plugins: Plugins) -> tuple[list[str], list[str]]:
    """Return the settings whose first word is the name of a section, and the others."""
    names = plugins.components_and_aliases(KIND)
    settings = list(settings)
    of_sections = [setting for setting in settings if setting.partition(".")[0] in names]
    return of_sections, [setting for setting in settings if setting not in of_sections]


def make_sections(data: ReportData, plugins: Plugins, settings: Sequence[str] = ()) -> list[PageSection]:
    """Return the sections of all installed packages that apply to a page, in their order.

    Raises:
        ConfigError: A setting is wrong.
    """
    found: list[tuple[float, str, str, tuple[PagePart, ...], str]] = []
    for name in list_usable_names(plugins.components(KIND)):
        own = [setting for setting in settings if setting.partition(".")[0] == name.rpartition(":")[2]]
        if own:
            choose_components(KIND, [name], own, plugins, command="report")
        title, order = name, 0.0
        try:
            (chosen,) = choose_components(KIND, [name], own, plugins, command="report")
            section = plugins.build(KIND, chosen.component.full_name, chosen.config, BuildContext(KIND, {}))
            order, title = float(section.order), str(section.title)[:LONGEST_TITLE]
            parts, problem = tuple(make_part(part) for part in section(data)), ""
        except (Exception, SystemExit) as error:  # code of a plugin may fail in any way
            parts, problem = (), format_error(error)
            log.warning("the report has no section %r: %s", title, problem)
        if parts or problem:
            found.append((order, name, title, parts, problem))
    return [
        PageSection(f"further-{number}", title, parts, problem)
        for number, (_, _, title, parts, problem) in enumerate(sorted(found, key=lambda row: row[:2]), 1)
    ]


def make_part(part: SectionPart) -> PagePart:
    """
    Raises:
        TypeError: It is none of the parts of a section.
    """
    if isinstance(part, str):
        return PagePart("text", part)
    if isinstance(part, SectionTable):
        rows = [TableRow(str(row[0]), [str(cell) for cell in row[1:]]) for row in part.rows]
        return PagePart("table", {"caption": part.caption, "head": [*map(str, part.head)], "rows": rows})
    if isinstance(part, SectionPicture):
        kind = next((kind for signature, kind in SIGNATURES.items() if part.data.startswith(signature)), None)
        if kind is None:
            raise TypeError("a picture is not a PNG, JPEG or SVG file")
        source = f"data:image/{kind};base64,{b64encode(part.data).decode('ascii')}"
        return PagePart("picture", {"source": source, "alt": part.alt, "caption": part.caption})
    raise TypeError(f"a part of the section is a {type(part).__name__}, expected a text, SectionTable or SectionPicture")


def add_contents(contents: Iterable[tuple[str, str]], sections: Iterable[PageSection]) -> list[tuple[str, str]]:
    """Return the table of contents with the sections before the data."""
    contents = list(contents)
    place = next(place for place, (anchor, _) in enumerate(contents) if anchor == "data")
    return [*contents[:place], *((section.anchor, section.title) for section in sections), *contents[place:]]
