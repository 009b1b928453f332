"""Detections out of a COCO-results json, and the fake ones of tests."""

import hashlib
import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from udit_bench.errors import DataError, UsageError
from udit_bench.metrics.detectors import open_detector
from udit_bench.metrics.detectors.base import Detections
from udit_bench.metrics.detectors.fake import FakeDetector, perfect
from udit_bench.metrics.detectors.file import FileDetector

HEIGHT, WIDTH = 6, 9
PICTURE = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
MASK = np.zeros((HEIGHT, WIDTH), dtype=bool)
MASK[1:4, 2:7] = True


def rle(mask):
    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(code["size"]), "counts": code["counts"].decode()}


def runs(mask):
    """Uncompressed RLE, counted by hand: column by column, zeros first."""
    counts, last = [0], False
    for value in mask.T.ravel():
        if value != last:
            counts.append(0)
            last = value
        counts[-1] += 1
    return {"size": [HEIGHT, WIDTH], "counts": counts}


def entry(**changes):
    good = {"image_id": 7, "category_id": 1, "segmentation": rle(MASK), "score": 0.9}
    return {key: value for key, value in {**good, **changes}.items() if value is not None}


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def reference(path, ids=(7, 8), categories=((1, "giraffe"),)):
    images = [
        {"id": i, "file_name": f"images/scene{i}.png", "height": HEIGHT, "width": WIDTH}
        for i in ids
    ]
    names = [{"id": i, "name": name} for i, name in categories]
    return write(path, {"images": images, "categories": names, "annotations": []})


@pytest.fixture
def coco(tmp_path):
    return reference(tmp_path / "coco.json")


@pytest.fixture
def detect(tmp_path, coco):
    """Detections of scene7 from entries (or from raw text)."""

    def run(content, ids=("scene7",), picture=PICTURE):
        detector = FileDetector(write(tmp_path / "found.json", content), {"AtoB": coco})
        return detector.detect([picture] * len(ids), ids, "AtoB")

    return run


def test_an_empty_file_sees_nothing(detect):
    (found,) = detect([])
    assert (found.categories, found.scores.shape) == ((), (0,))
    assert found.masks.shape == (0, HEIGHT, WIDTH)
    assert found.masks.dtype == bool


def test_a_picture_without_entry_has_no_detections(detect):
    first, second = detect([entry(image_id=8)], ids=("scene7", "scene8"))
    assert (len(first.scores), len(second.scores)) == (0, 1)


@pytest.mark.parametrize(
    "segmentation",
    [rle(MASK), runs(MASK), [[2, 1, 7, 1, 7, 4, 2, 4]]],
    ids=["rle", "runs", "polygon"],
)
def test_every_form_of_a_mask(detect, segmentation):
    (found,) = detect([entry(segmentation=segmentation)])
    assert found.categories == ("giraffe",)
    assert found.scores.tolist() == [0.9]
    assert (found.masks[0] == MASK).all()


@pytest.mark.parametrize("seed", range(4))
def test_every_mask_that_pycocotools_writes_is_read(detect, seed):
    masks = np.random.default_rng(seed).random((20, HEIGHT, WIDTH)) > seed / 4
    (found,) = detect([entry(segmentation=rle(mask), score=0.5) for mask in masks])
    assert (found.masks == masks).all()


def test_best_first_down_to_the_stored_floor_and_a_hundred_at_most(detect):
    (found,) = detect([entry(score=s) for s in (0.2, 0.05, 0.9, 0.0499)])
    assert found.scores.tolist() == [0.9, 0.2, 0.05]
    (crowd,) = detect([entry(score=0.1 + k / 1000) for k in range(120)])
    assert len(crowd.scores) == 100
    assert crowd.scores.min() == pytest.approx(0.12)


def test_identity_is_the_digest_of_the_file(tmp_path, coco):
    path = write(tmp_path / "found.json", [entry()])
    identity = FileDetector(path, {"AtoB": coco}).identity
    assert (identity.backend, identity.architecture) == ("file", "")
    assert identity.weights == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (entry(image_id=99), "image_id 99"),
        (entry(image_id="scene7"), "image_id 'scene7'"),
        (entry(image_id=[7]), r"image_id \[7\]"),
        (entry(category_id=91), r"category_id 91 .*1 = giraffe"),
        (entry(category_id=20), r"category_id 20 .*1 = giraffe"),  # sheep in COCO, but 1 is not
        (entry(category_id=None), "needs a category_id"),
        (entry(score=None), "lacks score"),
        (entry(segmentation=None), "lacks segmentation"),
        (entry(score=1.5), r"1\.5 is not in \[0, 1\]"),
        (entry(score=float("nan")), "nan is not in"),
        (entry(score="high"), "'high' is not a number"),
        (entry(segmentation="far left"), "segmentation"),
        (entry(segmentation=[]), "segmentation"),
        (entry(segmentation=[[1, 1, 4, 4]]), "three or more"),
        (entry(segmentation={"size": [WIDTH, HEIGHT], "counts": "PR1"}), "size"),
        (entry(segmentation={"size": [HEIGHT, WIDTH], "counts": ""}), "cover"),
        (entry(segmentation={"size": [HEIGHT, WIDTH], "counts": "zzz"}), "cover"),
        (entry(segmentation={"size": [HEIGHT, WIDTH], "counts": [3, 2]}), "cover"),
        (entry(segmentation={"size": [HEIGHT, WIDTH], "counts": [3, 900]}), "cover"),
        (entry(segmentation={"size": [HEIGHT, WIDTH], "counts": [3, -2, 53]}), "segmentation"),
        (entry(segmentation={"size": [HEIGHT, WIDTH], "counts": 5}), "segmentation"),
        ("sheep", "not a json object"),
    ],
)
def test_a_bad_entry_is_named_by_file_and_index(detect, bad, message):
    with pytest.raises(DataError, match=rf"found\.json: entry 1: .*{message}"):
        detect([entry(), bad])


