"""The section "Post-processing" of a report on a map: the steps that changed it, from its metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import ClassVar

from attrs import frozen

from forestgaps_core.output.report_sections import ReportData, ReportSection, SectionPart, SectionTable
from forestgaps_rasters.postprocessing.steps import POSTPROCESSING_TAG


@frozen(kw_only=True)
class PostprocessingSection:
    """The post-processing steps of a map, with their packages and settings."""

    def build(self) -> ReportSection:
        return StepTable()


@frozen
class StepTable:
    title: ClassVar[str] = "Post-processing"
    order: ClassVar[float] = 10.0

    def __call__(self, data: ReportData) -> Sequence[SectionPart]:
        if POSTPROCESSING_TAG not in data.tags:
            return ()
        rows = []
        for step in json.loads(data.tags[POSTPROCESSING_TAG]):
            package, _, name = step["name"].rpartition(":")
            settings = ", ".join(f"{key} = {value}" for key, value in step["settings"].items()) or "none"
            rows.append((name, settings, f"{package} {step['version']}"))
        table = SectionTable(caption="Steps in their order.", head=("Step", "Settings", "Package"), rows=rows)
        return ("The map was changed after the prediction. The scores of the network hold for maps without these steps.", table)
