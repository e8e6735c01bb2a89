from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest
import torch
from torch import nn

from forestgaps_core.config.thresholds import Thresholds
from forestgaps_core.data.batch_maker import BatchMaker
from forestgaps_core.data.class_balance import ClassBalance
from forestgaps_core.data.loader import SourceDataset, TileLoader, return_unchanged
from forestgaps_core.errors import CheckpointError, ConfigError
from forestgaps_core.testing import check_callback, example_batch, example_logits
from forestgaps_core.training.trainer import Trainer
from forestgaps_rasters.preparation.site_plan import PrepareOptions
from forestgaps_rasters.preparation.site_writing import prepare_sites
from forestgaps_rasters.preparation.sites import Site
from forestgaps_rasters.training.data import Rasters
from forestgaps_rasters.training.hard_examples import HardExamples, HardExamplesConfig, compute_factors, compute_tile_losses

BALANCED = ClassBalance(balance="gaps", thresholds=(5.0,), gap_fractions=(0.29, 0.33))


@pytest.fixture
def prepared(site, tmp_path) -> Path:
    prepare_sites([Site(name="s", folder=site("s"), validation="south 0.4")], tmp_path / "out", PrepareOptions(tile=16, buffer_m=2))
    return tmp_path / "out"


def data_of(folder: Path, sampling: ClassBalance = BALANCED):
    return Rasters(folder=folder, samples_per_epoch=40, sampling=sampling).build()


def test_the_contract(tmp_path) -> None:
    check_callback(HardExamplesConfig(power=2.0), tmp_path)
    callback = HardExamplesConfig().build("hard")
    callback.load_state_dict({"factors": [1.5, 0.5]})
    assert callback.state_dict() == {"factors": [1.5, 0.5]}


def test_difficulty_is_the_mean_cross_entropy_of_a_tile() -> None:
    batch = example_batch(nodata=0.3)
    logits = example_logits(batch)
    found = compute_tile_losses(logits, batch)
    for n in range(len(batch)):
        valid = batch.valid[n].expand_as(logits[n])
        p = logits[n][valid].double().sigmoid()
        right = torch.where(batch.target[n][valid] > 0, p, 1 - p)
        assert found[n].item() == pytest.approx(-right.log().mean().item(), rel=1e-5)
    assert compute_tile_losses(logits, attrs.evolve(batch, valid=torch.zeros_like(batch.valid))).isnan().all()


def test_factors_worked_by_hand() -> None:
    losses = torch.tensor([1.0, 3.0, 6.0, torch.nan, 100.0])
    strata = torch.tensor([[0, 0, 1, 1, -1]])
    # Mean losses 2 and 6, their mean 4; stratum 2 has no tile.
    assert compute_factors(losses, strata, 3, power=1.0, limit=4.0) == [0.5, 1.5, 1.0]
    assert compute_factors(losses, strata, 3, power=2.0, limit=4.0) == [0.25, 2.25, 1.0]
    assert compute_factors(losses, strata, 3, power=2.0, limit=2.0) == [0.5, 2.0, 1.0]
    assert compute_factors(torch.zeros(5), strata, 3, power=1.0, limit=4.0) == [1.0, 1.0, 1.0]
    assert compute_factors(torch.full((5,), torch.nan), strata, 3, power=1.0, limit=4.0) == [1.0, 1.0, 1.0]


def test_a_tile_counts_for_each_of_its_strata() -> None:
    assert compute_factors(torch.tensor([1.0, 3.0]), torch.tensor([[0, 1], [2, 2]]), 3, power=1.0, limit=4.0) == [0.5, 1.5, 1.0]


def test_loader_processes_hear_of_new_factors(prepared) -> None:
    def read(workers: int) -> list[torch.Tensor]:
        train = data_of(prepared).train
        loader = TileLoader(train, batch_size=3, seed=3, workers=workers)
        seen = []
        for epoch in range(2):
            train.strata.emphasize([1.0 if epoch == 0 or n == 0 else 1e-9 for n in range(len(train.strata))])
            loader.seek(epoch)
            seen.append(torch.cat([tiles.dsm for tiles in loader]))
        return seen

    alone, helped = read(0), read(2)
    assert all(torch.equal(one, other) for one, other in zip(alone, helped, strict=True))
    train = data_of(prepared).train
    loader = TileLoader(train, batch_size=3, seed=3)
    loader.seek(1)
    assert not torch.equal(torch.cat([tiles.dsm for tiles in loader]), alone[1]), "the factors changed nothing"


