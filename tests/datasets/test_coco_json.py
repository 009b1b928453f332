import json

import numpy as np
import pytest
from pycocotools import mask as rle

from udit_bench.datasets.coco_json import CocoFolder, decode
from udit_bench.errors import DataError


@pytest.fixture
def root(tmp_path, make):
    return make.coco(tmp_path / "horse2zebra")


def test_a_picture_without_annotations_is_a_scene_of_no_instances(root):
    scene = CocoFolder(root).scenes("train", "A")[1]
    assert (scene.id, scene.count, scene.masks.shape) == ("two", 0, (0, 12, 16))


def test_polygons_and_runs_without_crowds(root, make):
    source = CocoFolder(root)
    scene = source.scenes("train", "B")[0]
    assert scene.indices == (0, 1)
    np.testing.assert_array_equal(scene.masks[0], make.box(2, 2, 6, 8))
    np.testing.assert_array_equal(scene.masks[1], make.box(4, 4, 9, 12))
    np.testing.assert_array_equal(scene.image, make.picture(seed=2))
    assert source.labels == ("horse", "zebra")
    assert source.splits == ("train", "test")
    assert source.crowds == 4
    assert "4 crowd regions" in source.about


def test_every_form_of_segmentation_gives_the_same_mask(make):
    mask = make.box(2, 2, 6, 8)
    flat = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    compressed = {"size": flat["size"], "counts": flat["counts"].decode()}
    columns = [2 * 12 + 2, *[4, 8] * 5, 4]
    uncompressed = {"size": [12, 16], "counts": [*columns, 192 - sum(columns)]}
    for form in (compressed, uncompressed, [[2, 2, 8, 2, 8, 6, 2, 6]]):
        np.testing.assert_array_equal(decode(form, (12, 16)), mask)


@pytest.mark.parametrize("seed", range(20))
def test_compressed_codes_of_any_mask_are_accepted(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 300, 2)
    mask = rng.random((height, width)) < rng.choice([0, 0.001, 0.2, 1])
    code = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    code = {"size": [int(height), int(width)], "counts": code["counts"].decode()}
    np.testing.assert_array_equal(decode(code, (height, width)), mask)


def test_polygons_of_several_parts_and_of_too_few_points(make):
    parts = [[0, 0, 3, 0, 3, 3, 0, 3], [8, 8, 12, 8, 12, 10, 8, 10]]
    both = make.box(0, 0, 3, 3) | make.box(8, 8, 10, 12)
    np.testing.assert_array_equal(decode(parts, (12, 16)), both)
    for nothing in ([], [[]], [[1, 1, 9, 9]]):  # four numbers are no box x, y, w, h
        assert not decode(nothing, (12, 16)).any()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 2, 3, 4, 5, 6, 7]], "pairs"),
        ([["a", 2, 3, 4, 5, 6]], "numbers"),
        ([3], "numbers"),
        ([[1, 2, 3, float("nan"), 5, 6]], "finite"),
        ([[1, 2, 3, 1e12, 5, 6]], "far outside"),
        ({"counts": [192]}, "no size"),
        ({"size": [16, 12], "counts": [192]}, "12 x 16, its picture is 16 x 12"),
        ({"size": [12, 16], "counts": [100]}, "add up"),
        ({"size": [12, 16], "counts": [-8, 200]}, "add up"),
        ({"size": [12, 16], "counts": ""}, "broken"),
        ({"size": [12, 16], "counts": "0000"}, "broken"),
        ({"size": [12, 16], "counts": "ooooooooooo0"}, "broken"),
        ({"size": [12, 16], "counts": "P6o"}, "broken"),
        ({"size": [12, 16], "counts": "\u00e4 "}, "broken"),
        ({"size": [12, 16], "counts": None}, "neither"),
    ],
)
def test_malformed_segmentations(segmentation, message):
    with pytest.raises(ValueError, match=message):
        decode(segmentation, (12, 16))


def test_a_segmentation_of_another_size_names_file_and_annotation(root, make):
    make.edit_coco(
        root, "trainA", lambda c: c["annotations"][2]["segmentation"].update(size=[6, 32])
    )
    source = CocoFolder(root)
    with pytest.raises(DataError, match=r"instances_trainA\.json: annotation 3 of one\.png: .*32"):
        source.scenes("train", "A")[0]
    assert source.scenes("train", "A")[1].count == 0


def test_empty_masks_are_left_out_and_the_others_keep_their_numbers(root, make):
    make.edit_coco(root, "testA", lambda c: c["annotations"][0].update(segmentation=[]))
    assert CocoFolder(root).scenes("test", "A")[0].indices == (1,)


