"""Each rule for readers finds what breaks it."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import field, frozen

from forestgaps_core.testing import check_reader


@frozen
class Reads:
    suffixes: Any = (".grid",)
    answer: Any = None

    def claims(self, path, start):
        return start.startswith(b"GRID") if self.answer is None else self.answer

    def read(self, path):
        raise NotImplementedError


@frozen(kw_only=True)
class Config:
    """Builds a reader."""

    name_of_reader: str = field(default="right", metadata={"help": "Its name."})

    def build(self, layer):
        assert layer in ("dsm", "dtm", "chm")
        return READERS[self.name_of_reader]


READERS = {
    "right": Reads(),
    "greedy": Reads(answer=True),
    "vague": Reads(answer="yes"),
    "upper": Reads((".GRID",)),
    "bare": Reads(("grid",)),
    "list": Reads([".grid"]),
}


def test_a_right_reader_keeps_all_rules():
    check_reader(Config())


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("greedy", r"is True for files of other formats \(claims\)"),
        ("vague", r"returns True or False \(claims\)"),
        ("upper", r"the suffix '.GRID' \(parts\)"),
        ("bare", r"the suffix 'grid' \(parts\)"),
        ("list", r"expected a tuple of texts"),
    ],
)
def test_a_wrong_reader_breaks_its_rule(name, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_reader(Config(name_of_reader=name))
