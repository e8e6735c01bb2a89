"""The option `--reader`, and which settings are of readers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from forestgaps_core.cli.commands.installed import list_installed
from forestgaps_core.plugins.registry import Plugins

if TYPE_CHECKING:
    from forestgaps_rasters.sources.readers import Readers

ReaderName = Annotated[
    list[str] | None,
    typer.Option(
        "--reader",
        metavar="NAME",
        help="Reader to prefer where several read a file. Repeat for several. "
        f"Readers are chosen by the content of a file. Installed: {list_installed('reader')}.",
    ),
]


def split_settings(settings: Sequence[str], plugins: Plugins) -> tuple[list[str], list[str]]:
    """Return the settings whose first word is the name of a reader, and the others."""
    names = plugins.components_and_aliases("reader")
    of_readers = [setting for setting in settings if setting.partition(".")[0] in names]
    return of_readers, [setting for setting in settings if setting not in of_readers]


def make_readers(names: Sequence[str], settings: Sequence[str], plugins: Plugins) -> Readers:
    """
    Raises:
        ConfigError: A name or a setting is wrong.
    """
    from forestgaps_rasters.sources.readers import Readers

    readers = Readers(plugins, tuple(names), tuple(settings))
    readers.check()
    return readers
