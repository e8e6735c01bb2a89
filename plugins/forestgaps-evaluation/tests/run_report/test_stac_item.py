from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from forestgaps_core import save_network
from forestgaps_evaluation.counting.network import open_network
from forestgaps_evaluation.run_report.facts import describe_network
from forestgaps_evaluation.run_report.stac_item import format_json, make_identifier, make_stac_item


@pytest.fixture
def item(trained, tmp_path):
    return make_stac_item(describe_network(trained), tmp_path, scores={"forestgaps:test_mean_iou": {"5": 0.5}}, notes="CC BY 4.0")


def test_it_describes_inputs_and_outputs(item, trained):
    properties = item["properties"]
    (surface,), (gaps,) = properties["mlm:input"], properties["mlm:output"]
    assert surface["input"]["shape"] == [-1, 1, -1, -1]
    assert surface["value_scaling"] is None
    assert "pixels of 5 m" in surface["description"]
    assert gaps["result"]["shape"] == [-1, 4, -1, -1]
    assert properties["forestgaps:thresholds_m"] == [2, 5, 10, 20]
    assert properties["mlm:architecture"] == "net"
    assert properties["mlm:total_parameters"] == sum(part.numel() for part in trained.predictor.model.parameters())
    assert properties["description"].endswith("CC BY 4.0")
    assert properties["forestgaps:test_mean_iou"] == {"5": 0.5}


def test_the_weights_are_named_from_beside_it_with_their_checksum(item, trained, tmp_path):
    asset = item["assets"]["weights"]
    assert (tmp_path / asset["href"]).resolve() == trained.checkpoint.resolve()
    data = trained.checkpoint.read_bytes()
    assert asset["file:size"] == len(data)
    assert asset["file:checksum"] == "1220" + hashlib.sha256(data).hexdigest()
    assert asset["mlm:artifact_type"] == "safetensors.torch.save_file"


def test_no_path_of_this_machine_is_written_except_in_the_link(item):
    item["assets"] = {}
    assert str(Path.home()) not in format_json(item)
    assert "/tmp" not in format_json(item)


def test_a_network_folder_has_its_safetensors_described(run, run_file, plugins, tmp_path):
    pytest.importorskip("safetensors")
    folder = save_network(run, tmp_path / "net", plugins=plugins)
    trained = open_network(folder, device="cpu", data=run_file, plugins=plugins)
    asset = make_stac_item(describe_network(trained), folder)["assets"]["weights"]
    assert asset["href"] == "model.safetensors"
    assert asset["mlm:artifact_type"] == "safetensors.torch.save_file"


def test_other_programs_read_it(item, tmp_path):
    pystac = pytest.importorskip("pystac")
    mlm = pytest.importorskip("pystac.extensions.mlm")
    (tmp_path / "model.stac.json").write_text(format_json(item))
    read = pystac.Item.from_file(str(tmp_path / "model.stac.json"))
    model = mlm.MLMExtension.ext(read)
    assert [str(task) for task in model.tasks] == ["semantic-segmentation"]
    assert model.input[0].input.dim_order == ["batch", "channel", "height", "width"]
    assert model.output[0].result.data_type == "float32"
    assert "mlm:model" in read.assets["weights"].roles


def test_it_fits_the_schema_of_stac_items(item):
    jsonschema, referencing = pytest.importorskip("jsonschema"), pytest.importorskip("referencing")
    schemas = pytest.importorskip("pystac.validation.local_validator").get_local_schema_cache()
    registry = referencing.Registry().with_resources(
        [(name, referencing.Resource.from_contents(schema)) for name, schema in schemas.items()]
    )
    whole = next(schema for name, schema in schemas.items() if name.endswith("/item.json"))
    validator = jsonschema.Draft7Validator(whole, registry=registry)
    written = json.loads(format_json(item))
    assert [error.message for error in validator.iter_errors(written)] == []
    del written["properties"]["datetime"]
    assert list(validator.iter_errors(written))


@pytest.mark.parametrize(
    ("name", "wanted"), [("My Run 1", "forestgaps-my-run-1"), ("été", "forestgaps-t"), ("...", "forestgaps-run")]
)
def test_identifiers_are_plain(name, wanted):
    assert make_identifier(name) == wanted


def test_it_is_json_without_numbers_that_are_none(item):
    assert json.loads(format_json(item), parse_constant=pytest.fail) == json.loads(format_json(item))
