import logging

import numpy as np
import pytest
from PIL import Image

from udit_bench.datasets.instagan_folder import InstaGANFolder, labels_in_name
from udit_bench.datasets.pictures import read_mask, read_picture
from udit_bench.errors import DataError


@pytest.fixture
def root(tmp_path, make):
    return make.instagan(tmp_path / "shp2gir_coco")


def test_a_picture_without_masks_is_a_scene_of_no_instances(root):
    scene = InstaGANFolder(root).scenes("train", "A")[1]
    assert (scene.id, scene.count, scene.indices) == ("two", 0, ())
    assert scene.masks.shape == (0, 12, 16)


def test_masks_keep_their_numbers_and_their_order(root, make):
    make.save(root / "trainA_seg" / "one_10.png", make.box(0, 0, 2, 2))
    scene = InstaGANFolder(root).scenes("train", "A")[0]
    assert scene.indices == (0, 3, 10)  # not 0, 10, 3
    np.testing.assert_array_equal(scene.masks[1], make.box(4, 4, 9, 12))
    np.testing.assert_array_equal(scene.image, make.picture(seed=0))
    assert scene.label == "sheep"


def test_an_empty_mask_is_left_out_and_the_others_keep_their_numbers(root, make):
    make.save(root / "trainA_seg" / "one_1.png", make.box(0, 0, 0, 0))
    assert InstaGANFolder(root).scenes("train", "A")[0].indices == (0, 3)


def test_underscores_in_ids(root, make):
    make.save(root / "trainA" / "one_0.png", make.picture())
    make.save(root / "trainA_seg" / "one_0_7.png", make.box(0, 0, 3, 3))
    scenes = InstaGANFolder(root).scenes("train", "A")
    assert {scene.id: scene.indices for scene in scenes} == {
        "one": (0, 3),
        "one_0": (7,),
        "two": (),
    }


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".PNG"])
def test_suffixes_of_pictures_and_masks(root, make, suffix):
    make.save(root / "trainB" / f"three{suffix}", make.picture())
    make.save(root / "trainB_seg" / f"three_2{suffix}", make.box(0, 0, 8, 8))
    scene = {scene.id: scene for scene in InstaGANFolder(root).scenes("train", "B")}["three"]
    assert scene.indices == (2,)
    assert (scene.masks[0] != make.box(0, 0, 8, 8)).mean() < 0.05


def _encodings(mask):
    """Every way in which a mask comes, by name."""
    one, full = mask.astype(np.uint8), mask.astype(np.uint8) * 255
    yield "grey 0/255", Image.fromarray(full)
    yield "grey 0/1", Image.fromarray(one)
    yield "bit", Image.fromarray(full).convert("1")
    yield "RGB", Image.fromarray(full).convert("RGB")
    yield "RGB 0/1", Image.fromarray(one).convert("RGB")
    yield "pure red", Image.merge("RGB", [Image.fromarray(b) for b in (full, 0 * full, 0 * full)])
    yield "RGBA", Image.fromarray(full).convert("RGBA")
    yield "RGBA 0/1", Image.fromarray(one).convert("RGBA")
    white = Image.new("RGBA", full.shape[::-1], (255, 255, 255, 255))
    white.putalpha(Image.fromarray(full))
    yield "alpha alone", white
    yield "grey and alpha", Image.fromarray(full).convert("LA")
    yield "16 bit", Image.fromarray(full.astype(np.uint16) * 257)
    yield "16 bit 0/1", Image.fromarray(one.astype(np.uint16))
    for name, index, colours in (
        ("palette black, white", one, [0, 0, 0, 255, 255, 255]),
        ("palette white first", 1 - one, [255, 255, 255, 0, 0, 0]),
        ("palette with a dark colour", one, [0, 0, 0, 64, 0, 0]),
        ("palette 0/1 grey", one, [0, 0, 0, 1, 1, 1]),
        ("palette all black", one, [0, 0, 0, 0, 0, 0]),
    ):
        picture = Image.fromarray(index, "L")
        picture = Image.frombytes("P", picture.size, picture.tobytes())
        picture.putpalette(colours)
        yield name, picture


ENCODINGS = [name for name, _ in _encodings(np.eye(4, dtype=bool))]


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("content", ["part", "full", "empty"])
def test_every_encoding_of_a_mask(tmp_path, make, name, content):
    boxes = {"part": (2, 3, 9, 11), "full": (0, 0, 12, 16), "empty": (0, 0, 0, 0)}
    mask = make.box(*boxes[content])
    path = tmp_path / "mask.png"
    dict(_encodings(mask))[name].save(path)
    np.testing.assert_array_equal(read_mask(path), mask)


