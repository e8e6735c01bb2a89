"""A section of reports: the sizes of the files of a map; and one that fails."""

from attrs import field, frozen

from forestgaps_core.output.report_sections import SectionTable


@frozen
class FileSizes:
    title: str
    order: float = 20.0

    def __call__(self, data):
        if data.subject != "map":
            return [f"{len(data.evaluation.rows)} rows of scores."]
        rows = [(name, f"{path.stat().st_size} bytes") for name, path in data.files.items()]
        return ["Sizes of the <files> of the map.", SectionTable(caption="Sizes.", head=("File", "Size"), rows=rows)]


@frozen(kw_only=True)
class Sizes:
    """Sizes of the files of a map."""

    title: str = field(default="File sizes", metadata={"help": "Title of the section."})

    def build(self):
        return FileSizes(self.title)


@frozen(kw_only=True)
class Failing:
    """A section that fails."""

    def build(self):
        def section(data):
            raise RuntimeError("the moon is full")

        section.title, section.order = "Moon", 30
        return section
