"""How many tiles a second each way of running a network maps on one CPU thread, and how far its probabilities are from plain torch.

    python benchmarks/engines.py --json engines.json
    python benchmarks/engines.py --networks unet --ways eager folded bf16 --rounds 9

How to read it: tiles per second belong to the machine; the ratio, of CPU time to that of plain torch in the same round, travels
better: 0.80 means a fifth less. `difference` is the largest of a probability to plain torch in float32, after calibration and
where there is data. The fastest way whose difference stays within 0.001, a quarter of the step that maps are stored with, is exact
enough for a default.

- **eager**: float32, `inference_mode`. The reference.
- **channels_last**: planes last, as `load_predictor` lays them.
- **folded**: the same with batch norms folded into convolutions, as `forestgaps predict` does.
- **compiled**: folded, by `torch.compile` for the one size. Needs a C++ compiler.
- **bf16**: folded, convolutions in bfloat16; whether the processor has instructions for that is printed above the table.
- **int8**: folded, convolutions of 32 planes or more with 8-bit integers, as `forestgaps quantize` writes them, their ranges seen
  on two other tiles.
- **onnxruntime**, **aoti**: as `forestgaps export` writes them.

Networks: the trained `ground_unet` that ships, and `height_unet` and `unet` of the default width, as they are initialized: their
speed is that of trained ones, and their difference says less, since they answer nearly the same everywhere. A run folder may stand
in the place of a name. Needs forestgaps-models, forestgaps-normalization and forestgaps-pretrained; forestgaps-quantization for
int8, forestgaps-export[onnx] for the last two ways.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from interleaved import Comparison, Job, interleaved, record, save, spread, surroundings
from torch import Tensor, nn

from forestgaps_core import load_predictor
from forestgaps_core.inference.batch_norm_folding import fold_batch_norms

THRESHOLDS = (2.0, 5.0, 10.0, 15.0, 20.0)  # meters
SIZES = (256, 512)  # pixels
TOLERANCE = 1e-3  # of a probability
WAYS = ("eager", "channels_last", "folded", "compiled", "bf16", "int8", "onnxruntime", "aoti")

Tensors = tuple[Tensor, Tensor, Tensor]
Answer = Callable[[Tensor, Tensor, Tensor], Tensor]


def networks() -> dict[str, Callable[[], nn.Module]]:
    from forestgaps_models import HeightUNet, UNet

    def initialized(config: HeightUNet | UNet) -> nn.Module:
        torch.manual_seed(0)
        return config.build(nn.BatchNorm2d, 1.0)

    return {
        "ground_unet": lambda: load_predictor("pretrained", device="cpu").model,
        "height_unet": lambda: initialized(HeightUNet()),
        "unet": lambda: initialized(UNet()),
    }


def tile(size: int, seed: int = 0) -> Tensors:
    """A smooth hill with rough canopy and some holes in the survey, (1, 1, size, size)."""
    random = torch.Generator().manual_seed(size + seed)
    hill = 400 + 30 * torch.linspace(-1, 1, size)[:, None] * torch.linspace(0, 1, size)
    crowns = nn.functional.interpolate(torch.rand((1, 1, size // 8, size // 8), generator=random), scale_factor=8, mode="bilinear")
    dsm = hill + 25 * crowns + torch.rand((1, 1, size, size), generator=random)
    valid = torch.ones_like(dsm, dtype=torch.bool)
    valid[..., : size // 8, : size // 4] = False
    return torch.where(valid, dsm, dsm[valid].median()), valid, torch.tensor([THRESHOLDS])


def last(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from the stubs


def answers(network: nn.Module, ways: Iterable[str], example: Tensors) -> Iterator[tuple[str, Answer]]:
    """Each way that this machine and its packages allow; a way that fails says why."""
    folded = last(network)
    count = fold_batch_norms(folded)
    for way in ways:
        try:
            match way:
                case "eager":
                    yield way, network
                case "channels_last":
                    yield way, last(network)
                case "folded":
                    if count:
                        yield way, folded
                case "compiled":
                    made = torch.compile(folded, dynamic=False)
                    with torch.inference_mode():
                        made(*example)
                    yield way, made
                case "bf16":
                    yield way, partial(in_bf16, folded)
                case "int8":
                    yield way, in_int8(folded, example[0].shape[-1])
                case _:
                    yield way, exported(network, way)
        except Exception as error:
            print(f"  skipped {way}: {type(error).__name__}: {str(error).splitlines()[0][:160]}")


def in_bf16(network: nn.Module, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits: Tensor = network(dsm, valid, thresholds)
    return logits.float()


def in_int8(folded: nn.Module, size: int) -> nn.Module:
    from forestgaps_quantization.convolution import replaced
    from forestgaps_quantization.ranges import observed
    from forestgaps_quantization.surfaces import Surface

    network = copy.deepcopy(folded)
    seen = [Surface(*tile(size, seed)[:2]) for seed in (1, 2)]
    replaced(network, observed(network, seen, THRESHOLDS, frozenset()))
    return network


def exported(network: nn.Module, way: str) -> nn.Module:
    from forestgaps_core.inference.exporting import ExportSource, describe_program
    from forestgaps_core.plugins.registry import Plugins
    from forestgaps_export.exporters import export_onnx, export_pt2

    source = ExportSource(Path(), {}, {"resolution_m": 1.0, "config": {}}, None)
    made = (export_onnx if way == "onnxruntime" else export_pt2)(network, source)
    program = describe_program(
        *(network, made.data), engine=made.engine, file=made.file, made_with=made.made_with, multiple=made.multiple
    )
    return Plugins.discover().engine(made.engine).open(made.data, program)


def compared(name: str, ways: Mapping[str, Answer], size: int, rounds: int, calibrated: Callable[[Tensor], Tensor]) -> Comparison:
    """Every way in turns; prints its row of the table."""
    inputs = tile(size)

    def job(answer: Answer) -> Job:
        def run() -> Tensor:
            with torch.inference_mode():
                return answer(*inputs)

        return run

    jobs = {way: job(answer) for way, answer in ways.items()}
    exact = calibrated(jobs["eager"]()).sigmoid()  # type: ignore[arg-type]
    comparison = Comparison(
        f"{name}, {size} x {size} pixels, {len(THRESHOLDS)} thresholds", interleaved(jobs, rounds=rounds), "eager"
    )
    print(comparison.title)
    print(f"  {'':14}  tiles/s   ratio (quartiles)        difference")
    for way, answer_job in jobs.items():
        difference = ((calibrated(answer_job()).sigmoid() - exact).abs() * inputs[1]).max().item()  # type: ignore[arg-type]
        ratio, seconds = comparison.ratios(way), spread(comparison.seconds[way]).median
        verdict = "" if difference <= TOLERANCE else "   too far"
        print(
            f"  {way:14}  {1 / seconds:7.2f}   {ratio.median:.3f} ({ratio.low:.3f} to {ratio.high:.3f})   {difference:.1e}{verdict}"
        )
    print(flush=True)
    return comparison


def instructions() -> str:
    """Which of the processor's instructions for bfloat16 and 8-bit integers there are."""
    try:
        words = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return "unknown"
    return " ".join(word for word in ("avx512_bf16", "amx_bf16", "bf16", "avx512_vnni", "amx_int8") if word in words) or "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11, help="rounds of each comparison")
    parser.add_argument("--networks", nargs="*", default=["ground_unet", "height_unet", "unet"], help="or run folders")
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=WAYS, help="eager is always among them")
    parser.add_argument("--sizes", nargs="*", type=int, default=SIZES)
    parser.add_argument("--json", type=Path, help="file for the seconds of every round")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    about = surroundings(["torch", "torchao", "onnxruntime", "forestgaps-models"]) | {"instructions": instructions()}
    print(", ".join(f"{name} {value}" for name, value in about.items()) + f"; {arguments.rounds} rounds, 1 thread\n")
    wanted, comparisons = dict.fromkeys(["eager", *arguments.ways]), []
    for name in arguments.networks:
        made = networks().get(name)
        network = (made() if made else load_predictor(name, device="cpu").model).eval()
        calibration = load_predictor("pretrained", device="cpu").calibration if name == "ground_unet" else None
        ways: dict[str, Answer] = {}
        for size in arguments.sizes:
            if not ways or "compiled" in ways:  # compiled for one size
                ways = dict(answers(network, wanted, tile(size)))
            comparisons.append(record(compared(name, ways, size, arguments.rounds, calibration or (lambda logits: logits))))
    save(arguments.json, {"about": about, "rounds": arguments.rounds, "comparisons": comparisons})


if __name__ == "__main__":
    main()
