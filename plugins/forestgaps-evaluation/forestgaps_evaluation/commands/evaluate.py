"""`forestgaps evaluate`. Heavy modules are imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forestgaps_core.cli.commands.next_steps import print_next
from forestgaps_core.cli.commands.options import Json
from forestgaps_core.cli.commands.results import print_written
from forestgaps_core.cli.commands.thresholds import thresholds_option
from forestgaps_core.plugins.command_lines import format_command

NAME = "evaluation"


def evaluate(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Run folders, checkpoints or models. Give several to average over seeds."),
    ] = None,
    split: Annotated[str, typer.Option(help="Split to evaluate: train, validation or test.")] = "test",
    threshold: Annotated[
        list[float] | None,
        thresholds_option("Such as -t 2,5,10; by default 2, 3, 5, 10, 15, 20, 25 and 30 m."),
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(metavar="RUN.toml", help="Run file to train first, once for each of --seeds, in --out."),
    ] = None,
    seeds: Annotated[str, typer.Option(metavar="N,N,...", help="Seeds for --train.")] = "1,2,3",
    leakage: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="New folder to train the first run again with half of its test tiles, which measures the bias of a random split.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for evaluation.json, .csv and .md.")
    ] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Checkpoint of a run: best, last, ...; by default best.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER|RUN.toml",
            help="Data to evaluate on instead of the run's own: a prepared folder, a run folder or a run file.",
        ),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Ground filter to compare with, such as csf; may be repeated."),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="data.KEY=VALUE",
            help="Change of a data setting, such as data.folder=elsewhere, or of a filter, such as csf.rigidness=2.",
        ),
    ] = None,
    resamples: Annotated[
        int, typer.Option(metavar="N", min=100, max=100_000, help="Number of resamples of the spatial blocks for the intervals.")
    ] = 2000,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    as_json: Json = False,
) -> None:
    """Evaluate trained networks with confidence intervals and baselines.

    Prints the scores, the gap fraction, the baselines and 95 % intervals at each threshold. Intervals are computed by a bootstrap
    over spatial blocks. Several runs add the standard deviation over seeds. Further tables group the scores by ground slope and
    by canopy cover. --baseline adds a table of ground filters, which need no training.
    """
    import sys
    from contextlib import ExitStack, redirect_stdout

    from attrs import evolve
    from rich.console import Console

    from forestgaps_core.cli.app import plugins
    from forestgaps_core.config.command_components import choose_components
    from forestgaps_core.errors import ConfigError
    from forestgaps_core.files.atomic import disk_errors
    from forestgaps_core.files.drafts import new_files
    from forestgaps_evaluation.commands.progress import show_batch_progress
    from forestgaps_evaluation.counting.network import note_pixel_sizes, open_network
    from forestgaps_evaluation.counting.tile_counts import PROTOCOL_THRESHOLDS_M, count_split
    from forestgaps_evaluation.protocol import leakage as leakage_protocol
    from forestgaps_evaluation.protocol import tables
    from forestgaps_evaluation.protocol.baselines import count_baseline, score_baseline
    from forestgaps_evaluation.protocol.evaluation import evaluate_counts
    from forestgaps_evaluation.protocol.seeds import note_seeds, parse_seeds, train_seeds

    if bool(runs) == (train is not None):
        raise ConfigError("needs either run folders or --train. Give one of the two", "evaluate")
    if train is not None and out is None:
        raise ConfigError("--train needs a folder for the runs. Add --out FOLDER", "evaluate")
    if leakage is not None and split != "test":
        raise ConfigError("--leakage divides the test split. Use it with --split test", "evaluate")
    wanted = baseline or []
    settings = [change for change in changes or [] if change.split(".")[0] in {name.rpartition(":")[2] for name in wanted}]
    data_changes = [change for change in changes or [] if change not in settings]
    filters = choose_components("baseline", wanted, settings, plugins(), command="evaluate") if wanted else []
    files = {} if out is None else {kind: out / f"{NAME}.{kind}" for kind in ("json", "csv", "md")}
    writers = {"json": tables.format_json, "csv": tables.format_csv, "md": tables.format_markdown}
    with ExitStack() as stack:
        if out is not None:
            if train is not None:
                with disk_errors(out):
                    out.mkdir(parents=True, exist_ok=True)  # the runs are written here and kept if a later step fails
            draft = stack.enter_context(new_files(out, [path.name for path in files.values()], purpose="evaluate"))
        names = list(runs or [])
        if train is not None and out is not None:
            with redirect_stdout(sys.stderr):  # progress bars of callbacks; the standard output is for results only
                names = [str(run) for run in train_seeds(train, parse_seeds(seeds), out, plugins())]
        networks = [
            open_network(name, device=device, checkpoint=checkpoint, data=data, changes=data_changes, plugins=plugins())
            for name in names
        ]
        if leakage is not None:
            leakage_protocol.check_folder(networks[0], leakage)
        counted = []
        for network in networks:
            with show_batch_progress(network.run, shown=not as_json) as progress:
                counted.append(count_split(network, split, threshold or PROTOCOL_THRESHOLDS_M, progress=progress))
        result = evaluate_counts(counted, resamples=resamples, notes=[*note_pixel_sizes(networks), *note_seeds(networks)])
        for chosen in filters:
            with show_batch_progress(chosen.component.name, shown=not as_json) as progress:
                map_counts = count_baseline(networks[0], chosen, split, counted[0].thresholds.tolist(), progress=progress)
            scores = score_baseline(counted, map_counts, chosen, resamples=resamples)
            result = evolve(result, filters=(*result.filters, scores))
        if leakage is not None:
            with redirect_stdout(sys.stderr):
                leakage_scores = leakage_protocol.measure_leakage(networks[0], counted[0], leakage, plugins(), resamples=resamples)
            result = evolve(result, leakage=leakage_scores)
        for kind, path in files.items():
            (draft / path.name).write_text(writers[kind](result), encoding="utf-8")
    if as_json:
        typer.echo(tables.format_json(result), nl=False)
        return
    tables.print_tables(result, Console())
    print_written(files.values())
    print_next(
        format_command("report", names[0], *networks[0].options), format_command("predict", names[0], "DSM.tif", "--out", "maps")
    )
