"""Conversions, packing and validation of the three things that flow."""

import numpy as np
import pytest
import torch

from udit_bench.scene import (
    Scene,
    SceneBatch,
    Translation,
    image_to_tensor,
    source_domain,
    target_domain,
    tensor_to_image,
)

BLACK = np.zeros((2, 3, 3), dtype=np.uint8)


def scene(*pixels, name="s"):
    """A 2 x 3 scene with one instance of one pixel for each (row, column) given."""
    masks = np.zeros((len(pixels), 2, 3), dtype=bool)
    for mask, pixel in zip(masks, pixels, strict=True):
        mask[pixel] = True
    return Scene(BLACK, masks, "sheep", name)


def test_all_256_values_survive_the_round_trip():
    image = np.arange(256 * 3, dtype=np.uint32).reshape(16, 16, 3).astype(np.uint8)
    assert np.array_equal(tensor_to_image(image_to_tensor(image)), image)


def test_black_is_minus_one_and_white_is_one():
    image = np.array([[[0, 255, 0]]], dtype=np.uint8)
    tensor = image_to_tensor(image)
    assert tensor.dtype == torch.float32
    assert tensor.flatten().tolist() == [-1.0, 1.0, -1.0]


def test_image_to_tensor_puts_channels_first():
    image = np.zeros((2, 3, 3), dtype=np.uint8)
    image[1, 2, 0] = 255
    assert image_to_tensor(image)[0, 1, 2] == 1.0


def test_image_to_tensor_takes_a_mirrored_view():
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    view = image[:, ::-1]
    assert np.array_equal(tensor_to_image(image_to_tensor(view)), view)


def test_tensor_to_image_clamps_rounds_and_keeps_the_batch():
    tensor = torch.tensor([-3.0, 3.0, 0.0]).reshape(1, 3, 1, 1).expand(2, 3, 4, 5)
    image = tensor_to_image(tensor)
    assert image.shape == (2, 4, 5, 3)
    assert image[1, 0, 0].tolist() == [0, 255, 128]  # 127.5 rounds to the even 128


def test_domains_of_the_directions():
    assert [source_domain("AtoB"), target_domain("AtoB")] == ["A", "B"]
    assert [source_domain("BtoA"), target_domain("BtoA")] == ["B", "A"]


@pytest.mark.parametrize(
    ("image", "masks", "message"),
    [
        (BLACK.astype(np.float32), np.zeros((0, 2, 3), bool), "image must be"),
        (BLACK[..., :2], np.zeros((0, 2, 3), bool), "image must be"),
        (BLACK, np.zeros((1, 2, 3), np.uint8), "masks must be"),
        (BLACK, np.zeros((2, 3), bool), "masks must be"),
        (BLACK, np.zeros((1, 3, 2), bool), r"masks are \(3, 2\)"),
    ],
)
def test_a_wrong_array_is_refused_with_the_name_of_the_scene(image, masks, message):
    with pytest.raises(ValueError, match=f"scene s1: {message}"):
        Scene(image, masks, "sheep", "s1")


def test_indices_default_to_a_count_and_must_fit_the_masks():
    assert scene((0, 0), (0, 1)).indices == (0, 1)
    assert scene().indices == ()
    with pytest.raises(ValueError, match="2 indices, 1 masks"):
        Scene(BLACK, np.zeros((1, 2, 3), bool), "sheep", "s", indices=(3, 4))


def test_a_scene_knows_its_size_and_count():
    assert scene((0, 0), (1, 1)).size == (2, 3)
    assert scene((0, 0), (1, 1)).count == 2


def test_instances_are_packed_in_order_with_their_owner():
    batch = SceneBatch.from_scenes([scene((0, 0), name="a"), scene(), scene((0, 1), (1, 2))])
    assert batch.masks.shape == (3, 1, 2, 3)
    assert batch.owner.tolist() == [0, 2, 2]
    assert batch.owner.dtype == torch.int64
    assert batch.masks[:, 0].nonzero().tolist() == [[0, 0, 0], [1, 0, 1], [2, 1, 2]]
    assert batch.ids == ("a", "s", "s")
    assert len(batch) == 3


def test_counts_and_sums_are_zero_for_an_image_without_instances():
    batch = SceneBatch.from_scenes([scene((0, 0)), scene(), scene((0, 1), (1, 2))])
    assert batch.counts().tolist() == [1, 0, 2]
    assert batch.sum_per_image(torch.tensor([5.0, 7.0, 9.0])).tolist() == [5.0, 0.0, 16.0]


def test_the_last_image_without_instances_is_still_counted():
    assert SceneBatch.from_scenes([scene((0, 0)), scene()]).counts().tolist() == [1, 0]


def test_union_is_one_where_instances_overlap():
    batch = SceneBatch.from_scenes([scene((0, 0), (0, 0), (1, 1)), scene()])
    assert batch.union()[0, 0].tolist() == [[1, 0, 0], [0, 1, 0]]
    assert batch.union()[1].sum() == 0


def test_union_leaves_the_masks_as_they_were():
    batch = SceneBatch.from_scenes([scene((0, 0), (0, 0))])
    batch.union()
    assert batch.masks.sum() == 2


def test_a_batch_may_be_without_any_instance():
    batch = SceneBatch.from_scenes([scene(), scene()])
    assert batch.masks.shape == (0, 1, 2, 3)
    assert batch.owner.shape == (0,)
    assert batch.counts().tolist() == [0, 0]
    assert batch.union().shape == (2, 1, 2, 3)
    assert batch.union().sum() == 0


def test_scenes_of_two_sizes_are_refused():
    other = Scene(np.zeros((3, 3, 3), np.uint8), np.zeros((0, 3, 3), bool), "sheep", "t")
    with pytest.raises(ValueError, match="one size"):
        SceneBatch.from_scenes([scene(), other])


def test_translated_masks_must_be_bool_and_one_per_owner():
    images = torch.zeros(1, 3, 2, 3)
    with pytest.raises(ValueError, match="must be bool"):
        Translation(images, torch.zeros(1, 1, 2, 3), torch.tensor([0]))
    with pytest.raises(ValueError, match="2 translated masks for 1"):
        Translation(images, torch.zeros(2, 1, 2, 3, dtype=torch.bool), torch.tensor([0]))


def test_split_hands_every_image_its_own_masks():
    images = torch.stack([torch.full((3, 2, 3), value) for value in (-1.0, 0.0, 1.0)])
    masks = torch.zeros(3, 1, 2, 3, dtype=torch.bool)
    masks[0, 0, 0, 0] = masks[1, 0, 1, 1] = True
    parts = Translation(images, masks, torch.tensor([0, 2, 2])).split()
    assert [image[0, 0, 0] for image, _ in parts] == [0, 128, 255]
    assert [len(own) for _, own in parts] == [1, 0, 2]
    assert parts[0][1].nonzero()[1].tolist() == [0]
    assert np.argwhere(parts[2][1]).tolist() == [[0, 1, 1]]


def test_split_of_a_translation_without_instances():
    empty = Translation(torch.zeros(1, 3, 2, 3), torch.zeros(0, 1, 2, 3).bool(), torch.zeros(0))
    assert empty.split()[0][1].shape == (0, 2, 3)
