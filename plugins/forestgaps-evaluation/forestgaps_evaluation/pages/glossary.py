"""What the words of a page mean, for readers who never saw the code."""

from __future__ import annotations

CANOPY_GAP = (
    "Canopy gap",
    "A place where the top of the vegetation is lower than a chosen height above the ground, the threshold. Every pixel is "
    "either gap or "
    "canopy; a gap at 5 m is also one at 10 m.",
)
DSM = (
    "Surface model (DSM)",
    "Elevation of whatever is on top, tree crowns or bare ground, from lidar or photographs. It does not say where the "
    "ground is below "
    "the trees, which is what makes the task hard.",
)
CHM = ("Canopy height model (CHM)", "Height of the vegetation above the ground. Here it is the reference, and only that.")
PROBABILITY = (
    "Probability",
    "What the network returns for each pixel and threshold, between 0 and 100 %. A pixel is mapped as gap where it is 50 % "
    "or more.",
)
HILLSHADE = ("Relief (hillshade)", "The surface lit from the upper left, so that crowns and slopes show as light and shadow.")
GAP_SIZE = (
    "Gap size",
    "Gap pixels that touch along a side or at a corner form one gap. Gaps that reach the edge of the picture or tile are "
    "cut there, and "
    "counted with the area inside.",
)

MAP_WORDS = [
    CANOPY_GAP,
    DSM,
    PROBABILITY,
    ("Unsure", "Share of the area whose probability lies between 25 % and 75 %."),
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
        "Area that is gap in both the map and the reference, divided by the area that is gap in either: 1 is perfect "
        "agreement. Canopy IoU is "
        "the same for what is not gap.",
    ),
    (
        "Mean IoU",
        "The mean of gap IoU and canopy IoU. It does not reward a map that calls nearly everything gap where nearly everything is.",
    ),
    (
        "Baseline",
        "What a map without any skill would score: the better of calling the whole area gap and calling all of it canopy. A "
        "score is "
        "worth what it has above that.",
    ),
    (
        "Extreme prevalence",
        "Less than 1 % or more than 95 % of the reference is gap. A few pixels decide such scores, so they are shown but not "
        "evaluated.",
    ),
    (
        "Precision and recall",
        "Of the area mapped as gap, the fraction that is gap; of the area that is gap, the fraction that was mapped.",
    ),
    (
        "95 % interval",
        "Where the score would lie in 95 of 100 repetitions if other places of the same kind had been surveyed: from "
        "resampling whole blocks of neighboring tiles many times (bootstrap).",
    ),
    (
        "Calibration error",
        "How far, on average over the pixels, the probabilities lie from the frequency with which gaps really occur where "
        "they were given.",
    ),
    ("Tile", "A square piece of the survey that the network sees at once."),
    ("Test split", "Tiles that were neither trained on nor used for any choice."),
    GAP_SIZE,
    HILLSHADE,
]
