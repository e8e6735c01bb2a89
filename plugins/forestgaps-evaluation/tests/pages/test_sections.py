from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from forestgaps_core.errors import ConfigError
from forestgaps_core.output.report_sections import ReportData, SectionPicture, SectionTable
from forestgaps_core.plugins.registry import Plugins
from forestgaps_evaluation.pages.rendering import make_environment
from forestgaps_evaluation.pages.sections import add_contents, make_sections, split_section_settings

SECTIONS = '''
from attrs import field, frozen
from forestgaps_core import hookimpl
from forestgaps_core.output.report_sections import SectionPicture, SectionTable

@frozen
class Made:
    title: str
    order: float
    parts: object
    def __call__(self, data):
        return self.parts(data)

@frozen(kw_only=True)
class Hostile:
    """Texts with markup."""
    word: str = field(default="plain", metadata={"help": "A word."})
    def build(self):
        return Made("<b>Title</b>", 2, lambda data: [
            f"<script>alert(1)</script> {self.word} {data.subject}",
            SectionTable(caption="<i>", head=("<a>", "b"), rows=[("<td>", 3)]),
            SectionPicture(data=b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", alt='" onerror="x'),
        ])

@frozen(kw_only=True)
class First:
    """Comes first."""
    def build(self):
        return Made("First", 1, lambda data: ["one"])

@frozen(kw_only=True)
class Silent:
    """Does not apply."""
    def build(self):
        return Made("Silent", 0, lambda data: [])

@frozen(kw_only=True)
class Fails:
    """Fails."""
    def build(self):
        return Made("Broken", 3, lambda data: 1 / 0)

@frozen(kw_only=True)
class Exits:
    """Ends the program."""
    def build(self):
        return Made("Exits", 6, lambda data: exit(3))

@frozen(kw_only=True)
class Wrong:
    """Returns something else."""
    def build(self):
        return Made("Wrong", 4, lambda data: [data])

@frozen(kw_only=True)
class Text:
    """Text instead of a picture."""
    def build(self):
        return Made("Text", 5, lambda data: [SectionPicture(data=b"text", alt="")])

@frozen(kw_only=True)
class Bare:
    """Builds no section."""
    def build(self):
        return None

@hookimpl
def forestgaps_report_sections():
    offers = {"hostile": Hostile, "first": First, "silent": Silent, "fails": Fails, "wrong": Wrong}
    return {**offers, "text": Text, "bare": Bare, "exits": Exits}
'''
DATA = ReportData(subject="map", path=Path("maps"), thresholds=(2.0, 5.0), resolution_m=1.0)


@pytest.fixture
def plugins(tmp_path: Path) -> Plugins:
    path = tmp_path / "t_sections.py"
    path.write_text(SECTIONS)
    plugins = Plugins()
    plugins.add_file(path)
    return plugins


def render(sections: Any) -> str:
    template = make_environment().from_string('{% import "parts.html" as parts %}{{ parts.further(sections) }}')
    return template.render(sections=sections)


def test_sections_are_ordered_and_what_fails_is_reported_on_the_page_and_in_the_log(plugins, caplog) -> None:
    sections = make_sections(DATA, plugins)
    assert [section.title for section in sections] == ["bare", "First", "<b>Title</b>", "Broken", "Wrong", "Text", "Exits"]
    problems = {section.title: section.problem for section in sections if section.problem}
    assert problems["Broken"] == "ZeroDivisionError: division by zero"
    assert "expected a text, SectionTable or SectionPicture" in problems["Wrong"]
    assert "not a PNG, JPEG or SVG file" in problems["Text"]
    assert problems.keys() == {"bare", "Broken", "Wrong", "Text", "Exits"}
    assert "the report has no section 'Broken': ZeroDivisionError: division by zero" in caplog.text
    page = render(sections)
    assert "This section could not be made: ZeroDivisionError" in page
    contents = add_contents([("findings", "Summary"), ("data", "Data")], sections)
    assert [anchor for anchor, _ in contents] == ["findings", *(f"further-{number}" for number in range(1, 8)), "data"]


def test_no_markup_of_a_section_reaches_the_page(plugins) -> None:
    page = render(make_sections(DATA, plugins))
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; plain map" in page
    assert "&lt;b&gt;Title&lt;/b&gt;" in page
    assert "&lt;td&gt;" in page
    assert 'alt="&#34; onerror=&#34;x"' in page
    assert 'src="data:image/svg+xml;base64,' in page


def test_settings_are_strict(plugins) -> None:
    of_sections, others = split_section_settings(["hostile.word=x", "data.folder=y"], plugins)
    assert (of_sections, others) == (["hostile.word=x"], ["data.folder=y"])
    assert "&lt;/script&gt; x map" in render(make_sections(DATA, plugins, of_sections))
    with pytest.raises(ConfigError, match=r"hostile\.word: found 3, expected a text"):
        make_sections(DATA, plugins, ["hostile.word=3"])


def test_parts_are_plain_records() -> None:
    assert SectionTable(caption="", head=(), rows=()).rows == ()
    with pytest.raises(TypeError):
        SectionPicture(data="text", alt="")  # type: ignore[arg-type]
