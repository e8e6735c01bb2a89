"""The page of commands: for each a usage line, examples, and tables of its arguments and options."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_type_hints

import typer
from generate_tables import code, describe_type, escape_prose

from forestgaps_core.cli.app import app
from forestgaps_core.plugins.registry import Plugins, load_target

# The order of the page. A command that is not named here is under the last heading.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Map gaps": ("predict", "gaps", "change"),
    "Prepare data": ("prepare", "simulate"),
    "Train and evaluate": ("config init", "config check", "config explain", "config schema", "train", "test", "evaluate", "report"),
    "Publish and export": ("publish", "export", "quantize"),
    "Plugins": ("plugins list", "plugins show", "plugins check", "plugins install", "plugins new"),
    "Other commands": (),
}
EXAMPLES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "predict": (
        ("forestgaps predict dsm.tif -t 2,5,10 --out maps", "with the pretrained network"),
        ("forestgaps predict runs/first dsm.tif -t 5 --out maps", "with a network of your own"),
    ),
    "gaps": (
        ("forestgaps gaps maps/gaps.tif --out gaps.gpkg", "from a gap map"),
        ("forestgaps gaps chm.tif -t 5 --out gaps.gpkg", "from a canopy height model"),
    ),
    "change": (("forestgaps change maps-2020/gaps.tif maps-2025/gaps.tif --out change", "two gap maps of one area"),),
    "prepare": (("forestgaps prepare ridge/ valley/ --out prepared", "two sites: each has dsm.tif, and dtm.tif or chm.tif"),),
    "simulate": (("forestgaps simulate landscape --seed 7", "writes landscape/dsm.tif, dtm.tif and chm.tif"),),
    "config init": (("forestgaps config init run.toml --recipe best", ""),),
    "config check": (("forestgaps config check run.toml", "reads the file, builds everything, trains on one batch"),),
    "config explain": (
        ("forestgaps config explain", "the tables of a run file"),
        ("forestgaps config explain loss.focal", "the settings of one component"),
        ("forestgaps config explain run.toml --resolved", "every value of a run file, with its origin"),
    ),
    "config schema": (("forestgaps config schema --out run-file.schema.json", "for completion in editors"),),
    "train": (
        ("forestgaps train run.toml --out runs/first", ""),
        ("forestgaps train --resume runs/first", "continues an interrupted run"),
        ("forestgaps train run.toml --set loss.name=lovasz", "with another loss"),
    ),
    "test": (("forestgaps test runs/first", ""),),
    "evaluate": (
        ("forestgaps evaluate runs/first --out scores", ""),
        ("forestgaps evaluate --train run.toml --seeds 1,2,3 --out scores", "trains three seeds first"),
    ),
    "report": (
        ("forestgaps report runs/first", "about a trained network"),
        ("forestgaps report maps --dsm dsm.tif", "about gap maps"),
    ),
    "publish": (("forestgaps publish runs/first model --calibrate", ""),),
    "export": (("forestgaps export runs/first --to onnx --out exported", ""),),
    "quantize": (("forestgaps quantize runs/first --out quantized", ""),),
    "plugins list": (("forestgaps plugins list --components", ""),),
    "plugins show": (("forestgaps plugins show forestgaps-losses", ""),),
    "plugins check": (("forestgaps plugins check forestgaps-losses", ""),),
    "plugins install": (
        ("forestgaps plugins install forestgaps-mlflow", "prints the command"),
        ("forestgaps plugins install forestgaps-mlflow --yes", "runs it"),
    ),
    "plugins new": (("forestgaps plugins new forestgaps-mine --kind loss", ""),),
}
UNITS = {"METERS": "m", "PIXELS": "pixels", "SECONDS": "s", "HECTARES": "ha", "M2": "m²"}


def commands_page(note: str) -> str:
    commands = dict(find_commands())
    lines = ["# Commands", "", note, "", "`forestgaps COMMAND --help` prints the same, also for commands of other packages.", ""]
    lines += ["| command | purpose | package |", "|---|---|---|"]
    groups = {heading: [name for name in names if name in commands] for heading, names in GROUPS.items()}
    groups["Other commands"] = sorted(set(commands) - {name for names in groups.values() for name in names})
    for name in (name for names in groups.values() for name in names):
        built, package, _ = commands[name]
        lines.append(f"| [`{name}`](#{name.replace(' ', '-')}) | {escape_prose(paragraphs(built)[0])} | `{package}` |")
    lines += ["", "## Options of every command { #global }", ""]
    lines += ["Put these before the command: `forestgaps -p my_loss.py train run.toml`.", ""]
    lines += options_table(typer.main.get_command(app), get_type_hints(app.registered_callback.callback, include_extras=True))
    for heading, names in groups.items():
        if names:
            lines += ["", f"## {heading}"]
        for name in names:
            built, package, function = commands[name]
            lines += ["", *command_section(name, built, package, get_type_hints(function, include_extras=True))]
    return "\n".join(lines) + "\n"


def find_commands() -> Iterator[tuple[str, tuple[Any, str, Any]]]:
    """Yield each command's name, its built form, its package and its function: those of the core, then those of plugins."""
    for name, command in typer.main.get_command(app).commands.items():
        for inner_name, inner in getattr(command, "commands", {"": command}).items():
            yield f"{name} {inner_name}".strip(), (inner, "forestgaps-core", unwrap(inner))
    for name, (plugin, record) in Plugins.discover().commands().items():
        function = load_target(record.target, name)
        one = typer.Typer(add_completion=False)
        one.command(name, help=function.__doc__, context_settings={"help_option_names": ["-h", "--help"]})(function)
        yield name, (typer.main.get_command(one), plugin.distribution, function)


