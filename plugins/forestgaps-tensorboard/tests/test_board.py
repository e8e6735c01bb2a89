from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.graph_pb2 import GraphDef

from forestgaps_core.testing import check_callback
from forestgaps_tensorboard.board import TensorBoard, TensorBoardConfig
from forestgaps_tracking.testing import ABOUT, CheckpointAtStep, LoggingCallback, log_steps


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    return events


def graph_of(events: EventAccumulator) -> GraphDef:
    return events.Graph()


def points(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_contract(tmp_path: Path) -> None:
    check_callback(TensorBoardConfig(every=7, images=2, images_every=3, histograms_every=2, graph=True), tmp_path)


def test_loss_rate_and_gradient_norm_are_logged_at_intervals(tmp_path: Path, trainer: Any) -> None:
    board = TensorBoard(tmp_path, TensorBoardConfig(every=2))
    board.fit_start(trainer)
    trainer.gradient_norm = torch.tensor(1.5)
    log_steps(board, trainer, {1: 1.0, 2: 3.0, 3: 5.0, 4: 6.0, 5: 9.0})
    board.fit_end(trainer)
    events = read(tmp_path)
    assert points(events, "steps/loss") == [(2, 2.0), (4, 5.5)]
    assert points(events, "steps/gradient_norm") == [(2, 1.5), (4, 1.5)]
    assert points(events, "steps/rate") == [(2, pytest.approx(1e-3)), (4, pytest.approx(1e-3))]


def test_values_of_other_callbacks_are_logged_at_intervals_and_each_epoch(tmp_path: Path, train: Callable[..., Any]) -> None:
    board = TensorBoard(tmp_path, TensorBoardConfig(every=2, images=0, confusion=False, curves=False))
    train({"board": board, "number": LoggingCallback()}, epochs=1)
    events = read(tmp_path)
    assert points(events, "steps/number") == [(2, 1.5), (4, 3.5)]
    assert points(events, "train/number") == [(5, 3.0)]


def test_scores_are_logged_each_epoch_and_those_of_a_threshold_under_the_score(tmp_path: Path, train: Callable[..., Any]) -> None:
    train({"board": TensorBoard(tmp_path, TensorBoardConfig(images=0, confusion=False))}, epochs=2)
    events = read(tmp_path)
    assert {"train/loss", "validation/gaps/gap_fraction", "validation/gaps/gap_fraction/2m"} <= set(events.Tags()["scalars"])
    assert [step for step, _ in points(events, "validation/gaps/gap_fraction/2m")] == [5, 10]
    assert events.Tags()["images"] == []


def test_the_first_tiles_of_the_validation_are_drawn_for_each_threshold(tmp_path: Path, train: Callable[..., Any]) -> None:
    train({"board": TensorBoard(tmp_path, TensorBoardConfig(images=3, images_every=2, confusion=False))}, epochs=4)
    events = read(tmp_path)
    expected = {f"gaps_below_{meters}m/tile_{tile}" for meters in (2, 5, 10) for tile in (1, 2, 3)}
    assert set(events.Tags()["images"]) == expected
    images = events.Images("gaps_below_2m/tile_3")
    assert [image.step for image in images] == [10, 20]
    assert (images[0].height, images[0].width) == (16, 4 * 16 + 3 * 4)


def test_a_resumed_run_hides_what_was_logged_after_its_checkpoint(tmp_path: Path, train: Callable[..., Any]) -> None:
    def run(folder: str, resume: Path | None = None) -> None:
        board = TensorBoard(tmp_path / folder, TensorBoardConfig(every=2, images=1))
        train({"board": board, "keep": CheckpointAtStep(tmp_path / "seven.safetensors", 7)}, epochs=2, resume=resume)

    run("whole")
    run("resumed")
    run("resumed", resume=tmp_path / "seven.safetensors")
    whole, resumed = read(tmp_path / "whole"), read(tmp_path / "resumed")
    assert whole.Tags()["scalars"] == resumed.Tags()["scalars"]
    for tag in whole.Tags()["scalars"]:
        assert points(whole, tag) == points(resumed, tag), tag


def test_a_test_outside_of_training_is_not_drawn(tmp_path: Path, trainer: Any) -> None:
    board = TensorBoard(tmp_path)
    board.evaluation_start(trainer, "test")
    assert board.plots is None


def test_each_threshold_has_a_confusion_matrix_and_a_curve(tmp_path: Path, train: Callable[..., Any]) -> None:
    train({"board": TensorBoard(tmp_path, TensorBoardConfig(images=0))}, epochs=1)
    events = read(tmp_path)
    assert set(events.Tags()["images"]) == {f"confusion/gaps_below_{meters}m" for meters in (2, 5, 10)}
    assert set(events.summary_metadata) >= {f"gaps_below/{meters}m" for meters in (2, 5, 10)}


def test_histograms_are_logged_for_weights_and_gradients(tmp_path: Path, train: Callable[..., Any]) -> None:
    train({"board": TensorBoard(tmp_path, TensorBoardConfig(images=0, histograms_every=2))}, epochs=2)
    events = read(tmp_path)
    assert {"weights/layers.0.weight", "gradients/layers.0.weight"} <= set(events.Tags()["histograms"])
    assert [event.step for event in events.Histograms("weights/layers.0.weight")] == [10]


def test_a_network_full_of_nan_does_not_stop_the_run(tmp_path: Path, trainer: Any) -> None:
    board = TensorBoard(tmp_path, TensorBoardConfig(histograms_every=1))
    board.fit_start(trainer)
    torch.nn.init.constant_(trainer.model.weight, torch.nan)
    trainer.epoch = 1
    board.epoch_end(trainer, {"train/loss": float("nan")})
    board.fit_end(trainer)
    assert read(tmp_path).Tags()["histograms"] == ["weights/bias"]


def test_the_graph_is_logged_once(tmp_path: Path, train: Callable[..., Any]) -> None:
    train({"board": TensorBoard(tmp_path, TensorBoardConfig(images=0, graph=True))}, epochs=2)
    events = read(tmp_path)
    assert events.Tags()["graph"]
    assert any(node.name == "layers/0/conv2d" for node in graph_of(events).node)


def test_a_network_that_cannot_be_drawn_is_reported_and_trains_on(
    tmp_path: Path, train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from forestgaps_tensorboard import graph

    def fails(*arguments: object) -> None:
        raise RuntimeError("a loop over pixels")

    monkeypatch.setattr(graph, "export", fails)
    trainer = train({"board": TensorBoard(tmp_path, TensorBoardConfig(images=0, graph=True))}, epochs=1)
    events = read(tmp_path)
    assert trainer.epoch == 1
    assert "graph/text_summary" in events.Tags()["tensors"]


def test_settings_stand_beside_the_final_scores(tmp_path: Path, train: Callable[..., Any]) -> None:
    train({"board": TensorBoard(tmp_path, TensorBoardConfig(images=0))}, epochs=1, about=ABOUT)
    metadata = read(tmp_path).summary_metadata
    assert {"_hparams_/experiment", "_hparams_/session_start_info", "_hparams_/session_end_info"} <= set(metadata)
    assert b"loss.gamma" in metadata["_hparams_/session_start_info"].plugin_data.content


def test_watching_changes_no_weight(tmp_path: Path, train: Callable[..., Any]) -> None:
    config = TensorBoardConfig(every=2, images=1, histograms_every=1, graph=True)
    watched, plain = train({"board": TensorBoard(tmp_path, config)}, epochs=2), train({}, epochs=2)
    assert all(torch.equal(a, b) for a, b in zip(watched.model.parameters(), plain.model.parameters(), strict=True))


def test_tensorflow_is_not_imported(tmp_path: Path) -> None:
    code = "import sys, forestgaps_tensorboard.board, forestgaps_tensorboard.graph; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
