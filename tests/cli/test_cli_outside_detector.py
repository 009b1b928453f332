"""Detections of photos by another tool: all three metrics, against a computation of its own."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from udit_bench.datasets.catalogue import open_source
from udit_bench.datasets.transforms import fit
from udit_bench.translation import Translated, write_direction

SIZE = (96, 96)


def encoded(mask):
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def expected(reference, results, target):
    """Protocol `retrieval`, straight from its text, by pycocotools' own IoU."""
    iou, score = [], []
    for instance in reference["annotations"]:
        seen = [
            r for r in results
            if (r["image_id"], r["category"]) == (instance["image_id"], target)
            and r["score"] >= 0.5
        ]  # fmt: skip
        overlaps = coco_mask.iou([r["segmentation"] for r in seen], [instance["segmentation"]], [0])
        pairs = [(float(o), r["score"]) for o, r in zip(np.ravel(overlaps), seen, strict=True)]
        best = max((pair for pair in pairs if pair[0] > 0), default=(0.0, 0.0))
        iou.append(best[0])
        score.append(best[1])
    return [100 * np.mean(values) for values in (np.array(iou) >= 0.5, score, iou)]


def invented_results(reference, rng):
    """Moved and eroded instances, of any score, some of another class, as a tool may write them."""
    results = []
    for instance in reference["annotations"]:
        mask = coco_mask.decode(instance["segmentation"]).astype(bool)
        for _ in range(rng.integers(0, 4)):
            moved = np.roll(mask, rng.integers(-3, 4, 2), axis=(0, 1))
            moved[: rng.integers(0, 20)] = False
            results.append({
                "image_id": instance["image_id"],
                "category": str(rng.choice(["giraffe", "giraffe", "sheep"])),
                "segmentation": encoded(moved),
                "score": round(float(rng.uniform(0.3, 1)), 4),
            })  # fmt: skip
    return results


@pytest.mark.parametrize("seed", [0, 1])
def test_a_results_json_gives_the_metrics_of_a_computation_of_its_own(
    run_cli, real_data, read_lines, tmp_path, seed
):
    photos = real_data("instagan_layout") / "shp2gir_coco"
    source = open_source(str(photos), size=SIZE, labels=("sheep", "giraffe"))
    split = source.splits[0]
    scenes = [fit(scene, SIZE) for scene in source.scenes(split, "A")]
    made = [Translated(s.id, s.image, s.masks, s.indices) for s in scenes]
    folder = write_direction(tmp_path / "theirs", "AtoB", made, "giraffe")
    reference = json.loads((folder / "coco.json").read_text())
    results = invented_results(reference, np.random.default_rng(seed))
    path = tmp_path / "detections.json"
    path.write_text(json.dumps(results))
    code, _, err = run_cli(
        "eval", "--translations", tmp_path / "theirs", "--name", "Theirs", "--data", photos,
        "--labels", "sheep,giraffe", "--split", split, "--detections", path,
        "--results", tmp_path / "r",
    )  # fmt: skip
    assert code == 0, err
    (record,) = (
        r for r in read_lines(tmp_path / "r/records.jsonl") if r["protocol"]["name"] == "retrieval"
    )
    assert record["detector"]["backend"] == "file"
    assert record["instances"] == len(reference["annotations"]) >= 20
    got = [record["metrics"][name]["value"] for name in ("mmr", "mods", "mvis")]
    assert got == pytest.approx(expected(reference, results, "giraffe"), abs=1e-6)
    assert 5 < got[0] < 95