def _strike(key, **values):
    return lambda content: content[key][0].update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_strike("annotations", image_id=8), "annotation 1 is for the unknown picture 8"),
        (_strike("annotations", image_id=[7]), "unknown picture"),
        (_strike("annotations", category_id=99), "unknown category 99"),
        (_strike("annotations", segmentation=None), "no segmentation"),
        (_strike("images", id=9), "listed twice"),
        (_strike("images", file_name="two.jpg"), "listed twice"),
        (_strike("images", file_name="../one.png"), "impossible"),
        (_strike("images", width=None), "needs id, file_name, width and height"),
        (_strike("categories", id=None), "category at position 0 needs"),
        (lambda content: content.update(images=[]), "lists no picture|unknown picture"),
        (lambda content: content.pop("annotations"), "no list 'annotations'"),
        (lambda content: content["annotations"].append(4), "not an object"),
    ],
)
def test_contradictions_name_the_annotation_file(root, make, change, message):
    make.edit_coco(root, "testB", change)
    with pytest.raises(DataError, match=rf"instances_testB\.json: .*({message})"):
        CocoFolder(root)


@pytest.mark.parametrize("text", ["{", "[]", "3", '"x"'])
def test_files_that_are_not_coco(root, text):
    (root / "annotations" / "instances_trainA.json").write_text(text)
    with pytest.raises(DataError, match=r"instances_trainA\.json: not"):
        CocoFolder(root)


def test_pictures_that_are_missing_unreadable_or_of_another_size(root, make):
    scenes = CocoFolder(root).scenes("train", "A")
    path = root / "images" / "trainA" / "one.png"
    make.save(path, make.picture(10, 10))
    with pytest.raises(DataError, match=r"one\.png: the picture is 10 x 10, .*says 16 x 12"):
        scenes[0]
    path.write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"one\.png: not a readable picture"):
        scenes[0]
    path.unlink()
    with pytest.raises(DataError, match=r"one\.png: the file is missing"):
        scenes[0]


def _second_category(content):
    content["categories"].append({"id": 4, "name": "cow"})
    content["annotations"][2]["category_id"] = 4


def test_several_categories_need_a_label(root, make):
    make.edit_coco(root, "trainA", _second_category)
    with pytest.raises(DataError, match="cow, horse"):
        CocoFolder(root)
    with pytest.raises(DataError, match="cow, horse"):
        CocoFolder(root, ("animal", "zebra"))
    scene = CocoFolder(root, ("cow", "zebra")).scenes("train", "A")[0]
    assert (scene.label, scene.indices) == ("cow", (1,))
    scene = CocoFolder(root, ("horse", "zebra")).scenes("train", "A")[0]
    assert scene.indices == (0,)


def test_a_label_renames_the_one_category(root):
    source = CocoFolder(root, ("Pferd", "Zebra"))
    assert source.labels == ("Pferd", "Zebra")
    assert source.scenes("test", "A")[0].count == 2


def test_splits_must_agree_on_the_category(root, make):
    make.edit_coco(root, "testA", _strike("categories", name="pony"))
    with pytest.raises(DataError, match="disagree"):
        CocoFolder(root)


def test_without_annotations_the_only_category_is_the_label(root, make):
    for name in ("trainA", "testA"):
        make.edit_coco(root, name, lambda c: c.update(annotations=[]))
    assert CocoFolder(root).labels == ("horse", "zebra")
    for name in ("trainA", "testA"):
        make.edit_coco(root, name, lambda c: c.update(categories=[]))
    with pytest.raises(DataError, match="give the labels"):
        CocoFolder(root)
    assert CocoFolder(root, ("horse", "zebra")).label("A") == "horse"


def test_the_fingerprint_follows_pictures_and_annotations(root, make):
    def fingerprint():
        return CocoFolder(root).scenes("train", "A").fingerprint()

    seen = [fingerprint()]
    assert fingerprint() == seen[0]
    make.save(root / "images" / "trainA" / "two.png", make.picture(seed=50))
    seen.append(fingerprint())
    make.edit_coco(root, "trainA", lambda c: c["annotations"].pop())
    seen.append(fingerprint())
    assert len(set(seen)) == 3


def test_real_horses_and_zebras(real_data):
    root = real_data("horse2zebra")
    source = CocoFolder(root)
    assert source.labels == ("horse", "zebra")
    assert source.name == "horse2zebra"
    told = {"trainA": (425, 981), "trainB": (444, 742), "testA": (110, 272), "testB": (138, 217)}
    for name, (pictures, instances) in told.items():
        content = json.loads((root / "annotations" / f"instances_{name}.json").read_text())
        assert (len(content["images"]), len(content["annotations"])) == (pictures, instances)
        assert len(source.scenes(name[:-1], name[-1])) == pictures
    zebras = source.scenes("test", "B")
    assert sum(scene.count for scene in zebras) == 217
    assert zebras[0].size == (256, 256)
    area = json.loads((root / "annotations" / "instances_testB.json").read_text())["annotations"]
    assert zebras[0].masks[0].sum() == area[0]["area"]
