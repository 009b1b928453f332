"""Pasture: a procedural sheep / giraffe pair with instance masks, bundled with the library.

800 train, 100 val, 100 test and 700 judge scenes per domain, from disjoint seeds, at any size. The
judge split is for training detectors only, settings are chosen on val. A split is drawn when first
asked for (about 8 ms a scene at 64 x 64) and cached.
"""

from __future__ import annotations

import hashlib
import logging
import os
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from udit_bench.datasets import pasture_drawing
from udit_bench.datasets.base import SceneSet, SceneSource, digest
from udit_bench.errors import UsageError
from udit_bench.files import atomic_path, cache_dir
from udit_bench.scene import Domain, Scene

log = logging.getLogger(__name__)

SPLITS = {"train": 800, "val": 100, "test": 100, "judge": 700}
LABELS = ("sheep", "giraffe")
MIN_SHARE = 60 / 64**2  # least visible area of an instance: 60 pixels at 64 x 64
SEED = 2021
SIZES = (16, 1024)
Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def draw(split: str, label: str, index: int, size: int) -> Scene:
    """Draw one scene: a pure function of its arguments.

    Args:
        split: one of ``SPLITS``.
        label: ``"sheep"`` or ``"giraffe"``.
        index: ``0 .. SPLITS[split] - 1``.
        size: side in pixels.
    """
    key = (SEED, list(SPLITS).index(split), LABELS.index(label), index)
    image, masks = pasture_drawing.draw_scene(
        np.random.default_rng(key), label, size, min_share=MIN_SHARE
    )
    return Scene(image, masks, label, f"{label}_{split}_{index:04d}", f"pasture seed {key}")


class PastureScenes(SceneSet):
    """All scenes of a split, drawn on first use: pictures, and maps of owners (0 = background)."""

    def __init__(self, split: str, label: str, size: int) -> None:
        self.label = label
        self.ids = tuple(f"{label}_{split}_{index:04d}" for index in range(SPLITS[split]))
        self.split, self.size = split, size

    @cached_property
    def _arrays(self) -> Arrays:
        return _drawn_or_cached(self.split, self.label, self.size)

    def load(self, index: int) -> Scene:
        images, all_owners = self._arrays
        owners = all_owners[index]
        masks = owners[None] == np.arange(1, owners.max() + 1, dtype=np.uint8)[:, None, None]
        origin = f"pasture {self.split}, {self.size} x {self.size}"
        return Scene(images[index], masks, self.label, self.ids[index], origin)

    def fingerprint(self) -> str:
        return digest(array.tobytes() for array in self._arrays)


class Pasture(SceneSource):
    """The bundled pair; see the module's docstring."""

    name = "pasture"
    labels = LABELS
    splits = tuple(SPLITS)
    about = "procedural sheep / giraffe, bundled; 800 train, 100 val, 100 test, 700 judge a domain"

    def __init__(self, size: int = 64) -> None:
        if not SIZES[0] <= size <= SIZES[1]:
            raise UsageError(f"pasture is drawn at {SIZES[0]} to {SIZES[1]} pixels, not {size}.")
        self.size = size

    def scenes(self, split: str, domain: Domain) -> SceneSet:
        return _scenes(self.resolve(split), self.label(domain), self.size)


def open_pasture(size: tuple[int, int] | None = None) -> Pasture:
    """The source at the longer side of ``size`` (H, W); 64 x 64 where none is asked for."""
    return Pasture(max(size) if size else 64)


@lru_cache(maxsize=16)
def _scenes(split: str, label: str, size: int) -> PastureScenes:
    return PastureScenes(split, label, size)


def _drawn_or_cached(split: str, label: str, size: int) -> Arrays:
    source = hashlib.sha256(Path(pasture_drawing.__file__).read_bytes()).hexdigest()[:12]
    path = cache_dir() / "pasture" / f"{source}-{SEED}-{size}-{split}-{label}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            return stored["images"], stored["owners"]
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError) as error:
        log.warning("drawing %s again: the cached copy is unreadable (%s)", path, error)
    scenes = [draw(split, label, index, size) for index in range(SPLITS[split])]
    images = np.stack([scene.image for scene in scenes])
    numbers = [np.arange(1, scene.count + 1, dtype=np.uint8)[:, None, None] for scene in scenes]
    owners = np.stack(
        [(s.masks * n).sum(0, dtype=np.uint8) for s, n in zip(scenes, numbers, strict=True)]
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, open(temporary, "wb") as handle:
            np.savez_compressed(handle, images=images, owners=owners)
            os.fsync(handle.fileno())
    except OSError as error:
        log.warning("pasture is not cached (%s): it will be drawn again next time", error)
    return images, owners
