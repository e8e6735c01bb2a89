from __future__ import annotations

import json
from pathlib import Path

from forestgaps_core.output.report_sections import ReportData, SectionTable
from forestgaps_core.testing import check_report_section
from forestgaps_rasters.postprocessing.report_section import PostprocessingSection


def test_the_section_lists_the_steps_of_a_map() -> None:
    check_report_section(PostprocessingSection())
    steps = [
        {"name": "forestgaps-rasters:smooth", "version": "0.1.0", "settings": {"sigma_m": 1.5}},
        {"name": "mine:plain", "version": "2", "settings": {}},
    ]
    tags = {"FORESTGAPS_POSTPROCESSING": json.dumps(steps)}
    section = PostprocessingSection().build()
    text, table = section(ReportData(subject="map", path=Path("maps"), thresholds=(5.0,), resolution_m=1.0, tags=tags))
    assert "without these steps" in str(text)
    assert isinstance(table, SectionTable)
    assert table.rows == [("smooth", "sigma_m = 1.5", "forestgaps-rasters 0.1.0"), ("plain", "none", "mine 2")]
    assert section(ReportData(subject="map", path=Path("maps"), thresholds=(5.0,), resolution_m=1.0)) == ()
