"""Train, test and publish: what makes a run, and what is made of it."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forestgaps_core.cli.commands.installed import plugins
from forestgaps_core.cli.commands.next_steps import print_next
from forestgaps_core.cli.commands.options import Json, Set
from forestgaps_core.cli.commands.recipes import DEFAULT_RECIPE, recipe_path
from forestgaps_core.cli.exit import INTERRUPTED, TERMINATED
from forestgaps_core.errors import ConfigError
from forestgaps_core.output.counts import format_count
from forestgaps_core.plugins.command_lines import format_command
from forestgaps_core.plugins.isolation import redirect_to_stderr

if TYPE_CHECKING:
    from forestgaps_core.config.run_file import Config


def train(
    run_file: Annotated[
        Path | None, typer.Argument(metavar="[RUN.toml]", help="The run file; default: the recipe `quick` on simulated landscapes.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to write; by default runs/NAME.")] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Resume the training of this run folder.")] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="NETWORK",
            help="Start from the weights of a run folder, a model folder, a checkpoint, or an installed network (its name).",
        ),
    ] = None,
    changes: Set = None,
) -> None:
    """Train a network."""
    from forestgaps_core.output.tables import list_written_files
    from forestgaps_core.runs.run import read_run_config, resume_training, train_model
    from forestgaps_core.runtime.distributed import find_processes

    if resume is not None:
        if run_file or out or start:
            reason = "--resume takes the run as it is: give no run file, --out or --from with it; --set may add callbacks"
            raise ConfigError(reason, "train")
        result = resume_training(resume, changes=changes or (), plugins=plugins())
        config = read_run_config(result.folder, plugins())
    else:
        if start is not None:
            import json

            place = str(Path(start).absolute()) if Path(start).exists() else start
            changes = [*(changes or []), f"training.start={json.dumps(place)}"]
        config, name = choose_config(run_file, changes or [])
        result = train_model(config, out or find_free_folder(Path("runs"), name), plugins=plugins())
    if find_processes().rank:
        raise typer.Exit(0)  # the first process prints
    if result.stopped and result.stopped.startswith("interrupted"):
        line = format_command(*list_local_options(result.folder), "train", "--resume", result.folder)
        typer.echo(f"\nStopped ({result.stopped}) in epoch {result.epoch + 1}. To resume: {line}")
        raise typer.Exit(TERMINATED if result.stopped.endswith("SIGTERM") else INTERRUPTED)
    ended = f"stopped: {result.stopped}" if result.stopped else "complete"
    typer.echo(f"\nTrained {format_count(result.epoch, 'epoch')} ({ended}). Written to {result.folder}:")
    for line in list_written_files(result.folder):
        typer.echo(f"  {line}")
    print_next_steps(result.folder, config)


def choose_config(run_file: Path | None, changes: list[str]) -> tuple[Config, str]:
    """The config to train and a name for its run folder."""
    from forestgaps_core.config.reading import load_config

    if run_file is not None:
        return load_config(run_file, overrides=changes, plugins=plugins()), run_file.stem
    return load_config(recipe_path(), overrides=changes, plugins=plugins()), DEFAULT_RECIPE


def list_local_options(folder: Path) -> list[str | Path]:
    """Return `-p FILE` for each local file of this run: the copy in its folder, which a resumed run needs."""
    from forestgaps_core.plugins.local_files import list_given_files

    copies = [folder / "plugins" / file.name for file in list_given_files()]
    return [word for copy in copies if copy.is_file() for word in ("-p", copy)]


def find_free_folder(parent: Path, name: str) -> Path:
    """`parent/name`, or the first of `name-2`, `name-3` ... that is free."""
    folder, count = parent / name, 1
    while folder.exists():
        count += 1
        folder = parent / f"{name}-{count}"
    return folder


def print_next_steps(folder: Path, config: Config) -> None:
    """What fits after training: on simulated data the simulated example, else the user's own rasters."""
    local = list_local_options(folder)
    test_line = format_command(*local, "test", folder)
    if is_simulated(config):
        predict_line = format_command(*local, "predict", folder, "landscape/dsm.tif", "--out", "maps")
        print_next(test_line, format_command("simulate", "landscape"), predict_line)
    else:
        print_next(
            test_line,
            format_command(*local, "evaluate", folder),
            format_command(*local, "predict", folder, "DSM.tif", "--out", "maps"),
        )


