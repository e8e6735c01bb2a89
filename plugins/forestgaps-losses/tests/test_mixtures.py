from __future__ import annotations

import attrs
import pytest
import torch

from forestgaps_core.config.converter import structure, unstructure
from forestgaps_core.errors import ConfigError
from forestgaps_core.testing import build_component, check_loss, example_batch, example_logits
from forestgaps_losses.bce import Bce
from forestgaps_losses.dice import Dice
from forestgaps_losses.mixtures import Mixture, MixtureConfig, SumConfig, read_part_config

PARTS = {"sharp": {"name": "bce", "weight": 2, "pos_weight": 3.0}, "overlap": {"name": "dice", "weight": 0.5, "eps": 0.1}}


def losses() -> tuple[torch.Tensor, torch.Tensor]:
    batch = example_batch()
    logits = example_logits(batch)
    return Bce(pos_weight=3.0)(logits, batch), Dice(eps=0.1)(logits, batch)


def test_a_sum_is_the_weighted_sum_of_its_parts() -> None:
    batch, (bce, dice) = example_batch(), losses()
    torch.testing.assert_close(build_component("loss", SumConfig(parts=PARTS))(example_logits(batch), batch), 2 * bce + 0.5 * dice)


def test_a_mixture_begins_with_the_weights_given() -> None:
    batch, (bce, dice) = example_batch(), losses()
    mixture = build_component("loss", MixtureConfig(parts=PARTS))
    assert {label: weight.item() for label, weight in mixture.compute_weights().items()} == pytest.approx(
        {"sharp": 2, "overlap": 0.5}
    )
    torch.testing.assert_close(mixture(example_logits(batch), batch), 2 * bce + 0.5 * dice)  # log 2 + log 0.5 = 0


def test_the_learned_weight_comes_to_rest_at_half_the_inverse_of_the_loss() -> None:
    """d/ds (exp(-s) L + s / 2) = 0 at exp(-s) = 1 / (2 L)."""
    batch, (bce, dice) = example_batch(), losses()
    mixture = build_component("loss", MixtureConfig(parts=PARTS))
    optimizer = torch.optim.Adam(mixture.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        mixture(example_logits(batch), batch).backward()
        optimizer.step()
    weights = mixture.compute_weights()
    torch.testing.assert_close(weights["sharp"], 1 / (2 * bce), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(weights["overlap"], 1 / (2 * dice), rtol=1e-3, atol=1e-3)


def test_what_a_mixture_learned_is_in_its_state() -> None:
    one, other = (build_component("loss", MixtureConfig(parts=PARTS)) for _ in range(2))
    with torch.no_grad():
        one.log_variance += 1.5
    other.load_state_dict(one.state_dict())
    batch = example_batch()
    assert other(example_logits(batch), batch) == one(example_logits(batch), batch)


def test_a_learned_mixture_of_nothing_is_nothing() -> None:
    mixture = build_component("loss", MixtureConfig(parts=PARTS))
    with torch.no_grad():
        mixture.log_variance += 2.0
    batch = example_batch()
    nothing = attrs.evolve(batch, valid=torch.zeros_like(batch.valid))
    value = mixture(example_logits(batch), nothing)
    assert value == 0
    assert (torch.autograd.grad(value, mixture.log_variance)[0] == 0).all()


def test_mixtures_within_sums_keep_learning() -> None:
    inner = {"name": "mixture", "parts": {"sharp": {"name": "bce"}, "height": {"name": "huber"}}}
    config = SumConfig(parts={"both": inner, "score": {"name": "crps", "threshold_weights": "rarity"}})
    check_loss(config)
    loss = build_component("loss", config)
    assert [type(module) for module in loss.trainable] == [Mixture]
    assert len(list(loss.parameters())) == 1


def test_parts_that_weigh_by_rarity_count_the_gaps_once() -> None:
    calls: list[None] = []

    def gap_fraction() -> tuple[float, ...]:
        calls.append(None)
        return (0.05, 0.1, 0.3)

    rare = {"name": "bce", "threshold_weights": "rarity"}
    build_component(
        "loss",
        SumConfig(parts={"one": rare, "two": {"name": "mixture", "parts": {"three": rare, "four": rare}}}),
        gap_fraction=gap_fraction,
    )
    assert len(calls) == 1


@pytest.mark.parametrize("kind", [SumConfig, MixtureConfig])
def test_parts_survive_the_run_file(kind: type) -> None:
    config = structure({"parts": PARTS}, kind)
    assert structure(unstructure(config), kind) == config


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ({}, "at least one part"),
        ({"a": {"name": "dise"}}, r"a\.name: found 'dise' \(did you mean 'dice'\?\)"),
        ({"a": {"eps": 0.1}}, r"a\.name"),
        ({"a": {"name": "dice", "epps": 0.1}}, r"a\.epps: unknown key \(did you mean 'eps'\?\)"),
        ({"a": {"name": "dice", "eps": -1.0}}, r"a\.eps"),
        ({"a": {"name": "dice", "weight": 0}}, r"a\.weight"),
        ({"a": {"name": "dice", "weight": True}}, r"a\.weight"),
        ({"a": 3}, "a"),
    ],
)
def test_mistakes_in_parts_are_reported_with_their_place(parts: object, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        structure({"parts": parts}, SumConfig)


def test_all_mistakes_are_told_at_once() -> None:
    parts = {"a": {"name": "dice", "epps": 0.1}, "b": {"name": "focal", "gamma": "high", "weight": -1}}
    with pytest.raises(ConfigError) as caught:
        structure({"parts": parts}, SumConfig)
    assert all(place in str(caught.value) for place in ("a.epps", "b.gamma", "b.weight"))


def test_a_part_may_be_named_with_its_package() -> None:
    parts = {"a": {"name": "dice"}, "b": {"name": "forestgaps-losses:dice"}}
    assert read_part_config("a", parts["a"]) == read_part_config("b", parts["b"])
    with pytest.raises(ValueError, match=r"a\.name: found 'other:dice'"):
        read_part_config("a", {"name": "other:dice"})
