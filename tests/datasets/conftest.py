"""Small data sets on disk, and the way to the real ones."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

torch.set_num_threads(1)


def picture(height=12, width=16, seed=0):
    """A random ``(H, W, 3) uint8`` picture."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def box(top, left, bottom, right, height=12, width=16):
    """A ``(H, W) bool`` mask of one rectangle."""
    mask = np.zeros((height, width), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def save(path, array):
    """Write an array as a picture, by the suffix; creates the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = array.astype(np.uint8) * 255 if array.dtype == bool else array
    Image.fromarray(array).save(path)


class Maker:
    """Hands the helpers above to tests, and builds whole folders."""

    picture, box, save = staticmethod(picture), staticmethod(box), staticmethod(save)

    @staticmethod
    def instagan(root, splits=("train", "test")):
        """Per domain: ``one`` with masks 0 and 3, ``two`` without any."""
        for seed, name in enumerate(f"{split}{domain}" for split in splits for domain in "AB"):
            save(root / name / "one.png", picture(seed=2 * seed))
            save(root / name / "two.png", picture(seed=2 * seed + 1))
            save(root / f"{name}_seg" / "one_0.png", box(1, 1, 5, 5))
            save(root / f"{name}_seg" / "one_3.png", box(4, 4, 9, 12))
        return root

    @staticmethod
    def coco(root, splits=("train", "test"), labels=("horse", "zebra")):
        """Per domain: ``one`` with a polygon, a crowd and a box of runs; ``two`` without any."""
        for seed, (split, domain) in enumerate((s, d) for s in splits for d in "AB"):
            folder = root / "images" / f"{split}{domain}"
            save(folder / "one.png", picture(seed=2 * seed))
            save(folder / "two.png", picture(seed=2 * seed + 1))
            size = {"width": 16, "height": 12}
            content = {
                "images": [
                    {"id": 7, "file_name": "one.png", **size},
                    {"id": 9, "file_name": "two.png", **size},
                ],
                "categories": [{"id": 3, "name": labels["AB".index(domain)]}],
                "annotations": [
                    annotation(1, [[2, 2, 8, 2, 8, 6, 2, 6]]),
                    annotation(2, runs(box(0, 0, 12, 16)), iscrowd=1),
                    annotation(3, runs(box(4, 4, 9, 12))),
                ],
            }
            write_coco(root, f"{split}{domain}", content)
        return root

    @staticmethod
    def edit_coco(root, name, change):
        """Apply ``change(content)`` to the annotation file of ``name``, e.g. ``trainA``."""
        path = root / "annotations" / f"instances_{name}.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
        return path


def annotation(number, segmentation, iscrowd=0):
    return {
        "id": number,
        "image_id": 7,
        "category_id": 3,
        "iscrowd": iscrowd,
        "segmentation": segmentation,
    }


def runs(mask):
    """Uncompressed run-length code, column by column, background first."""
    flat = mask.T.ravel().astype(int)
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *ends, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def write_coco(root, name, content):
    path = root / "annotations" / f"instances_{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def make():
    return Maker