def unwrap(command: Any) -> Any:
    return getattr(command.callback, "__wrapped__", command.callback)


def command_section(name: str, built: Any, package: str, hints: Mapping[str, Any]) -> Iterator[str]:
    yield f"### forestgaps {name} {{ #{name.replace(' ', '-')} }}"
    yield ""
    yield escape_prose(paragraphs(built)[0])
    yield ""
    yield "```text"
    yield " ".join(["forestgaps", name, "[OPTIONS]", *(usage_of(p) for p in built.params if p.param_type_name == "argument")])
    yield "```"
    for text in paragraphs(built)[1:]:
        yield ""
        yield escape_prose(text)
    if examples := EXAMPLES.get(name):
        yield ""
        yield "```bash"
        for line, meaning in examples:
            yield from [f"# {meaning}"] * bool(meaning)
            yield line
        yield "```"
    yield ""
    yield from options_table(built, hints)
    if package != "forestgaps-core":
        yield ""
        yield f"Package `{package}`."


def paragraphs(built: Any) -> list[str]:
    return (built.help or "").strip().split("\n\n")


def usage_of(argument: Any) -> str:
    """Return an argument as it is written in a usage line: RUN, [RUN], or RUN... for several."""
    text = str(argument.metavar or argument.name.upper())
    if "..." in text or "[" in text:
        return text
    text += "..." if argument.nargs != 1 else ""
    return text if argument.required else f"[{text}]"


def options_table(built: Any, hints: Mapping[str, Any]) -> Iterator[str]:
    """Yield a row for each argument and option; `--help` and completion, which every program has, are left out."""
    rows = [row_of(p, hints[p.name]) for p in built.params if p.name in hints and not p.hidden]
    if rows:
        yield "| argument or option | type, range, unit | default | meaning |"
        yield "|---|---|---|---|"
        yield from rows
    else:
        yield "No options."


def row_of(parameter: Any, hint: Any) -> str:
    kind, *metadata = get_args(hint)
    (info,) = [one for one in metadata if hasattr(one, "metavar")]
    words = describe_type(kind)
    flag = words == TRUE_OR_FALSE
    several = parameter.nargs != 1 or getattr(parameter, "multiple", False)
    if parameter.param_type_name == "argument":
        names = code(usage_of(parameter))
    else:
        *short, long = sorted(parameter.opts + parameter.secondary_opts, key=len)
        value = f" {parameter.metavar}" if parameter.metavar and not flag else ""
        names = ", ".join(code(name) for name in [*short, long + value])
    limits = range_of(info.min, info.max)
    unit = UNITS.get(str(parameter.metavar), "")
    described = "flag" if flag else words.replace("list of ", "") + (", repeatable" if several else "")
    default = "required" if parameter.required else default_of(parameter.default)
    return f"| {names} | {', '.join(filter(None, [described, limits, unit]))} | {default} | {escape_prose(parameter.help or '')} |"


TRUE_OR_FALSE = describe_type(bool)


def range_of(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f"{least:g} to {most:g}"
    return f"≥ {least:g}" if least is not None else f"≤ {most:g}" if most is not None else ""


def default_of(value: Any) -> str:
    """Return a default as code; nothing for an option that is off or not set."""
    if value is None or value is False or value == () or value == []:
        return ""
    return code(re.sub(r"^[A-Za-z]*Path\('(.*)'\)$", r"\1", str(value)))
