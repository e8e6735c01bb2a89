"""The glossary of report pages."""

from __future__ import annotations

CANOPY_GAP = (
    "Canopy gap",
    "A place where the vegetation is lower than a chosen height above the ground, the threshold. Every pixel is either gap or "
    "canopy. A gap at 5 m is also a gap at 10 m.",
)
DSM = (
    "Surface model (DSM)",
    "Elevation of the surface, tree crowns or bare ground, from lidar or photographs. It does not contain the ground below the "
    "trees, which makes the task difficult.",
)
CHM = ("Canopy height model (CHM)", "Height of the vegetation above the ground. Here it is used only as the reference.")
PROBABILITY = (
    "Probability",
    "The output of the network for each pixel and threshold, between 0 and 100 %. A pixel is mapped as gap if it is 50 % or more.",
)
HILLSHADE = ("Relief (hillshade)", "The surface, illuminated from the upper left. Crowns and slopes appear as light and shadow.")
GAP_SIZE = (
    "Gap size",
    "Gap pixels that touch at a side or a corner form one gap. Gaps at the edge of the map or tile are cut there, and counted "
    "with the area inside.",
)

MAP_WORDS = [
    CANOPY_GAP,
    DSM,
    PROBABILITY,
    ("Uncertain", "Fraction of the area with a probability between 25 % and 75 %."),
    GAP_SIZE,
    HILLSHADE,
]
RUN_WORDS = [
    CANOPY_GAP,
    DSM,
    CHM,
    PROBABILITY,
    ("Gap fraction", "Part of the surveyed area that is gap. The reference has one for each threshold, and so has the map."),
    (
        "IoU (intersection over union)",
        "Area that is gap in both the map and the reference, divided by the area that is gap in either: 1 is perfect agreement. "
        "Canopy IoU is the same for what is not gap.",
    ),
    (
        "Mean IoU",
        "The mean of gap IoU and canopy IoU. A map in which nearly everything is gap has a low score, even if nearly everything "
        "is gap.",
    ),
    (
        "Baseline",
        "The score of a map without skill: the better of a map that is all gap and a map that is all canopy. Only the difference "
        "to this score is skill.",
    ),
    (
        "Extreme prevalence",
        "Less than 1 % or more than 95 % of the reference is gap. A few pixels decide such scores, so they are shown but not "
        "evaluated.",
    ),
    (
        "Precision and recall",
        "Precision: the fraction of the mapped gap area that is gap. Recall: the fraction of the gap area that was mapped.",
    ),
    (
        "95 % interval",
        "The uncertainty of the score due to the choice of places. It is computed by resampling whole blocks of neighboring "
        "tiles (bootstrap).",
    ),
    (
        "Calibration error",
        "The mean difference, over the pixels, between the probability and the observed frequency of gaps at that probability.",
    ),
    ("Tile", "A square part of the survey, which the network processes at one time."),
    ("Test split", "Tiles that were used neither for training nor for any choice."),
    GAP_SIZE,
    HILLSHADE,
]
