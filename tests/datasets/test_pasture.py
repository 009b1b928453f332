import numpy as np
import pytest

from udit_bench.datasets import pasture
from udit_bench.errors import DataError, UsageError

LABELS = ("sheep", "giraffe")
SPLITS = ("train", "val", "test", "judge")


@pytest.fixture(scope="module")
def drawn():
    return [pasture.draw("val", label, index, 64) for label in LABELS for index in range(12)]


def test_the_same_arguments_draw_the_same_scene(drawn):
    for number in (0, 3, 12, 20):
        again = pasture.draw("val", LABELS[number // 12], number % 12, 64)
        np.testing.assert_array_equal(drawn[number].image, again.image)
        np.testing.assert_array_equal(drawn[number].masks, again.masks)


def test_masks_are_disjoint_and_large_enough(drawn):
    for scene in drawn:
        assert scene.masks.sum(0).max() == 1
        assert scene.masks.sum((1, 2)).min() >= 60


def test_scenes_have_one_to_four_instances(drawn):
    counts = {scene.count for scene in drawn}
    assert counts <= {1, 2, 3, 4}
    assert len(counts) > 1


def test_ids_and_labels(drawn):
    assert len({scene.id for scene in drawn}) == len(drawn)
    assert drawn[0].id == "sheep_val_0000"
    assert {scene.label for scene in drawn} == set(LABELS)


@pytest.mark.parametrize("size", [64, 128])
def test_sizes(size):
    scene = pasture.draw("train", "giraffe", 5, size)
    assert scene.size == (size, size)
    assert scene.masks.mean((1, 2)).min() >= pasture.MIN_SHARE


def test_splits_are_distinct():
    images = [
        pasture.draw(split, label, index, 64).image.tobytes()
        for split in SPLITS
        for label in LABELS
        for index in range(3)
    ]
    assert len(set(images)) == len(images)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A pasture of three scenes per split, in a cache of its own."""
    monkeypatch.setenv("UDIT_BENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(pasture, "SPLITS", dict.fromkeys(SPLITS, 3))
    pasture._scenes.cache_clear()
    yield pasture.Pasture(64)
    pasture._scenes.cache_clear()


def test_a_split_is_what_draw_draws(small):
    scenes = small.scenes("test", "B")
    assert len(scenes) == 3
    for index, scene in enumerate(scenes):
        alone = pasture.draw("test", "giraffe", index, 64)
        assert scene.id == alone.id
        np.testing.assert_array_equal(scene.image, alone.image)
        np.testing.assert_array_equal(scene.masks, alone.masks)


def test_the_cache_is_read_back_and_survives_damage(small, tmp_path):
    first = small.scenes("val", "A").fingerprint()
    (stored,) = (tmp_path / "pasture").glob("*-64-val-sheep.npz")
    pasture._scenes.cache_clear()
    assert small.scenes("val", "A").fingerprint() == first
    stored.write_bytes(b"half a file")
    pasture._scenes.cache_clear()
    assert small.scenes("val", "A").fingerprint() == first
    assert small.scenes("val", "B").fingerprint() != first


def test_wrong_sizes_and_splits(small):
    with pytest.raises(UsageError, match="16 to 1024"):
        pasture.Pasture(4)
    with pytest.raises(DataError, match="no split 'sample'"):
        small.scenes("sample", "A")
    assert pasture.open_pasture().size == 64
    assert pasture.open_pasture((32, 48)).size == 48
