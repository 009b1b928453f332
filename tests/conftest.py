"""One thread for torch, and a tiny data set in memory."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from udit_bench.datasets.base import SceneSet, SceneSource, digest
from udit_bench.runs import RunDirectory, RunInfo
from udit_bench.scene import Scene
from udit_bench.training import Trainer, TrainerOptions

torch.set_num_threads(1)

REPOSITORY = Path(__file__).resolve().parents[1]
SIZE = 32
COUNTS = {  # instances per scene
    ("train", "A"): (0, 1, 3, 1, 2, 1, 3, 0),
    ("train", "B"): (1, 3, 0, 1, 2, 1),
    ("val", "A"): (0, 1, 3, 1),
    ("val", "B"): (3, 0, 1, 2),
    ("test", "A"): (1, 0, 3, 2, 1, 0),
    ("test", "B"): (3, 1, 0, 1, 2, 0),
}


def draw_scene(name, label, count, seed):
    """Noise with ``count`` rectangles, one per quarter of the picture."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 120, (SIZE, SIZE, 3), dtype=np.uint8)
    masks = np.zeros((count, SIZE, SIZE), dtype=bool)
    for mask, place in zip(masks, rng.permutation(4), strict=False):
        top, left = SIZE // 2 * np.array(divmod(place, 2)) + rng.integers(0, 4, 2)
        height, width = rng.integers(6, 12, 2) if label == "sheep" else (12, 5)
        mask[top : top + height, left : left + width] = True
        image[mask] = (240, 240, 240) if label == "sheep" else (220, 160, 60)
    return Scene(image, masks, label, name)


class ToySet(SceneSet):
    def __init__(self, scenes):
        self.all = list(scenes)
        self.ids = tuple(scene.id for scene in self.all)

    def load(self, index):
        return self.all[index]

    def fingerprint(self):
        return digest(part.tobytes() for scene in self.all for part in (scene.image, scene.masks))


class ToySource(SceneSource):
    name, labels, splits = "toy", ("sheep", "giraffe"), ("train", "val", "test")

    def __init__(self):
        self.sets = {
            (split, domain): ToySet(
                draw_scene(f"{split}{domain}_{i}", self.label(domain), count, [i, len(split)])
                for i, count in enumerate(counts)
            )
            for (split, domain), counts in COUNTS.items()
        }

    def scenes(self, split, domain):
        return self.sets[split, domain]


@pytest.fixture(scope="session")
def real_data():
    """A function from a folder's name to its path; skips where it is absent."""
    root = Path(os.environ.get("UDIT_BENCH_TEST_DATA") or REPOSITORY / "../shared/data").resolve()

    def find(name):
        path = root / name
        if not path.is_dir():
            pytest.skip(f"no real data: {path} is absent (set UDIT_BENCH_TEST_DATA)")
        return path

    return find


@pytest.fixture(scope="session")
def toy_source():
    """Sheep and giraffes of 32 x 32 pixels; scenes have 0 to 3 instances."""
    return ToySource()


@pytest.fixture(scope="session")
def scene_set():
    """A function from scenes to a ``SceneSet``."""
    return ToySet


@pytest.fixture(scope="session")
def make_trainer(toy_source):
    """A function that sets up a trainer on the CPU, one thread, that logs every step."""

    def make(translator, config, folder, *, split="train", observers=(), **options):
        scenes = {domain: toy_source.scenes(split, domain) for domain in "AB"}
        given = {"device": "cpu", "threads": 1, "log_every": 1, **options}
        info = RunInfo(dataset="toy", labels=toy_source.labels, split=split)
        run = RunDirectory(Path(folder))
        return Trainer(
            translator, config, **scenes, run=run, info=info,
            options=TrainerOptions(**given), observers=tuple(observers),
        )  # fmt: skip

    return make
