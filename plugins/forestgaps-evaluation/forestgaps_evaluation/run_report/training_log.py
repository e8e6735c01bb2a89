"""The training log that callbacks wrote to the folder of a run, and its charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

from attrs import frozen

from forestgaps_core.files.safe_opening import MAX_LOG_BYTES, parse_json, read_text
from forestgaps_core.output.counts import format_count
from forestgaps_evaluation.pages.charts import Chart, Scale, make_linear_scale, make_score_scale

MAX_VALUES = 10_000_000  # rows times names of scores: limits the memory
MAX_VALUE = 1e30  # larger values are neither a score nor an epoch


@frozen(eq=False)
class TrainingLog:
    """Scores after each epoch.

    Attributes:
        epochs: Completed epochs, one per row.
        scores: Values by name; NaN where a row has no value.
    """

    epochs: tuple[int, ...]
    scores: Mapping[str, tuple[float, ...]]

    def first(self, *endings: str) -> str | None:
        """Return the first score whose name has one of the endings, in the order of the endings."""
        for ending in endings:
            for name in self.scores:
                if name.endswith(ending):
                    return name
        return None


def read_training_log(run: Path) -> TrainingLog | None:
    """Return the epochs in the JSON lines of the run; None without a log or without epochs."""
    for path in sorted(run.glob("*.jsonl")) if run.is_dir() else []:
        rows = []
        for line in read_lines(path):
            try:
                row = parse_json(line)
            except ValueError:  # truncated by a crash, or written by another program
                continue
            if (
                isinstance(row, dict)
                and row.get("row") == "epoch"
                and type(row.get("epoch")) is int
                and 0 < row["epoch"] < MAX_VALUE
            ):
                rows.append(row)
        if rows:
            logged = dict.fromkeys(name for row in rows for name, value in row.items() if "/" in name and is_plausible(value))
            names = list(logged)[: max(MAX_VALUES // len(rows), 1)]
            values = {name: tuple(row[name] if is_plausible(row.get(name)) else float("nan") for row in rows) for name in names}
            return TrainingLog(tuple(row["epoch"] for row in rows), values)
    return None


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file; none if it is not a readable file or is too large."""
    try:
        return read_text(path, MAX_LOG_BYTES, errors="replace").splitlines()
    except OSError:
        return []


def is_plausible(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and (value != value or abs(value) < MAX_VALUE)


def make_training_charts(log: TrainingLog, best: int | None) -> list[Chart]:
    """Return charts of the loss, score and learning rate by epoch, of those that were logged.

    Args:
        best: Epoch of the evaluated weights, marked by a line.
    """
    axis = make_epoch_scale(log.epochs)
    charts = [
        chart
        for chart in (make_loss_chart(log, axis), make_score_chart(log, axis), make_rate_chart(log, axis))
        if chart is not None
    ]
    for chart in charts:
        if best is not None and axis.low <= best <= axis.high:
            chart.upright(best, "marker")
    return charts


def make_loss_chart(log: TrainingLog, axis: Scale) -> Chart | None:
    losses = {name: role for name, role in (("validation/loss", "predicted"), ("train/loss", "reference")) if name in log.scores}
    if not losses:
        return None
    values = [value for name in losses for value in log.scores[name]]
    ends = ", ".join(describe_ends(name, log.scores[name]) for name in losses)
    description = f"Over {format_count(len(log.epochs), 'epoch')}: {ends}."
    chart = Chart("training-loss", "Loss", description, axis, make_linear_scale(values, "loss"))
    for name, role in losses.items():
        chart.line(log.epochs, log.scores[name], role)
    return chart


def make_score_chart(log: TrainingLog, axis: Scale) -> Chart | None:
    name = log.first("/mean_iou", "/mean_iou@mean", "/gap_iou")
    if name is None:
        return None
    label = name.split("/")[-1].replace("_iou", " IoU").replace("_", " ")
    chart = Chart("training-score", "Validation score", describe_ends(name, log.scores[name]) + ".", axis, make_score_scale(label))
    chart.line(log.epochs, log.scores[name], "predicted")
    return chart


def make_rate_chart(log: TrainingLog, axis: Scale) -> Chart | None:
    if "train/rate" not in log.scores:
        return None
    rates = [1e3 * value for value in log.scores["train/rate"]]
    description = describe_ends("learning rate times 1000", rates) + "."
    chart = Chart("training-rate", "Learning rate", description, axis, make_linear_scale(rates, "learning rate × 1000"))
    chart.line(log.epochs, rates, "predicted")
    return chart


def describe_ends(name: str, values: Sequence[float]) -> str:
    """Return the first and last finite value in words."""
    finite = [value for value in values if isfinite(value)]
    return f"{name} from {finite[0]:.4g} to {finite[-1]:.4g}"


def make_epoch_scale(epochs: tuple[int, ...]) -> Scale:
    whole = make_linear_scale([float(epochs[-1])], "epoch", wanted=5)
    ticks = [(value, label) for value, label in whole.ticks if value == int(value) and value <= epochs[-1]]
    return Scale(0.0, float(epochs[-1]), ticks, "epoch")
