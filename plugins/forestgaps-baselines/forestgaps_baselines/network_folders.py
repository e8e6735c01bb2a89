"""Write the model folders of the filters: python -m forestgaps_baselines.network_folders FOLDER"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from forestgaps_baselines import BASELINES

WEIGHTS = b"\x02\x00\x00\x00\x00\x00\x00\x00{}"  # a safetensors file without tensors
CARD = """# {name}

The ground filter `{name}` as a network without weights. It needs no training. The package `forestgaps-baselines` describes
the method, its settings, and where it is accurate. Probabilities are not calibrated.

```bash
forestgaps predict dsm.tif --network {name} --out maps -t 2,5,10
```
"""


def make_plan(name: str, version: str) -> dict[str, Any]:
    """Return the contents of network.json for a filter with its default settings."""
    owner = {"distribution": "forestgaps-baselines", "version": version}
    return {
        "format": 1,
        "resolution_m": 1.0,
        "config": {
            "model": {"name": "ground_filter", "filter": {"name": name}},
            "thresholds": {"values": [2.0, 3.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]},
            "training": {"batch_size": 1},
            "environment": {"precision": "32", "channels_last": False},
        },
        "components": {
            "model": {"name": "ground_filter", **owner},
            "model.filter": {"name": name, **owner},
        },
        "versions": {"forestgaps-core": version},
        "weights": {
            "file": "model.safetensors",
            "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
            "bytes": len(WEIGHTS),
            "stored_as": "float32",
            "parameters": 0,
        },
    }


def write_network_folders(folder: Path, version: str = "0.1.0") -> None:
    for name in BASELINES:
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "network.json").write_text(json.dumps(make_plan(name, version), indent=2) + "\n", encoding="utf-8")
        (folder / name / "model.safetensors").write_bytes(WEIGHTS)
        (folder / name / "README.md").write_text(CARD.format(name=name), encoding="utf-8")


if __name__ == "__main__":
    write_network_folders(Path(sys.argv[1]))
