"""Which reader reads which file, and the rasters that files become."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from forestgaps_core.config.command_components import ChosenComponent, choose_components
from forestgaps_core.contracts import NamedErrors
from forestgaps_core.errors import DataError, PluginError
from forestgaps_core.files.atomic import disk_errors
from forestgaps_core.files.draft_folder import hold_draft, name_beside, shorten_name
from forestgaps_core.files.removal import remove_made
from forestgaps_core.plugins.names import list_usable_names
from forestgaps_core.plugins.registry import Plugins
from forestgaps_geo.files.input_files import FileIdentity, InputFile
from forestgaps_geo.files.readers import Reader, ReadRaster, write_read_raster
from forestgaps_geo.files.source_checks import read_first_bytes
from forestgaps_rasters.sources.mosaics import RASTER_SUFFIXES, list_rasters

GDAL = "forestgaps-rasters:gdal"
MAX_NAME_BYTES = 200


@frozen(eq=False)
class Readers:
    """The readers of one command: those that the user named, then `gdal`, then the other installed ones.

    Attributes:
        settings: Such as `npy.unit="foot"`.
    """

    plugins: Plugins
    named: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    _chosen: dict[tuple[str, str], tuple[ChosenComponent, Reader]] = field(factory=dict, init=False, repr=False)

    def check(self) -> None:
        """
        Raises:
            ConfigError: A name or a setting is wrong.
        """
        written = {setting.partition(".")[0] for setting in self.settings}
        known = [name for name in list_usable_names(self.plugins.components("reader")) if name.rpartition(":")[2] in written]
        short = {name.rpartition(":")[2] for name in self.named}
        others = [name for name in known if name.rpartition(":")[2] not in short]
        choose_components("reader", [*self.named, *others], self.settings, self.plugins, command="reader")

    def choose(self, path: Path, layer: str) -> tuple[ChosenComponent, Reader] | None:
        """Return the reader of a file; None if none reads it.

        Raises:
            DataError: Several readers that the user did not name read it; or none, and one could not be loaded.
        """
        start = read_first_bytes(path)
        for name in (*self.named, GDAL):
            found = self.load(name, layer)
            if claims(found, path, start):
                return found
        claiming, broken = [], []
        for name in list_usable_names(self.plugins.components("reader")):
            try:
                found = self.load(name, layer)
                if claims(found, path, start):
                    claiming.append(found)
            except PluginError as error:  # no reason not to read with another one
                broken.append(str(error))
        if len(claiming) > 1:
            choice = " or ".join(f"--reader {chosen.component.full_name}" for chosen, _ in claiming)
            raise DataError(f"{path}: is read by {' and '.join(chosen.words for chosen, _ in claiming)}. Choose one: {choice}")
        if not claiming and broken:
            raise DataError(f"{path}: no reader that could be loaded reads it. {'; '.join(broken)}")
        return claiming[0] if claiming else None

    def load(self, name: str, layer: str) -> tuple[ChosenComponent, Reader]:
        if (name, layer) not in self._chosen:
            short = name.rpartition(":")[2]
            settings = [setting for setting in self.settings if setting.partition(".")[0] == short]
            (chosen,) = choose_components("reader", [name], settings, self.plugins, command="reader")
            reader = chosen.build({"layer": lambda: layer})
            if missing := [part for part in ("suffixes", "claims", "read") if not hasattr(reader, part)]:
                raise PluginError(f"{chosen.words} made a {type(reader).__name__}, which has no {', '.join(missing)}")
            self._chosen[name, layer] = chosen, reader
        return self._chosen[name, layer]

    def list_suffixes(self, layer: str) -> set[str]:
        """Return the suffixes of all readers that can be loaded."""
        found: set[str] = set()
        for name in list_usable_names(self.plugins.components("reader")):
            try:
                found |= {*self.load(name, layer)[1].suffixes}
            except PluginError:
                continue
        return found


def claims(found: tuple[ChosenComponent, Reader], path: Path, start: bytes) -> bool:
    chosen, reader = found
    with NamedErrors(lambda: chosen.words):
        return bool(reader.claims(path, start))


@define(eq=False)
class InputRasters:
    """The rasters of a command. Those of files that are not rasters for GDAL exist until the command ends.

    Attributes:
        out: The result of the command; the rasters are beside it, where all machines of a cluster see them.
        originals: The file that each raster was read from, and its reader.
    """

    readers: Readers
    out: Path
    originals: dict[Path, tuple[Path, ChosenComponent]] = field(factory=dict, init=False)
    _stack: ExitStack = field(factory=ExitStack, init=False)
    _folder: Path | None = field(default=None, init=False)

    def __enter__(self) -> InputRasters:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def notes(self) -> list[str]:
        return [f"{path}: was read by {chosen.words}" for path, chosen in self.originals.values()]

    def open(self, places: Sequence[Path], layer: str) -> list[Path]:
        """Return rasters for files, folders and lists; the same places if GDAL reads all of their files.

        Raises:
            DataError: A file cannot be read.
            PluginError: A reader failed; the message names its package.
        """
        files = list_rasters([inner for place in places for inner in self.list_folder(place, layer)])
        read = [self.read(path, layer) for path in files]
        return list(places) if read == list(files) else read

    def list_folder(self, place: Path, layer: str) -> list[Path]:
        """Return the files of other readers in a folder without GeoTIFFs; else the place."""
        if not place.is_dir():
            return [place]
        inside = sorted(path for path in place.iterdir() if path.is_file() and not path.name.startswith("."))
        if any(path.suffix.lower() in RASTER_SUFFIXES for path in inside):
            return [place]
        suffixes = tuple(self.readers.list_suffixes(layer) - {".vrt"})
        return [path for path in inside if path.name.lower().endswith(suffixes)] or [place]

    def read(self, path: Path, layer: str) -> Path:
        found = self.readers.choose(path, layer)
        if found is None:
            return path  # opening it reports what is wrong
        chosen, reader = found
        with NamedErrors(lambda: f"{chosen.words}, reading {path},"):
            raster = reader.read(path)
        if raster == path:
            return path
        if not isinstance(raster, ReadRaster):
            raise PluginError(f"{chosen.words} returned a {type(raster).__name__} for {path}, expected a ReadRaster")
        if self._folder is None:
            self._folder = self._stack.enter_context(hold_input_folder(self.out))
        draft = self._folder / shorten_name(f"{len(self.originals) + 1}-{path.name}.tif", ".tif", MAX_NAME_BYTES)
        with disk_errors(self.out, after="nothing was left behind"), NamedErrors(lambda: f"{chosen.words}, reading {path},"):
            write_read_raster(raster, draft, path)
        self.originals[draft] = path, chosen
        return draft

    def stamp(self, files: Iterable[InputFile]) -> list[list[Any]]:
        """Return the identity of inputs: of a raster that was read from another file, that of the file and its reader."""
        found: list[FileIdentity] = []
        for file in files:
            original = self.originals.get(Path(file.path))
            found.append(file.stamp() if original is None else (file.size, file.digest, *map(str, original[1].describe().values())))
        return [list(identity) for identity in found]

    @contextmanager
    def name_originals(self) -> Iterator[None]:
        """Name the file that the user gave in errors about the raster that it became."""
        try:
            yield
        except DataError as error:
            text = str(error)
            for raster, (path, _) in self.originals.items():
                text = text.replace(str(raster), str(path))
            if text == str(error):
                raise
            raise DataError(text) from error


@contextmanager
def hold_input_folder(out: Path) -> Iterator[Path]:
    """A folder beside a result; it is removed at the end, and what an interrupted command left in it before."""
    folder = name_beside(out, ".{}.inputs")
    with hold_draft(folder, out, "read input") as draft:
        try:
            remove_made(draft.content, ("*.tif",))
            draft.content.mkdir(exist_ok=True)
            yield Path(os.path.abspath(draft.content))
        finally:
            remove_made(draft.content, ("*.tif",))
            draft.close()
