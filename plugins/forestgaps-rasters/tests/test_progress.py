from __future__ import annotations

from forestgaps_rasters.progress import bar


def test_each_thing_told_has_a_bar_with_rate_and_time(capsys) -> None:
    with bar(shown=True) as report:
        for what in ("checking dsm.tif", "mapping", "mapping"):
            report(what, 0, 10)
            report(what, 10, 10)
    shown = capsys.readouterr()
    assert shown.out == "", "results can be piped"
    assert shown.err.count("checking dsm.tif") == 1
    assert shown.err.count("mapping") == 2, "a thing begun again has another bar"
    assert shown.err.count("rows/s") == 3


def test_nothing_is_shown_where_a_program_reads(capsys) -> None:
    with bar(shown=False) as report:
        report("mapping", 0, 10)
    assert capsys.readouterr() == ("", "")
