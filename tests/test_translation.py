"""Translating scenes, and the folder in which translations are judged."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from udit_bench.errors import DataError
from udit_bench.scene import DIRECTIONS, Scene, Translation, source_domain
from udit_bench.translation import (
    Translated,
    has_stamp,
    read_direction,
    translate_scenes,
    write_direction,
)


def copies(scenes):
    return [Translated(s.id, s.image, s.masks, s.indices) for s in scenes]


@pytest.fixture
def sources(toy_source):
    """Four scenes with 0, 1, 3 and 1 instances."""
    return toy_source.scenes("val", "A")


@pytest.fixture
def folder(tmp_path, sources):
    """The sources written as if they were translations."""
    write_direction(tmp_path, "AtoB", copies(sources), "giraffe")
    return tmp_path


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        assert (a.id, a.indices) == (b.id, b.indices)
        assert np.array_equal(a.image, b.image)
        assert np.array_equal(a.masks, b.masks)


class Flip:
    """A method that mirrors picture and masks, and notes the sizes of its batches."""

    def __init__(self):
        self.batches = []

    def to(self, device):
        return self

    def eval(self):
        return self

    def translate(self, batch, direction, variant):
        self.batches.append((len(batch), batch.images.shape[-2:], direction, variant))
        return Translation(batch.images.flip(-1), batch.masks.flip(-1) > 0.5, batch.owner)


def test_scenes_are_translated_in_order_and_in_batches(sources):
    method = Flip()
    out = translate_scenes(
        method, sources, "AtoB", variant="v", size=(32, 32), batch_size=3
    )  # fmt: skip
    assert_same(
        out,
        [Translated(s.id, s.image[:, ::-1], s.masks[:, :, ::-1], s.indices) for s in sources],
    )
    assert method.batches == [(3, (32, 32), "AtoB", "v"), (1, (32, 32), "AtoB", "v")]


def test_scenes_are_resized_first_and_keep_instances_that_vanish():
    masks = np.zeros((2, 8, 8), bool)
    masks[0, :4], masks[1, 1, 1] = True, True
    scene = Scene(np.zeros((8, 8, 3), np.uint8), masks, "sheep", "s", indices=(4, 7))
    (out,) = translate_scenes(Flip(), [scene], "AtoB", variant="", size=(4, 2))
    assert out.image.shape == (4, 2, 3)
    assert out.masks.shape == (2, 4, 2)
    assert out.indices == (4, 7)


def test_what_is_written_is_read(folder, sources):
    assert_same(read_direction(folder, "AtoB", sources), copies(sources))


def test_files_are_named_by_the_instance_numbers_of_the_source(tmp_path, scene_set, sources):
    scene = sources[2]
    scene = Scene(scene.image, scene.masks, scene.label, scene.id, indices=(2, 5, 11))
    write_direction(tmp_path, "BtoA", copies([scene]), "sheep")
    names = sorted(path.name for path in (tmp_path / "BtoA" / "masks").iterdir())
    assert names == ["valA_2_11.png", "valA_2_2.png", "valA_2_5.png"]
    assert_same(read_direction(tmp_path, "BtoA", scene_set([scene])), copies([scene]))


def test_a_missing_mask_is_an_empty_one(folder, sources):
    (folder / "AtoB" / "masks" / "valA_2_1.png").unlink()
    read = read_direction(folder, "AtoB", sources)[2]
    assert read.masks.any((1, 2)).tolist() == [True, False, True]


def test_a_folder_without_masks_dropped_every_instance(folder, sources):
    (folder / "AtoB" / "masks").rename(folder / "elsewhere")
    assert not any(item.masks.any() for item in read_direction(folder, "AtoB", sources))


@pytest.mark.parametrize("ending", ["jpg", "JPG", "jpeg", "PNG"])
def test_pictures_may_have_another_ending(folder, sources, ending):
    old = folder / "AtoB" / "images" / "valA_1.png"
    kind = "PNG" if ending == "PNG" else "JPEG"
    Image.open(old).save(old.with_name("new"), kind)
    old.unlink()
    old.with_name("new").rename(old.with_suffix(f".{ending}"))
    read = read_direction(folder, "AtoB", sources)[1]
    assert np.abs(read.image.astype(int) - sources[1].image).mean() < 40


def spoil_missing(base):
    (base / "images" / "valA_1.png").unlink()
    return "valA_1.png"


def spoil_picture(base):
    (base / "images" / "valA_1.png").write_bytes(b"\x89PNG half")
    return "valA_1.png"


def spoil_mask(base):
    (base / "masks" / "valA_1_0.png").write_bytes(b"")
    return "valA_1_0.png"


def spoil_size(base):
    Image.new("L", (31, 32)).save(base / "masks" / "valA_1_0.png")
    return r"valA_1_0.png is 31 x 32, its picture 32 x 32"


def spoil_number(base):
    Image.new("L", (32, 32)).save(base / "masks" / "valA_1_1.png")
    return r"valA_1_1.png: valA_1 has no instance 1 \(its instances: 0\)"


def spoil_scene(base):
    Image.new("L", (32, 32)).save(base / "masks" / "other_0.png")
    return r"other_0.png: no source scene"


def spoil_name(base):
    Image.new("L", (32, 32)).save(base / "masks" / "valA_x.png")
    return r"valA_x.png: masks are named"


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_missing, spoil_picture, spoil_mask, spoil_size, spoil_number, spoil_scene, spoil_name,
    ],
)  # fmt: skip
def test_a_faulty_file_is_named(folder, sources, spoil):
    with pytest.raises(DataError, match=spoil(folder / "AtoB")):
        read_direction(folder, "AtoB", sources)


def test_coco_files_are_valid_and_their_ids_unique_over_both_directions(tmp_path, toy_source):
    images, annotations = [], []
    for direction in DIRECTIONS:
        scenes = toy_source.scenes("val", source_domain(direction))
        folder = write_direction(tmp_path, direction, copies(scenes), "thing")
        coco = COCO(folder / "coco.json")
        images += coco.getImgIds()
        annotations += coco.getAnnIds()
        for image in coco.loadImgs(coco.getImgIds()):
            assert (folder / "images" / image["file_name"]).is_file()
            scene = scenes[scenes.ids.index(image["file_name"].removesuffix(".png"))]
            own = coco.loadAnns(coco.getAnnIds(image["id"]))
            assert [a["instance"] for a in own] == list(scene.indices)
            for annotation, mask in zip(own, scene.masks, strict=True):
                assert np.array_equal(coco.annToMask(annotation), mask)
                assert annotation["area"] == mask.sum()
                rows, columns = np.nonzero(mask)
                assert annotation["bbox"] == [
                    columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1,
                ]  # fmt: skip
        assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == ["thing"]
    assert len(images) == len(set(images)) == 8
    assert len(annotations) == len(set(annotations)) == 5 + 6


def test_an_empty_mask_is_written_as_such(tmp_path, sources, scene_set):
    scene = sources[1]
    empty = Translated(scene.id, scene.image, np.zeros_like(scene.masks), scene.indices)
    folder = write_direction(tmp_path, "AtoB", [empty], "giraffe")
    (annotation,) = json.loads((folder / "coco.json").read_text())["annotations"]
    assert (annotation["area"], annotation["bbox"]) == (0, [0, 0, 0, 0])
    assert not read_direction(tmp_path, "AtoB", scene_set([scene]))[0].masks.any()


def test_a_failing_translation_leaves_nothing_half_written(tmp_path, sources):
    def broken():
        yield copies(sources)[0]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_direction(tmp_path, "AtoB", broken(), "giraffe")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_translation_keeps_the_former_one(folder, sources):
    def broken():
        yield replace(copies(sources)[0], image=np.zeros((32, 32, 3), np.uint8))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_direction(folder, "AtoB", broken(), "giraffe")
    assert [path.name for path in folder.iterdir()] == ["AtoB"]
    assert_same(read_direction(folder, "AtoB", sources), copies(sources))


def test_a_new_translation_replaces_the_former_one_whole(folder, sources):
    write_direction(folder, "AtoB", copies(sources)[:1], "giraffe")
    assert [path.name for path in (folder / "AtoB" / "images").iterdir()] == ["valA_0.png"]


def test_a_stamp_is_recognised_until_anything_changes(tmp_path, sources):
    stamp = {"steps": 5, "scenes": sources.fingerprint()}
    assert not has_stamp(tmp_path, "AtoB", stamp)
    write_direction(tmp_path, "AtoB", copies(sources), "giraffe", stamp)
    assert has_stamp(tmp_path, "AtoB", stamp)
    assert not has_stamp(tmp_path, "AtoB", {**stamp, "steps": 6})
    (tmp_path / "AtoB" / "translation.json").write_text("{")
    assert not has_stamp(tmp_path, "AtoB", stamp)