def test_a_spawned_process_shares_them_too(prepared) -> None:
    train = data_of(prepared).train
    loader = torch.utils.data.DataLoader(
        SourceDataset(train),
        batch_sampler=[[(0, draw)] for draw in range(40)],
        collate_fn=return_unchanged,
        num_workers=1,
        multiprocessing_context="spawn",
        persistent_workers=True,
    )
    for only in range(2):
        train.strata.emphasize([1.0 if n == only else 0.0 for n in range(len(train.strata))])
        expected = [train.read(0, draw).dsm for draw in range(40)]
        assert all(torch.equal(tiles.dsm[0, 0], dsm) for tiles, dsm in zip(loader, expected, strict=True))


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 5, padding=2)

    def forward(self, dsm, valid, thresholds):
        return self.layer((dsm - dsm.mean((1, 2, 3), keepdim=True)) / 10).expand(-1, thresholds.shape[1], -1, -1)


class TrainerWithData(Trainer):
    """A trainer that knows the data of its run."""

    data = None


def cross_entropy(logits, batch):
    return nn.functional.binary_cross_entropy_with_logits(logits, batch.target)


def made(folder: Path, *callbacks: object, sampling: ClassBalance = BALANCED):
    torch.manual_seed(0)
    data, model = data_of(folder, sampling), Small()
    trainer = TrainerWithData(
        model=model,
        loss=cross_entropy,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        callbacks={"hard": HardExamples(power=30.0, limit=1e6), **{str(n): callback for n, callback in enumerate(callbacks)}},
        make_train_batch=BatchMaker(thresholds=Thresholds(values=(2.0, 5.0))),
        make_evaluation_batch=BatchMaker(thresholds=Thresholds(values=(2.0, 5.0))),
    )
    trainer.data = data
    return trainer, TileLoader(data.train, batch_size=4, seed=1, shuffle=True), TileLoader(data.validation, batch_size=4)


def test_a_run_resumed_within_an_epoch_goes_on_exactly(prepared) -> None:
    from forestgaps_core import hookimpl

    class Keep:
        state = None

        @hookimpl
        def step_end(self, trainer) -> None:
            if trainer.step == 22:  # the second of ten steps of the third epoch
                self.state = copy.deepcopy(trainer.state_dict())

    keep = Keep()
    whole, train, validation = made(prepared, keep)
    whole.fit(train, validation, epochs=4)
    factors = whole.callbacks["hard"].factors
    assert min(factors) < 0.999 < 1.001 < max(factors)
    assert keep.state["callbacks"]["hard"]["factors"] not in ([], factors)
    again, train, validation = made(prepared, Keep())
    again.load_state_dict(keep.state)
    again.fit(train, validation, epochs=4)
    assert torch.equal(again.model.layer.weight, whole.model.layer.weight)
    assert again.scores == whole.scores
    assert again.callbacks["hard"].factors == factors
    forgetful, train, validation = made(prepared, Keep())
    state = copy.deepcopy(keep.state)
    state["callbacks"]["hard"]["factors"] = []
    forgetful.load_state_dict(state)
    forgetful.fit(train, validation, epochs=4)
    assert not torch.equal(forgetful.model.layer.weight, whole.model.layer.weight), "the factors changed nothing"


def test_factors_reach_the_source_when_an_epoch_begins(prepared) -> None:
    trainer, train, validation = made(prepared)
    trainer.fit(train, validation, epochs=2)
    after = trainer.callbacks["hard"].factors
    before = trainer.data.train.strata.emphasis.tolist()
    assert before not in ([1.0] * len(before), after), "those of the first validation count until the third epoch begins"
    trainer.fit(train, None, epochs=3)
    assert trainer.data.train.strata.emphasis.tolist() == after
    assert trainer.callbacks["hard"].factors == after, "without a validation they stay"


def test_the_test_split_is_not_listened_to(prepared) -> None:
    trainer, _, validation = made(prepared)
    trainer.evaluate(validation, "test")
    assert trainer.callbacks["hard"].losses is None


def test_data_without_classes_is_refused_before_the_first_step(prepared) -> None:
    for lacking in ("none", "nothing"):
        trainer, train, validation = made(prepared, sampling=ClassBalance())
        if lacking == "nothing":
            trainer.data = None
        with pytest.raises(ConfigError, match=r'callbacks.hard_examples: .*balance = "gaps" or "slope" in \[data.sampling\]'):
            trainer.fit(train, validation, epochs=1)
        assert trainer.step == 0


def test_a_checkpoint_of_other_classes_is_refused() -> None:
    callback = HardExamples()
    callback.load_state_dict({"factors": [1.0, 2.0, 3.0]})
    source = SimpleNamespace(strata=[0, 1])
    with pytest.raises(CheckpointError, match="the checkpoint has 3 classes, the data 2"):
        callback.epoch_start(SimpleNamespace(data=SimpleNamespace(train=source, validation=source)))
