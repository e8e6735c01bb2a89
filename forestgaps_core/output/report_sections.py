"""What a package adds to the pages of `forestgaps report`: parts that the page escapes, and never markup of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from attrs import field, frozen
from attrs.validators import instance_of


@frozen(kw_only=True)
class ReportData:
    """What a page is about.

    Attributes:
        subject: "map", of `predict`, or "run", a trained network.
        path: The folder of the maps, or the run.
        thresholds: Height thresholds, meters, ascending.
        resolution_m: Pixel size, meters.
        files: Of a map: `gaps` and `probabilities`.
        surfaces: Of a map: the files of its surface model.
        tags: Of a map: metadata of its rasters.
        evaluation: Of a run: the scores, as in `forestgaps evaluate`.
    """

    subject: Literal["map", "run"]
    path: Path
    thresholds: tuple[float, ...]
    resolution_m: float
    files: Mapping[str, Path] = field(factory=dict)
    surfaces: tuple[Path, ...] = ()
    tags: Mapping[str, str] = field(factory=dict)
    evaluation: Any = None


@frozen(kw_only=True)
class SectionTable:
    """A table; all cells are texts."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@frozen(kw_only=True)
class SectionPicture:
    """A picture, which the page contains.

    Attributes:
        data: A PNG, JPEG or SVG file. A browser runs no scripts in it and loads nothing that it names.
        alt: What it shows, for readers who do not see it.
    """

    data: bytes = field(validator=instance_of(bytes), repr=False)
    alt: str
    caption: str = ""


SectionPart = str | SectionTable | SectionPicture


class ReportSection(Protocol):
    """What `build` of a component of the kind `report_section` returns.

    Attributes:
        title: Of the section.
        order: Sections come in ascending order, after those of the page itself.
    """

    @property
    def title(self) -> str: ...

    @property
    def order(self) -> float: ...

    def __call__(self, data: ReportData) -> Sequence[SectionPart]:
        """Return paragraphs (texts), tables and pictures; nothing if the section does not apply to this page."""
