import numpy as np
import pytest

from udit_bench.report.preview import PALETTE, PAPER, contact_sheet, paint_instances
from udit_bench.scene import Scene


def scene_of(count, size=(32, 32), id_="a picture"):
    masks = np.zeros((count, *size), dtype=bool)
    for number in range(count):
        masks[number, 4:20, 3 * number : 3 * number + 8] = True
    return Scene(np.full((*size, 3), 90, dtype=np.uint8), masks, "sheep", id_)


def test_no_scene_and_no_instance_can_be_drawn():
    assert contact_sheet([]).mode == "RGB"
    assert contact_sheet([("A", []), ("B", [scene_of(0)])]).mode == "RGB"
    plain = np.asarray(paint_instances(scene_of(0), (64, 64)))
    assert (plain == 90).all()


def test_the_sheet_grows_with_rows_and_columns():
    row = contact_sheet([scene_of(1)] * 3, columns=4)
    full = contact_sheet([scene_of(1)] * 4, columns=4)
    two = contact_sheet([scene_of(1)] * 5, columns=4)
    assert row.width < full.width == two.width
    assert row.height == full.height < two.height
    blocks = contact_sheet([("A", [scene_of(1)] * 4), ("B", [scene_of(2)])], columns=4, title="T")
    assert blocks.height > two.height
    assert blocks.getpixel((0, 0)) == PAPER


def test_every_instance_has_its_colour():
    scene = scene_of(3)
    painted = np.asarray(paint_instances(scene, (128, 128)), dtype=int)
    for colour in PALETTE[:3]:
        assert (np.abs(painted - np.array(colour)).max(-1) < 8).any()
    assert (painted[100:, 100:] == 90).all()
    more = paint_instances(scene_of(len(PALETTE) + 1), (64, 64))
    assert more.size == (64, 64)


def test_aspect_is_kept_and_long_ids_fit():
    wide = scene_of(1, (20, 40), "a name that is far too long to fit below one tile " * 3)
    sheet = contact_sheet([wide, scene_of(2, (40, 20))], columns=2, tile=64)
    assert sheet.width == 2 * 28 + 2 * 64 + 10


def test_the_same_scenes_give_the_same_sheet():
    one, two = (contact_sheet([("A", [scene_of(2)])], title="T") for _ in range(2))
    assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("wrong", [{"columns": 0}, {"tile": 8}])
def test_impossible_grids_are_refused(wrong):
    with pytest.raises(ValueError, match="columns >= 1"):
        contact_sheet([scene_of(1)], **wrong)