def is_simulated(config: Config) -> bool:
    """Whether the data come from the package that has the command `simulate`."""
    commands = plugins().commands()
    return "simulate" in commands and plugins().component_of("data", config.data).plugin is commands["simulate"][0]


def test(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    checkpoint: Annotated[str | None, typer.Option(help="best, last, ...; by default best, if there is one.")] = None,
    as_json: Json = False,
) -> None:
    """Score a trained network on the held-out test split."""
    import json

    from forestgaps_core.files.atomic import write_text
    from forestgaps_core.output.progress import show_progress
    from forestgaps_core.output.tables import show_scores
    from forestgaps_core.runs.run import evaluate_run

    with (
        redirect_to_stderr(),
        show_progress("batches", shown=not as_json) as report,
    ):  # what components print must not get into the JSON
        report(f"evaluating {run} on {split}", 0, None)
        scores = evaluate_run(run, split=split, checkpoint=checkpoint, plugins=plugins())
    path = run / f"{split}.json"
    text = json.dumps({name: value if isfinite(value) else None for name, value in scores.items()}, indent=2)
    write_text(path, text + "\n")
    if as_json:
        typer.echo(text)
        return
    show_scores(scores)
    typer.echo(f"Written: {path}")
    local = list_local_options(run)
    evaluate_line, report_line = format_command(*local, "evaluate", run), format_command(*local, "report", run)
    print_next(evaluate_line, report_line, format_command(*local, "predict", run, "DSM.tif", "--out", "maps"))


def publish(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, a checkpoint, or a model folder.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Model folder to write; must not exist.")],
    half: Annotated[bool, typer.Option("--half", help="Store weights in float16: half the size.")] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Fit slope and offset of the logits on the run's validation split.")
    ] = False,
    checkpoint: Annotated[str | None, typer.Option(help="best, last, ...; by default best, if there is one.")] = None,
    as_json: Json = False,
) -> None:
    """Write a trained network as a model folder to publish: safetensors weights, how to build it, and a model card."""
    import json

    from attrs import asdict

    from forestgaps_core.inference.model_folder import is_model_folder, locate_network
    from forestgaps_core.inference.model_folder_writing import save_network

    summary: dict[str, Any] = {"folder": str(folder)}

    def fit_calibration() -> dict[str, float]:
        from forestgaps_core.runs.run import calibrate_run

        with redirect_to_stderr():
            found, before, after = calibrate_run(run, checkpoint=checkpoint, plugins=plugins())
        summary["calibration"] = {**asdict(found), "log_loss_before": before, "log_loss_after": after}
        return asdict(found)

    calibration = fit_calibration if calibrate else None
    save_network(run, folder, half=half, checkpoint=checkpoint, calibration=calibration, plugins=plugins())
    files = {str(path): path.stat().st_size for path in sorted(folder.iterdir())}
    if as_json:
        typer.echo(json.dumps({**summary, "files": files}, indent=2))
        return
    if scale := summary.get("calibration"):
        typer.echo(f"Calibrated: logits times {scale['slope']:.3f} plus {scale['offset']:.3f}")
        before, after = scale["log_loss_before"], scale["log_loss_after"]
        typer.echo(f"  log loss on the validation split: {before:.4f} before, {after:.4f} after")
    typer.echo("Written:")
    for path, size in files.items():
        typer.echo(f"  {path}  " + (f"{size / 1e6:.2f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"))
    card = folder / "README.md"
    steps = [f"read {card}"] if is_model_folder(locate_network(run, plugins())) else [f"complete {card}: data, scores, license"]
    print_next(*steps, format_command("predict", "DSM.tif", "--network", folder, "--out", "maps"))
