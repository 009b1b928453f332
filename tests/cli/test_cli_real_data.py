"""The commands on real photos, from a folder to a table; they take minutes."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from udit_bench.cli.progress import ProgressLines
from udit_bench.registry import METHODS

ONE_EPOCH = ("--epochs", "1", "--threads", "1", "--device", "cpu")


@pytest.fixture(scope="module")
def horses(real_data):
    return real_data("horse2zebra")


@pytest.fixture(scope="module", params=METHODS.names())
def method(request):
    return request.param


@pytest.fixture(scope="module")
def arguments(kit, method):
    """The words that train the method for an epoch on a data set, as small as it gets."""
    tiny = kit.tiny_words(method, size=64)
    return lambda data, *more: (
        "train",
        "--method",
        method,
        "--data",
        data,
        *tiny,
        *ONE_EPOCH,
        *more,
    )


@pytest.fixture(scope="module")
def trained(run_cli, arguments, horses, method, tmp_path_factory):
    """A tiny run after one epoch of all photos."""
    runs = tmp_path_factory.mktemp("horses") / "runs"
    code, _, err = run_cli(*arguments(horses, "--runs", runs))
    assert code == 0, err
    return runs / "horse2zebra" / method / "seed0"


def check_translations(folder, labels):
    """The files are those that coco.json names; returns how many pictures and masks."""
    pictures = masks = 0
    for direction, label in zip(("AtoB", "BtoA"), reversed(labels), strict=True):
        document = json.loads((folder / direction / "coco.json").read_text())
        assert [c["name"] for c in document["categories"]] == [label]
        names = {
            image["id"]: image["file_name"].removesuffix(".png") for image in document["images"]
        }
        expected = {f"{names[a['image_id']]}_{a['instance']}.png" for a in document["annotations"]}
        assert {p.name for p in (folder / direction / "masks").iterdir()} == expected
        assert {p.stem for p in (folder / direction / "images").iterdir()} == set(names.values())
        for name in sorted(expected)[:5]:
            mask = np.array(Image.open(folder / direction / "masks" / name))
            assert mask.shape == (64, 64)
            assert set(np.unique(mask)) <= {0, 255}
        pictures, masks = pictures + len(names), masks + len(expected)
    return pictures, masks


@pytest.mark.slow
def test_photos_of_horses_train_and_give_a_mask_per_instance(run_cli, horses, trained, tmp_path):
    info = json.loads((trained / "run.json").read_text())
    assert (info["state"], info["split"]) == ("finished", "train")
    assert info["labels"] == ["horse", "zebra"]
    out = tmp_path / "made"
    code, _, err = run_cli("translate", trained, "--out", out, "--device", "cpu")
    assert code == 0, err
    annotated = [
        sum(not note.get("iscrowd") for note in json.loads(path.read_text())["annotations"])
        for path in sorted(horses.glob("annotations/instances_test?.json"))
    ]
    pictures, masks = check_translations(out, info["labels"])
    assert pictures > 0
    assert 0 < masks <= sum(annotated)  # one that vanishes at 64 x 64 may be left out


@pytest.mark.slow
def test_photos_of_horses_resume_bit_identical(
    run_cli, arguments, horses, trained, method, tmp_path, monkeypatch
):
    words = arguments(horses, "--runs", tmp_path)

    def power_cut(self, progress):
        if progress.total == 15:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(ProgressLines, "on_step", power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            run_cli(*words, "--save-every", "10")
    code, _, err = run_cli(*words, "--resume")
    assert code == 0, err
    place = "checkpoints/last/tensors.safetensors"
    one = load_file(tmp_path / "horse2zebra" / method / "seed0" / place)
    other = load_file(trained / place)
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.slow
def test_judge_trained_on_the_photos_scores_the_run(
    run_cli, horses, trained, method, tmp_path, read_lines
):
    weights, results = tmp_path / "judge.safetensors", tmp_path / "results"
    code, out, err = run_cli(
        "detector", "train", "--data", horses, "--size", "64", "--iterations", "5",
        "--out", weights, "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    assert "trained on train only" in out
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["judge.safetensors"]
    code, out, err = run_cli(
        "eval", trained, "--split", "test", "--detector-weights", weights, "--results", results,
        "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    records = read_lines(results / "records.jsonl")
    rows = 2 + len(METHODS.load(method).variants)  # with the two bounds
    assert len(records) == rows * 2 * 2  # directions, protocols
    assert {record["target"] for record in records} == {"horse", "zebra"}
    assert {record["split"] for record in records} == {"test"}


@pytest.mark.slow
def test_detections_json_scores_the_run(run_cli, trained, method, tmp_path, read_lines):
    results, found = tmp_path / "results", []
    code, _, err = run_cli("translate", trained, "--out", tmp_path / "made", "--device", "cpu")
    assert code == 0, err
    for direction in ("AtoB", "BtoA"):
        document = json.loads((tmp_path / "made" / direction / "coco.json").read_text())
        found += [
            {key: note[key] for key in ("image_id", "category_id", "segmentation")} | {"score": 0.8}
            for note in document["annotations"]
            if note["area"] > 0
        ]
    detections = tmp_path / "found.json"
    detections.write_text(json.dumps(found))
    code, _, err = run_cli(
        "eval", trained, "--detections", detections, "--results", results, "--device", "cpu"
    )
    assert code == 0, err
    first = next(iter(METHODS.load(method).variants))  # what `translate` wrote
    records = [
        r
        for r in read_lines(results / "records.jsonl")
        if (r["row"], r["variant"]) == (method, first)
    ]
    assert len(records) == 4
    for record in records:
        drawn = [
            note
            for note in json.loads(
                (tmp_path / "made" / record["direction"] / "coco.json").read_text()
            )["annotations"]
        ]
        share = 100 * sum(note["area"] > 0 for note in drawn) / len(drawn)
        assert record["metrics"]["mmr"]["value"] == pytest.approx(share, abs=1e-3)


@pytest.mark.slow
def test_sample_pictures_of_instagan_train_and_translate(
    run_cli, kit, arguments, method, real_data, tmp_path
):
    data = real_data("instagan_layout/shp2gir_coco")
    runs = tmp_path / "runs"
    code, _, err = run_cli(*arguments(data, "--runs", runs))
    assert code == 0, err
    run = runs / "shp2gir_coco" / method / "seed0"
    info = json.loads((run / "run.json").read_text())
    assert (info["split"], info["labels"]) == ("sample", ["sheep", "giraffe"])
    code, _, err = run_cli("translate", run, "--split", "test", "--device", "cpu")
    assert code == 3
    assert "no split 'test'" in kit.only_error(err)
    out = tmp_path / "made"
    code, _, err = run_cli("translate", run, "--split", "sample", "--out", out, "--device", "cpu")
    assert code == 0, err
    pictures, masks = check_translations(out, info["labels"])
    assert pictures == sum(len(list((data / name).iterdir())) for name in ("sampleA", "sampleB"))
    assert masks > 0
