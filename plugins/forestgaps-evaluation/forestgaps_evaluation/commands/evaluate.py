"""`forestgaps evaluate`. Heavy modules are imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forestgaps_core.cli.commands.next_steps import print_next
from forestgaps_core.cli.commands.thresholds import thresholds_option
from forestgaps_core.plugins.command_lines import format_command

NAME = "evaluation"


def evaluate(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Run folders, checkpoints or networks; several: seeds of one run file."),
    ] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    threshold: Annotated[
        list[float] | None,
        thresholds_option("By default 2, 3, 5, 10, 15, 20, 25 and 30 m; for others: -t 2,5,10."),
    ] = None,
    train: Annotated[
        Path | None, typer.Option(metavar="RUN.toml", help="Train this run file first, once for each of --seeds, into --out.")
    ] = None,
    seeds: Annotated[str, typer.Option(metavar="N,N,...", help="Seeds for --train.")] = "1,2,3",
    leakage: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Train the first run once more, here, with half of its test tiles among the training tiles, to measure what a "
            "random split would add.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="Write evaluation.json, .csv and .md here.")
    ] = None,
    checkpoint: Annotated[str | None, typer.Option(help="best, last, ...; by default best, if there is one.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER|RUN.toml",
            help="Evaluate on these data instead of the run's own: a prepared folder, a run folder or a run file.",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="data.KEY=VALUE", help="Evaluate on other data, such as data.folder=elsewhere."),
    ] = None,
    resamples: Annotated[
        int, typer.Option(metavar="N", min=100, max=100_000, help="Of the spatial blocks, for the intervals.")
    ] = 2000,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Evaluate trained networks with confidence intervals and baselines.

    Prints scores at each threshold with the gap fraction and baselines, and 95 % intervals from a bootstrap over spatial blocks.
    With several runs, adds the standard deviation over seeds. Repeats the scores by slope of the ground and by canopy cover.
    """
    import sys
    from contextlib import ExitStack, redirect_stdout

    from attrs import evolve
    from rich.console import Console

    from forestgaps_core.cli.app import plugins
    from forestgaps_core.errors import ConfigError
    from forestgaps_core.files.atomic import disk_errors
    from forestgaps_core.files.drafts import new_files
    from forestgaps_evaluation.commands.progress import show_batch_progress
    from forestgaps_evaluation.counting.network import note_pixel_sizes, open_network
    from forestgaps_evaluation.counting.tile_counts import PROTOCOL_THRESHOLDS_M, count_split
    from forestgaps_evaluation.protocol import leakage as leaking
    from forestgaps_evaluation.protocol import tables
    from forestgaps_evaluation.protocol.evaluation import evaluate_counts
    from forestgaps_evaluation.protocol.seeds import note_seeds, parse_seeds, train_seeds

    if bool(runs) == (train is not None):
        raise ConfigError("give run folders, or --train RUN.toml", "evaluate")
    if train is not None and out is None:
        raise ConfigError("--train requires --out FOLDER for the runs", "evaluate")
    if leakage is not None and split != "test":
        raise ConfigError("--leakage divides the test split. Use it with --split test", "evaluate")
    files = {} if out is None else {kind: out / f"{NAME}.{kind}" for kind in ("json", "csv", "md")}
    writers = {"json": tables.format_json, "csv": tables.format_csv, "md": tables.format_markdown}
    with ExitStack() as stack:
        if out is not None:
            if train is not None:
                with disk_errors(out):
                    out.mkdir(parents=True, exist_ok=True)  # the runs are made in it, and stay where something fails
            draft = stack.enter_context(new_files(out, [path.name for path in files.values()], purpose="evaluate"))
        names = list(runs or [])
        if train is not None and out is not None:
            with redirect_stdout(sys.stderr):  # the bars of callbacks; results alone go to the standard output
                names = [str(run) for run in train_seeds(train, parse_seeds(seeds), out, plugins())]
        networks = [
            open_network(name, device=device, checkpoint=checkpoint, data=data, changes=changes or [], plugins=plugins())
            for name in names
        ]
        if leakage is not None:
            leaking.check_folder(networks[0], leakage)
        found = []
        for network in networks:
            with show_batch_progress(network.run, shown=not as_json) as progress:
                found.append(count_split(network, split, threshold or PROTOCOL_THRESHOLDS_M, progress=progress))
        result = evaluate_counts(found, resamples=resamples, notes=[*note_pixel_sizes(networks), *note_seeds(networks)])
        if leakage is not None:
            with redirect_stdout(sys.stderr):
                leaked = leaking.measure_leakage(networks[0], found[0], leakage, plugins(), resamples=resamples)
            result = evolve(result, leakage=leaked)
        for kind, path in files.items():
            (draft / path.name).write_text(writers[kind](result), encoding="utf-8")
    if as_json:
        typer.echo(tables.format_json(result), nl=False)
        return
    tables.print_tables(result, Console())
    for path in files.values():
        typer.echo(f"wrote {path}")
    print_next(
        format_command("report", names[0], *networks[0].options), format_command("predict", names[0], "DSM.tif", "--out", "maps")
    )
