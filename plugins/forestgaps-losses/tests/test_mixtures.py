from __future__ import annotations

import re
from collections.abc import Mapping

import attrs
import pytest
import torch

from forestgaps_core.config.reading import read_component
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.testing import build_component, check_config, check_loss, example_batch, example_logits
from forestgaps_losses.bce import Bce
from forestgaps_losses.crps import Crps
from forestgaps_losses.dice import Dice
from forestgaps_losses.heights import Huber
from forestgaps_losses.mixtures import Mixture, MixtureConfig, SumConfig

PARTS = {"sharp": Bce(pos_weight=3.0), "overlap": Dice(eps=0.1)}
WEIGHTS = {"sharp": 2.0, "overlap": 0.5}


def losses() -> tuple[torch.Tensor, torch.Tensor]:
    batch = example_batch()
    logits = example_logits(batch)
    return Bce(pos_weight=3.0)(logits, batch), Dice(eps=0.1)(logits, batch)


def test_a_sum_is_the_weighted_sum_of_its_parts() -> None:
    batch, (bce, dice) = example_batch(), losses()
    torch.testing.assert_close(
        build_component("loss", SumConfig(parts=PARTS, weights=WEIGHTS))(example_logits(batch), batch), 2 * bce + 0.5 * dice
    )


def test_a_mixture_begins_with_the_weights_given() -> None:
    batch, (bce, dice) = example_batch(), losses()
    mixture = build_component("loss", MixtureConfig(parts=PARTS, weights=WEIGHTS))
    assert {label: weight.item() for label, weight in mixture.compute_weights().items()} == pytest.approx(
        {"sharp": 2, "overlap": 0.5}
    )
    torch.testing.assert_close(mixture(example_logits(batch), batch), 2 * bce + 0.5 * dice)  # log 2 + log 0.5 = 0


def test_the_learned_weight_comes_to_rest_at_half_the_inverse_of_the_loss() -> None:
    """d/ds (exp(-s) L + s / 2) = 0 at exp(-s) = 1 / (2 L)."""
    batch, (bce, dice) = example_batch(), losses()
    mixture = build_component("loss", MixtureConfig(parts=PARTS, weights=WEIGHTS))
    optimizer = torch.optim.Adam(mixture.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        mixture(example_logits(batch), batch).backward()
        optimizer.step()
    weights = mixture.compute_weights()
    torch.testing.assert_close(weights["sharp"], 1 / (2 * bce), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(weights["overlap"], 1 / (2 * dice), rtol=1e-3, atol=1e-3)


def test_what_a_mixture_learned_is_in_its_state() -> None:
    one, other = (build_component("loss", MixtureConfig(parts=PARTS, weights=WEIGHTS)) for _ in range(2))
    with torch.no_grad():
        one.log_variance += 1.5
    other.load_state_dict(one.state_dict())
    batch = example_batch()
    assert other(example_logits(batch), batch) == one(example_logits(batch), batch)


def test_a_learned_mixture_of_nothing_is_nothing() -> None:
    mixture = build_component("loss", MixtureConfig(parts=PARTS, weights=WEIGHTS))
    with torch.no_grad():
        mixture.log_variance += 2.0
    batch = example_batch()
    nothing = attrs.evolve(batch, valid=torch.zeros_like(batch.valid))
    value = mixture(example_logits(batch), nothing)
    assert value == 0
    assert (torch.autograd.grad(value, mixture.log_variance)[0] == 0).all()


def test_mixtures_within_sums_keep_learning() -> None:
    inner = MixtureConfig(parts={"sharp": Bce(), "height": Huber()})
    config = SumConfig(parts={"both": inner, "score": Crps(threshold_weights="rarity")})
    check_loss(config)
    loss = build_component("loss", config)
    assert [type(module) for module in loss.trainable] == [Mixture]
    assert len(list(loss.parameters())) == 1


def test_parts_that_weigh_by_rarity_count_the_gaps_once() -> None:
    calls: list[None] = []

    def gap_fraction() -> tuple[float, ...]:
        calls.append(None)
        return (0.05, 0.1, 0.3)

    rare = Bce(threshold_weights="rarity")
    config = SumConfig(parts={"one": rare, "two": MixtureConfig(parts={"three": rare, "four": rare})})
    build_component("loss", config, gap_fraction=gap_fraction)
    assert len(calls) == 1


@pytest.mark.parametrize("kind", [SumConfig, MixtureConfig])
def test_parts_survive_the_run_file(kind: type) -> None:
    check_config(kind(parts=PARTS, weights=WEIGHTS))


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"parts": {}}, "loss.parts: .*at least one part"),
        ({"parts": {"a": {"name": "dise"}}}, r"loss\.parts\.a\.name: no loss named 'dise' \(did you mean 'dice'\?\)"),
        ({"parts": {"a": {"eps": 0.1}}}, r"loss\.parts\.a\.name: is missing"),
        ({"parts": {"a": {"name": "cosine"}}}, r"loss\.parts\.a\.name: 'cosine' is a component of the kind scheduler"),
        ({"parts": {"a": {"name": "dice", "epps": 0.1}}}, r"loss\.parts\.a\.epps: unknown key \(did you mean 'eps'\?\)"),
        ({"parts": {"a": {"name": "dice", "eps": -1.0}}}, r"loss\.parts\.a\.eps"),
        ({"weights": {"overlap": 0.0}}, r"loss\.weights: .*overlap = 0"),
        ({"weights": {"overlap": True}}, r"loss\.weights\.overlap: found true"),
        ({"weights": {"overlaps": 1.0}}, r"loss\.weights: .*'overlaps' is not a part \(did you mean 'overlap'\?\)"),
        ({"parts": {"a": 3}}, r"loss\.parts\.a: found 3, expected a table"),
    ],
)
def test_mistakes_in_parts_are_reported_with_their_place(table: Mapping[str, object], complaint: str) -> None:
    _, _, problems = read_component("loss", {"name": "sum", **table}, Plugins.discover())
    assert len(problems) == 1
    assert re.match(complaint, problems[0]), problems


def test_all_mistakes_are_reported_at_once() -> None:
    parts = {"a": {"name": "dice", "epps": 0.1}, "b": {"name": "focal", "gamma": "high"}}
    table = {"name": "sum", "parts": parts, "weights": {"a": "much"}}
    _, _, problems = read_component("loss", table, Plugins.discover())
    assert [problem.partition(":")[0] for problem in problems] == ["loss.parts.a.epps", "loss.parts.b.gamma", "loss.weights.a"]


def test_a_part_may_be_named_with_its_package() -> None:
    parts = {"a": {"name": "dice"}, "b": {"name": "forestgaps-losses:dice"}}
    config, names, problems = read_component("loss", {"name": "sum", "parts": parts}, Plugins.discover())
    assert not problems
    assert config.parts["a"] == config.parts["b"]
    assert names["loss.parts.a"] == names["loss.parts.b"] == "forestgaps-losses:dice"
