from __future__ import annotations

import pytest

from forestgaps_core import DataError
from forestgaps_core.errors import DiskError
from forestgaps_evaluation import rendering


@pytest.mark.parametrize(
    ("function", "value", "words"),
    [
        (rendering.percent, 0.1234, "12.3 %"),
        (rendering.percent, float("nan"), "–"),
        (rendering.points, -0.0512, "−5.1"),
        (rendering.points, 0.02, "+2.0"),
        (rendering.score, 0.876, "0.88"),
        (rendering.score, -0.5, "−0.50"),
        (rendering.count, 1234567, "1 234 567"),
        (rendering.metres, 0.5, "0.5 m"),
        (rendering.hectares, 12.345, "12.3 ha"),
        (rendering.hectares, 1234.5, "1 234 ha"),
        (rendering.area, 999.6, "1 000 m²"),
        (rendering.area, 25_000, "2.5 ha"),
        (rendering.area, None, "–"),
    ],
)
def test_numbers_read_as_numbers(function, value, words):
    assert function(value).replace("\u202f", " ") == words


def test_a_file_is_written_whole_and_never_over_another(tmp_path):
    rendering.write_new(tmp_path / "new" / "a.html", "one")
    with pytest.raises(DataError, match="exists already"):
        rendering.write_new(tmp_path / "new" / "a.html", "two")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.html"]
    assert (tmp_path / "new" / "a.html").read_text() == "one"


def test_where_nothing_can_be_written_a_sentence_says_so(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match="could not be written"):
        rendering.write_new(tmp_path / "file" / "a.html", "one")
