"""What the core itself registers, through the hooks that packages use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forestgaps_core.hookspecs import hookimpl
from forestgaps_core.kinds import COMMAND_KINDS, KINDS, BuildContext, Kind, build


@hookimpl
def forestgaps_kinds() -> Mapping[str, Kind]:
    return {**KINDS, **COMMAND_KINDS}


@hookimpl(trylast=True)
def forestgaps_build(kind: str, config: Any, context: BuildContext) -> Any:
    return build(kind, config, context.arguments, context)
