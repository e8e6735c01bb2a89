"""An exporter for other programs: the weights as JSON."""

import json

from attrs import field, frozen
from attrs.validators import ge, le

from forestgaps_core.inference.exporting import Export


@frozen(kw_only=True)
class Weights:
    """Weights as lists of numbers in a JSON file."""

    digits: int = field(default=6, validator=[ge(1), le(17)], metadata={"help": "Significant digits of a number."})

    def build(self):
        def export(network, source):
            weights = {
                name: [float(f"{value:.{self.digits}g}") for value in tensor.flatten().tolist()]
                for name, tensor in network.state_dict().items()
            }
            table = {"resolution_m": source.plan["resolution_m"], "weights": weights}
            return Export(
                data=json.dumps(table).encode(),
                file="weights.json",
                opening="Data: JSON.",
                facts={"digits": str(self.digits)},
                figures={"tensors": len(weights)},
                notes=(f"{len(weights)} tensors",),
            )

        return export
