"""What `forestgaps plugins new` can begin: the example of each kind of component, and of each other hook."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from forestgaps_core.kinds import COMMAND_KINDS, KINDS, TABLES
from forestgaps_core.plugins.builds import BUILD_HOOK

RUN_FILE = '```toml\n[$table]\nname = "$component"\n$setting = $value\n```'
TORCH = "torch>=2.6"
STANDARD = ("landscapes", "losses", "metrics", "models", "normalization")  # packages of the recipe


@frozen
class Example:
    """What the template of a kind, or of another hook, holds.

    Attributes:
        does: The component in half a sentence.
        setting: A setting of it and a value, for the example of a run file.
        suffix: What tells its config's class from the class it builds.
        needs: Libraries it imports besides attrs and the core.
        hook: That the package implements.
        one: What the package offers, in words.
        usage: A template of the part of the README that shows how it is used.
        record: The class of the rows of the table, where it is not `str`.
        target: A template of the target of the row.
        contents: Name of the template of the table of contents; that of its test begins with "test_".
        extension: Of the file that is the example.
    """

    does: str
    setting: tuple[str, str] = ("", "")
    suffix: str = "Config"
    needs: tuple[str, ...] = (TORCH,)
    hook: str = ""
    one: str = ""
    usage: str = RUN_FILE
    record: str = ""
    target: str = "$package.$component:$Config"
    contents: str = "contents.py"
    extension: str = ".py"


EXAMPLES: Mapping[str, Example] = {
    "data": Example("round gaps in an even canopy on a slope, made in memory", ("canopy_m", "25.0"), one="data set"),
    "model": Example("a small network that predicts a distribution of canopy height at each pixel", ("width", "24")),
    "normalization": Example("features over their root mean square", ("eps", "1e-6")),
    "loss": Example("a power of the distance between probability and survey", ("exponent", "1.5"), suffix=""),
    "optimizer": Example("steps of one size, in the direction of the sign of the mean gradient", ("momentum", "0.95")),
    "scheduler": Example("a straight line down to a share of the base rate", ("floor", "0.05"), suffix="", needs=()),
    "metrics": Example("the share of pixels called right", ("decision_threshold", "0.4")),
    "augmentations": Example("ground raised like a dome or lowered like a bowl under the canopy", ("height_m", "30.0"), suffix=""),
    "callbacks": Example("the number of optimizer steps, written into the run folder", ("file", '"count.txt"'), needs=()),
    "exporter": Example(
        "the weights of a network as JSON, for other programs",
        ("digits", "3"),
        usage="```console\n$$ forestgaps export RUN --to $component --set $component.$setting=$value --out FOLDER\n```",
    ),
    "postprocessor": Example(
        "gaps that grow by some pixels to all sides",
        ("pixels", "2"),
        needs=("numpy>=2.0",),
        usage="```console\n$$ forestgaps predict RUN dsm.tif --out MAPS --postprocess $component --set $component.$setting=$value\n"
        "```",
    ),
    "reader": Example(
        "grids in the text format of Esri (.asc), in meters",
        ("crs", '"EPSG:32632"'),
        needs=("forestgaps-geo>=0.1,<0.2", "numpy>=2.0"),
        one="reader of files",
        usage="```console\n$$ forestgaps predict RUN dsm.asc --out MAPS --set $component.crs=EPSG:32632\n```",
    ),
    "report_section": Example(
        "the sizes of the files of a map",
        ("title", "Files"),
        one="section of reports",
        usage="```console\n$$ forestgaps report MAPS --out report.html --set $component.$setting=$value\n```",
    ),
    "command": Example(
        "the area of a number of pixels",
        hook="forestgaps_commands",
        needs=("typer>=0.26",),
        usage="```console\n$$ forestgaps $name 4000 --pixel-size 0.5\n0.1000 ha\n```",
        record="Command",
        target="$package.$component:run",
        contents="contents_record.py",
    ),
    "recipe": Example(
        "a short training on simulated landscapes",
        hook="forestgaps_recipes",
        needs=tuple(f"forestgaps-{name}>=0.1,<0.2" for name in STANDARD),
        usage="```console\n$$ forestgaps config init run.toml --recipe $component\n```",
        record="Recipe",
        target="$package:$component.toml",
        contents="contents_record.py",
        extension=".toml",
    ),
    "network": Example(
        "a network that you have trained",
        hook="forestgaps_networks",
        one="trained network",
        needs=(),
        usage="```console\n$$ python -m $package.$component RUN  # puts the network of a run into this package\n"
        "$$ forestgaps predict $component dsm.tif --out MAPS\n```",
        record="Pretrained",
        target="$package:network",
        contents="contents_record.py",
    ),
    "executor": Example(
        "threads of this process",
        hook="forestgaps_executors",
        one="place to compute",
        needs=(),
        usage="```console\n$$ forestgaps predict RUN dsm.tif --out MAPS --cluster $component://4\n```",
        target="$package.$component:$Class",
    ),
    "engine": Example(
        "logits that are a linear function of the height above the mean, from a file of two numbers",
        hook="forestgaps_engines",
        usage="```console\n$$ forestgaps predict MODEL_FOLDER dsm.tif --out MAPS --engine $component\n```",
        target="$package.$component:$Class",
    ),
    "kind": Example(
        "functions of canopy height that weigh pixels",
        hook="forestgaps_kinds",
        one="kind of component",
        usage='```toml\n[$component]\nname = "linear"\nheight_m = 10.0\n```',
        contents="contents_kind.py",
    ),
    "build": Example(
        "the number of parameters of each network, reported when it is built",
        hook=BUILD_HOOK,
        one="wrapper around the building of components",
        usage="```console\n$$ forestgaps train run.toml --out RUN\n```",
        contents="contents_build.py",
    ),
}

COMPONENT_KINDS = {**KINDS, **COMMAND_KINDS}
# What may be written after --kind, with the name of its example.
NAMES: Mapping[str, str] = {
    **{kind.removesuffix("s") if about.several else kind: kind for kind, about in COMPONENT_KINDS.items()},
    **{name: name for name in (*TABLES, "kind", "build")},
}


def find_hook(kind: str) -> str:
    """Return the hook that the package of an example implements."""
    return COMPONENT_KINDS[kind].hook if kind in COMPONENT_KINDS else EXAMPLES[kind].hook
