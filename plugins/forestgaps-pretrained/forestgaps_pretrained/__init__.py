"""A pretrained network for forestgaps: for maps without training, and as a start for training."""

from __future__ import annotations

from collections.abc import Mapping

from forestgaps_core.hookspecs import hookimpl
from forestgaps_core.kinds import Pretrained, Recipe


@hookimpl
def forestgaps_networks() -> Mapping[str, Pretrained]:
    return {
        "pretrained": Pretrained(
            target="forestgaps_pretrained:small", help="Trained at 1 m on simulated landscapes and steep rainforest of New Zealand."
        )
    }


@hookimpl
def forestgaps_recipes() -> Mapping[str, Recipe]:
    return {
        "finetune": Recipe(
            target="forestgaps_pretrained:finetune.toml",
            help="Fine-tune the network `pretrained` on a folder written by `forestgaps prepare`; less than an hour on a CPU.",
        )
    }
