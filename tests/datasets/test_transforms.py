import time

import numpy as np
import pytest
import torch

from udit_bench.datasets.transforms import augment, fit
from udit_bench.scene import Scene


def scene_of(*masks, size=(12, 16), indices=()):
    stack = np.stack(masks) if masks else np.zeros((0, *size), dtype=bool)
    height, width = size
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 255 // (width - 1), y * 255 // (height - 1), 0 * x], -1).astype(np.uint8)
    return Scene(image, stack, "sheep", "id", "origin", indices)


def same(one, two):
    return (
        np.array_equal(one.image, two.image)
        and np.array_equal(one.masks, two.masks)
        and one.indices == two.indices
    )


def test_scenes_without_instances():
    empty = scene_of()
    assert fit(empty, (6, 8)).masks.shape == (0, 6, 8)
    for load_size, size in (((12, 16), (12, 16)), ((20, 20), (20, 20)), ((20, 20), (8, 8))):
        done = augment(empty, load_size=load_size, size=size, flip=True, key=1)
        assert (done.size, done.masks.shape) == (size, (0, *size))


def test_fit_is_the_identity_at_the_same_size(make):
    scene = scene_of(make.box(1, 1, 5, 5))
    assert fit(scene, (12, 16)) is scene


def test_fit_resizes_picture_and_masks_alike(make):
    scene = scene_of(make.box(0, 0, 6, 16), make.box(4, 8, 12, 16), indices=(2, 5))
    done = fit(scene, (24, 48))
    assert (done.size, done.indices, done.origin) == ((24, 48), (2, 5), "origin")
    assert done.masks[0, :12].all()
    assert not done.masks[0, 12:].any()
    np.testing.assert_array_equal(done.masks[1], np.pad(np.ones((16, 24), bool), ((8, 0), (24, 0))))
    assert abs(int(done.image[12, 24, 0]) - 128) < 12


def test_fit_averages_when_it_shrinks():
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[::2] = 255
    small = fit(Scene(image, np.zeros((0, 64, 64), bool), "x", "x"), (8, 8))
    assert np.abs(small.image[2:-2].astype(int) - 127).max() < 12


def test_fit_keeps_masks_that_vanish(make):
    done = fit(scene_of(make.box(1, 1, 2, 2), make.box(0, 0, 12, 16)), (3, 4))
    assert done.count == 2
    assert not done.masks[0].any()


def test_the_source_is_left_as_it_was(make):
    scene = scene_of(make.box(1, 1, 9, 9))
    before = scene.image.copy(), scene.masks.copy()
    for key in range(4):
        augment(scene, load_size=(12, 16), size=(12, 16), flip=True, key=key)
        augment(scene, load_size=(18, 20), size=(12, 12), flip=True, key=key)
    np.testing.assert_array_equal(scene.image, before[0])
    np.testing.assert_array_equal(scene.masks, before[1])


@pytest.mark.parametrize("size", [(12, 16), (8, 10)])
def test_augment_is_a_function_of_its_key(make, size):
    scene = scene_of(make.box(1, 1, 9, 9), make.box(0, 8, 12, 16))
    some = [augment(scene, load_size=(12, 16), size=size, flip=True, key=k) for k in range(12)]
    again = [augment(scene, load_size=(12, 16), size=size, flip=True, key=k) for k in range(12)]
    assert all(map(same, some, again))
    assert len({one.image.tobytes() for one in some}) > 1


@pytest.mark.parametrize("size", [(12, 16), (8, 10)])
def test_augment_leaves_the_random_state_alone(make, size):
    scene = scene_of(make.box(1, 1, 9, 9))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    augment(scene, load_size=(12, 16), size=size, flip=True, key=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_picture_and_masks_move_together(make):
    mask = make.box(2, 3, 9, 7)
    scene = Scene(np.repeat(mask[..., None], 3, 2).astype(np.uint8) * 255, mask[None], "x", "x")
    for key in range(20):
        done = augment(scene, load_size=(12, 16), size=(10, 12), flip=True, key=key)
        np.testing.assert_array_equal(done.image[..., 0] > 0, done.masks[0])


def test_the_fast_path_flips_as_often_as_the_long_way(make):
    scene = scene_of(make.box(1, 1, 9, 4))
    mirrored = Scene(scene.image[:, ::-1], scene.masks[:, :, ::-1], "sheep", "id")
    same_size = {"load_size": (12, 16), "size": (12, 16)}
    flips = 0
    for key in range(200):
        done = augment(scene, **same_size, flip=True, key=key)
        wide = augment(scene, load_size=(24, 32), size=(24, 32), flip=True, key=key)
        flipped = np.array_equal(done.image, mirrored.image)
        assert same(done, mirrored if flipped else scene)
        assert flipped == (wide.image[0, 0, 0] > 128)  # one key, one draw, on either way
        flips += flipped
    assert 70 < flips < 130
    assert augment(scene, **same_size, flip=False, key=0) is scene


def test_masks_that_the_crop_empties_are_dropped(make):
    scene = scene_of(make.box(0, 0, 4, 4), make.box(0, 0, 12, 16), indices=(4, 9))
    done = [augment(scene, load_size=(12, 16), size=(6, 8), flip=False, key=k) for k in range(20)]
    assert {one.indices for one in done} == {(9,), (4, 9)}
    assert all(one.masks.any((1, 2)).all() for one in done)


def test_a_crop_larger_than_the_picture_is_refused():
    with pytest.raises(ValueError, match="cannot crop"):
        augment(scene_of(), load_size=(8, 8), size=(9, 8), flip=False, key=0)


def test_the_fast_path_is_fast(make):
    scene = scene_of(*[make.box(5, 5, 60, 60, 64, 64)] * 3, size=(64, 64))
    best = min(_seconds(scene, key) for key in range(200))
    assert best < 3e-4


def _seconds(scene, key):
    start = time.perf_counter()
    augment(scene, load_size=(64, 64), size=(64, 64), flip=True, key=key)
    return time.perf_counter() - start
