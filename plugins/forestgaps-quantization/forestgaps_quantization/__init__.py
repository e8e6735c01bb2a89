"""Networks that compute with 8-bit integers: the table of names."""

from __future__ import annotations

from collections.abc import Mapping

from forestgaps_core import hookimpl
from forestgaps_core.kinds import Command


@hookimpl
def forestgaps_commands() -> Mapping[str, Command]:
    return {
        "quantize": Command(
            target="forestgaps_quantization.commands:quantize", help="Write a trained network with 8-bit convolutions."
        )
    }


@hookimpl
def forestgaps_engines() -> Mapping[str, str]:
    return {"int8": "forestgaps_quantization.engine:Int8"}


@hookimpl
def forestgaps_callbacks() -> Mapping[str, str]:
    return {"quantization_aware": "forestgaps_quantization.aware:QuantizationAwareConfig"}