@pytest.mark.parametrize(
    ("content", "message"),
    [('[{"image_id": 7,', "not a json file"), ({"images": []}, "is a list of detections")],
)
def test_a_file_that_is_not_results(detect, content, message):
    with pytest.raises(DataError, match=rf"found\.json: .*{message}"):
        detect(content)


def test_missing_and_foreign_files(tmp_path, coco):
    with pytest.raises(DataError, match=r"cannot read .*none\.json"):
        FileDetector(tmp_path / "none.json", {"AtoB": coco})
    results = write(tmp_path / "found.json", [])
    with pytest.raises(DataError, match=r"found\.json: not a coco\.json"):
        FileDetector(results, {"AtoB": results})


def test_only_the_pictures_that_the_reference_lists(detect, tmp_path, coco):
    with pytest.raises(DataError, match="no picture 'scene9'"):
        detect([], ids=("scene9",))
    with pytest.raises(DataError, match=r"\(6, 9\).*\(12, 18\)"):
        detect([], picture=np.zeros((12, 18, 3), np.uint8))
    with pytest.raises(DataError, match=r"no coco\.json for 'BtoA'"):
        FileDetector(tmp_path / "found.json", {"AtoB": coco}).detect([], [], "BtoA")


def test_two_domains_in_one_file_need_different_ids(tmp_path, coco):
    other = reference(tmp_path / "other.json", ids=(8, 9), categories=((2, "sheep"),))
    both = {"AtoB": coco, "BtoA": other}
    good = write(tmp_path / "good.json", [entry(), entry(image_id=9, category_id=2)])
    detector = FileDetector(good, both)
    assert detector.detect([PICTURE], ["scene7"], "AtoB")[0].categories == ("giraffe",)
    assert detector.detect([PICTURE], ["scene9"], "BtoA")[0].categories == ("sheep",)
    with pytest.raises(DataError, match=r"entry 0: image_id 8 is in .*coco.* and .*other"):
        FileDetector(write(tmp_path / "bad.json", [entry(image_id=8)]), both)


def test_a_name_is_understood_and_coco_numbers_where_nothing_contradicts_them(tmp_path, detect):
    (found,) = detect([entry(category_id=None, category="zebra")])
    assert found.categories == ("zebra",)
    coco = reference(tmp_path / "numbers.json", categories=((25, "giraffe"),))
    results = write(tmp_path / "all.json", [entry(category_id=25), entry(category_id=20)])
    found = FileDetector(results, {"AtoB": coco}).detect([PICTURE], ["scene7"], "AtoB")[0]
    assert found.categories == ("giraffe", "sheep")


def test_fakes_see_what_they_are_told():
    masks = MASK[None]
    fake = FakeDetector.seeing({("AtoB", "a"): masks}, "giraffe", 0.7)
    first, second = fake.detect([PICTURE, PICTURE], ["a", "b"], "AtoB")
    assert (first.categories, first.scores.tolist()) == (("giraffe",), [0.7])
    assert (first.masks == masks).all()
    assert second.masks.shape == (0, HEIGHT, WIDTH)

    def left(image, name, domain):
        return perfect(masks, f"{name}-{domain}") if image.any() else Detections.none((6, 9))

    found = FakeDetector(left).detect([PICTURE, PICTURE + 1], ["a", "b"], "A")
    assert [f.categories for f in found] == [(), ("b-A",)]
    assert FakeDetector().identity.backend == "fake"


def test_opening_by_name(tmp_path, coco):
    results = write(tmp_path / "found.json", [entry()])
    opened = open_detector("file", dataset="x", detections=results, references={"AtoB": coco})
    assert isinstance(opened, FileDetector)
    assert isinstance(open_detector("fake", dataset="x"), FakeDetector)
    with pytest.raises(UsageError, match="needs --detections"):
        open_detector("file", dataset="x")
    with pytest.raises(UsageError, match="not for 'fake'"):
        open_detector("fake", dataset="x", detections=results)
    with pytest.raises(UsageError, match="no weights"):
        open_detector("fake", dataset="x", weights=results)
    with pytest.raises(UsageError, match="Did you mean 'torchvision'"):
        open_detector("torchvison", dataset="x")