def test_soft_masks_are_cut_at_128(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "soft.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "soft.png"), grey >= 128)


def test_noise_of_jpeg_is_not_foreground(tmp_path):
    Image.fromarray(np.ones((8, 8), dtype=np.uint8)).save(tmp_path / "mask.jpg")
    assert not read_mask(tmp_path / "mask.jpg").any()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_pictures_of_any_mode_become_rgb(tmp_path, make, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    Image.fromarray(make.picture()).convert(mode).save(tmp_path / f"picture.{suffix}")
    image = read_picture(tmp_path / f"picture.{suffix}")
    assert image.shape == (12, 16, 3)
    assert image.dtype == np.uint8


def test_errors_name_the_file(root, make):
    make.save(root / "trainA_seg" / "one_3.png", make.box(0, 0, 3, 3, height=20, width=30))
    with pytest.raises(DataError, match=r"one_3\.png: the mask is 30 x 20, .*one\.png is 16 x 12"):
        InstaGANFolder(root).scenes("train", "A")[0]
    data = (root / "trainA_seg" / "one_0.png").read_bytes()
    (root / "trainA_seg" / "one_0.png").write_bytes(data[:40])
    with pytest.raises(DataError, match=r"one_0\.png: not a readable picture"):
        InstaGANFolder(root).scenes("train", "A")[0]
    (root / "trainA" / "one.png").write_text("no picture")
    with pytest.raises(DataError, match=r"trainA/one\.png: not a readable picture"):
        InstaGANFolder(root).scenes("train", "A")[0]


def test_a_file_that_goes_away_is_named(root):
    scenes = InstaGANFolder(root).scenes("train", "A")
    (root / "trainA" / "one.png").unlink()
    with pytest.raises(DataError, match=r"one\.png: the file is missing"):
        scenes[0]
    with pytest.raises(DataError, match=r"one\.png: the file is missing"):
        scenes.fingerprint()


def test_two_files_of_one_id_or_number(root, make):
    make.save(root / "testA" / "one.jpg", make.picture())
    make.save(root / "trainA_seg" / "one_0.jpg", make.box(0, 0, 8, 8))
    source = InstaGANFolder(root)
    with pytest.raises(DataError, match="same id"):
        source.scenes("test", "A")
    with pytest.raises(DataError, match="same number"):
        source.scenes("train", "A")


def test_folders_without_masks_or_pictures(root):
    (root / "testA_seg").rename(root / "elsewhere")
    for path in (root / "trainB").iterdir():
        path.unlink()
    source = InstaGANFolder(root)
    with pytest.raises(DataError, match="testA_seg: the folder is missing"):
        source.scenes("test", "A")
    with pytest.raises(DataError, match="trainB: no picture"):
        source.scenes("train", "B")


def test_mask_files_without_a_picture_are_left_out_with_a_warning(root, make, caplog):
    make.save(root / "trainA_seg" / "nobody_0.png", make.box(0, 0, 3, 3))
    assert len(InstaGANFolder(root).scenes("train", "A")) == 2
    assert "nobody_0.png" in caplog.text


def test_splits_need_both_domains(root):
    (root / "valA").mkdir()
    assert InstaGANFolder(root).splits == ("train", "test")
    with pytest.raises(DataError, match="no split 'val'"):
        InstaGANFolder(root).scenes("val", "A")


def test_val_answers_to_test_where_there_is_none(tmp_path, make):
    source = InstaGANFolder(make.instagan(tmp_path, ("train", "val")))
    assert source.resolve("test") == "val"
    assert source.scenes("test", "A") is source.scenes("val", "A")


def test_sample_only(tmp_path, make, caplog):
    source = InstaGANFolder(make.instagan(tmp_path / "pants2skirt_mhp", ("sample",)))
    assert source.splits == ("sample",)
    with caplog.at_level(logging.WARNING):
        assert [source.training_split() for _ in range(3)] == ["sample"] * 3
    assert len(caplog.records) == 1
    for split in ("train", "test"):
        with pytest.raises(DataError) as caught:
            source.resolve(split)
        assert caught.value.exit_code == 3


def test_training_needs_train_where_there_is_more_than_samples(tmp_path, make):
    with pytest.raises(DataError, match="no split 'train'"):
        InstaGANFolder(make.instagan(tmp_path, ("test", "sample"))).training_split()


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("shp2gir_coco", ("sheep", "giraffe")),
        ("shp2gir", ("sheep", "giraffe")),
        ("pants2skirt_mhp", ("pants", "skirt")),
        ("jeans2skirt_ccp", ("jeans", "skirt")),
        ("zeb2elph", ("zebra", "elephant")),
        ("cup2btl_coco", ("cup", "bottle")),
        ("apple2orange", ("apple", "orange")),
        ("photos", ("A", "B")),
    ],
)
def test_labels_from_the_folder_name(name, labels):
    assert labels_in_name(name) == labels


def test_labels_argument_before_file_before_name(root):
    assert InstaGANFolder(root).labels == ("sheep", "giraffe")
    (root / "labels.json").write_text('{"A": "cat", "B": "dog"}')
    assert InstaGANFolder(root).labels == ("cat", "dog")
    assert InstaGANFolder(root, ("x", "y")).labels == ("x", "y")
    for wrong in ("{", "[]", '{"A": "cat"}', '{"A": 1, "B": "dog"}'):
        (root / "labels.json").write_text(wrong)
        with pytest.raises(DataError, match=r"labels\.json"):
            InstaGANFolder(root)


def test_the_fingerprint_follows_pictures_masks_and_names(root, make):
    def fingerprint():
        return InstaGANFolder(root).scenes("train", "A").fingerprint()

    seen = [fingerprint()]
    assert fingerprint() == seen[0]
    make.save(root / "trainA" / "one.png", make.picture(seed=99))
    seen.append(fingerprint())
    make.save(root / "trainA_seg" / "one_0.png", make.box(0, 0, 2, 2))
    seen.append(fingerprint())
    (root / "trainA_seg" / "one_3.png").rename(root / "trainA_seg" / "one_4.png")
    seen.append(fingerprint())
    assert len(set(seen)) == 4


@pytest.mark.parametrize(
    ("name", "pictures", "instances"),
    [("shp2gir_coco", (7, 7), (29, 18)), ("pants2skirt_mhp", (5, 5), (11, 5))],
)
def test_real_folders(real_data, name, pictures, instances):
    source = InstaGANFolder(real_data("instagan_layout") / name)
    sets = [source.scenes("sample", domain) for domain in ("A", "B")]
    assert tuple(map(len, sets)) == pictures
    assert tuple(sum(scene.count for scene in some) for some in sets) == instances
    assert sets[0][0].size == ((256, 256) if name.startswith("shp") else (450, 300))
