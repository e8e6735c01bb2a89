"""Settings of the augmentation; `forestgaps_core.data.batch_maker` applies it."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import and_, ge, le, lt


@frozen(kw_only=True)
class Augmentation:
    """Changes of a training tile that keep its gaps."""

    turns: bool = field(default=True, metadata={"help": "One of the eight flips and quarter turns."})
    offset_m: float = field(
        default=100.0,
        validator=and_(ge(0), le(10_000)),
        metadata={"help": "Raise or lower the whole tile by up to so many meters."},
    )
    tilt: float = field(
        default=0.1,
        validator=and_(ge(0), lt(2)),
        metadata={"help": "Tilt the terrain by a plane of up to this slope (rise over run) in each direction."},
    )
    relief_m: float = field(
        default=0.0,
        validator=and_(ge(0), le(1000)),
        metadata={"help": "Add random hills under the canopy, of a standard deviation of up to so many meters."},
    )
    stretch: float = field(
        default=1.0,
        validator=and_(ge(1), le(4)),
        metadata={"help": "Multiply the canopy heights of a tile by a factor between 1 over this and this; 1: as they are."},
    )
    swap: float = field(
        default=0.0,
        validator=and_(ge(0), le(1)),
        metadata={"help": "Share of tiles whose whole canopy is replaced by that of another tile, on their own ground."},
    )
    exchange: float = field(
        default=0.0,
        validator=and_(ge(0), le(1)),
        metadata={"help": "Share of tiles in which a square of canopy is replaced by that of another tile (CutMix of canopies)."},
    )
    blend: float = field(
        default=0.0,
        validator=and_(ge(0), le(1)),
        metadata={"help": "Share of tiles whose canopy heights are averaged with those of another tile (MixUp of canopies)."},
    )


NO_AUGMENTATION = Augmentation(turns=False, offset_m=0.0, tilt=0.0)
