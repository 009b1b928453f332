"""Translating scenes, and the folder form in which anybody's translations are judged.

``DIR/AtoB/images/ID.png``, ``DIR/AtoB/masks/ID_k.png`` (0 / 255; k is the source's instance
number) and ``DIR/AtoB/coco.json``; the same for ``BtoA``. A missing mask file is an empty mask:
the method dropped that instance.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from udit_bench.datasets.base import SceneSet
from udit_bench.datasets.pictures import SUFFIXES, read_mask, read_picture
from udit_bench.datasets.transforms import fit
from udit_bench.errors import DataError
from udit_bench.files import explain_os_errors
from udit_bench.metrics.detectors.file import coco_names
from udit_bench.scene import Direction, ImageArray, MaskArray, Scene, SceneBatch
from udit_bench.translator import Translator

FIRST_ID = {"AtoB": 1, "BtoA": 1_000_001}
"""First image id of each direction's coco.json: one results file can speak of both."""

STAMP, TIMING = "translation.json", "timing.json"


@dataclass(frozen=True, eq=False)
class Translated:
    """One translated picture: ``(H, W, 3) uint8``, ``(N, H, W) bool``, the source's numbers."""

    id: str
    image: ImageArray
    masks: MaskArray
    indices: tuple[int, ...]


@dataclass
class Stopwatch:
    """Seconds that a method itself took to translate, and how many pictures."""

    seconds: float = 0.0
    images: int = 0

    def images_per_second(self) -> float | None:
        """None before the first picture."""
        return self.images / self.seconds if self.seconds > 0 else None


def _batches(scenes: Iterable[Scene], size: int) -> Iterator[list[Scene]]:
    iterator = iter(scenes)
    while batch := list(islice(iterator, size)):
        yield batch


@torch.inference_mode()
def translate_scenes(
    translator: Translator,
    scenes: Iterable[Scene],
    direction: Direction,
    *,
    variant: str,
    size: tuple[int, int],
    batch_size: int = 8,
    device: torch.device | str = "cpu",
    stopwatch: Stopwatch | None = None,
) -> Iterator[Translated]:
    """Translate scenes one batch at a time, resized to ``size`` (H, W), in order.

    ``stopwatch`` counts from the packed batch to the pictures in memory, without reading them.
    """
    translator.to(device).eval()
    watch = stopwatch or Stopwatch()
    for batch in _batches(scenes, batch_size):
        packed = SceneBatch.from_scenes([fit(scene, size) for scene in batch])
        started = time.perf_counter()
        translation = translator.translate(packed.to(device), direction, variant)
        done = translation.split()  # on the CPU from here on
        watch.seconds += time.perf_counter() - started
        watch.images += len(batch)
        for scene, (image, masks) in zip(batch, done, strict=True):
            yield Translated(scene.id, image, masks, scene.indices)


def write_direction(
    folder: Path,
    direction: Direction,
    items: Iterable[Translated],
    label: str,
    stamp: dict[str, Any] | None = None,
    stopwatch: Stopwatch | None = None,
) -> Path:
    """Write one direction's translations; the folder appears only when all of it is written.

    Args:
        folder: the parent, DIR.
        direction: names the sub-folder.
        items: the translations.
        label: class name of what was generated.
        stamp: what they were made from; kept beside them to recognise them again.
        stopwatch: of the method that makes ``items``; what it says at the end is kept beside them.

    Raises:
        RunError: no space or permission.
    """
    final = folder / direction
    temporary = folder / f".{direction}.{os.getpid()}.tmp"
    with explain_os_errors(final):
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            for name in ("images", "masks"):
                (temporary / name).mkdir(parents=True)
            document = _write_items(temporary, items, FIRST_ID[direction], label)
            (temporary / "coco.json").write_text(json.dumps(document), encoding="utf-8")
            if stamp is not None:
                (temporary / STAMP).write_text(json.dumps(stamp, indent=1), encoding="utf-8")
            if stopwatch is not None:
                timing = json.dumps(asdict(stopwatch))
                (temporary / TIMING).write_text(timing, encoding="utf-8")
            shutil.rmtree(final, ignore_errors=True)
            temporary.rename(final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return final


def _write_items(
    folder: Path, items: Iterable[Translated], first_id: int, label: str
) -> dict[str, Any]:
    images, annotations = list[dict[str, Any]](), list[dict[str, Any]]()
    category = category_id(label)
    for image_id, item in enumerate(items, start=first_id):
        height, width = item.image.shape[:2]
        _write_png(folder / "images" / f"{item.id}.png", item.image)
        images.append(
            {"id": image_id, "file_name": f"{item.id}.png", "width": width, "height": height}
        )
        for index, mask in zip(item.indices, item.masks, strict=True):
            _write_png(folder / "masks" / f"{item.id}_{index}.png", mask.astype(np.uint8) * 255)
            rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            annotations.append(
                {
                    "id": first_id + len(annotations),
                    "image_id": image_id,
                    "category_id": category,
                    "iscrowd": 0,
                    "area": int(mask.sum()),
                    "bbox": [float(v) for v in coco_mask.toBbox(rle)],  # x, y, width, height
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                    "instance": index,
                }
            )
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": category, "name": label}],
    }


def category_id(label: str) -> int:
    """COCO's own number of a class, so that results of COCO-trained tools fit; else 1001."""
    return {name: number for number, name in coco_names().items()}.get(label, 1001)


def _write_png(path: Path, array: np.ndarray[Any, Any]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())


def has_stamp(folder: Path, direction: Direction, stamp: dict[str, Any]) -> bool:
    """Whether the folder holds this direction, made from exactly what ``stamp`` says."""
    try:
        found = json.loads((folder / direction / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(found == stamp)


def translation_speed(folder: Path, direction: Direction) -> float | None:
    """Images per second of the method that made this direction; None where nobody measured."""
    try:
        timing = json.loads((folder / direction / TIMING).read_text(encoding="utf-8"))
        return Stopwatch(float(timing["seconds"]), int(timing["images"])).images_per_second()
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_direction(folder: Path, direction: Direction, sources: SceneSet) -> list[Translated]:
    """Read one direction's translations, one per source scene, in the order of the sources.

    Raises:
        DataError: a picture is missing or unreadable, a mask has another size or belongs to no
            source instance (names the file).
    """
    base = folder / direction
    masks = _mask_files(base / "masks")
    items = [_read_item(base, scene, masks.pop(scene.id, {})) for scene in sources]
    for files in masks.values():
        path = next(iter(files.values()))
        raise DataError(f"{path}: no source scene has this name; names are ID_k.png.")
    return items


def _mask_files(folder: Path) -> dict[str, dict[int, Path]]:
    found: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            name, _, index = path.stem.rpartition("_")
            if not name or not index.isdecimal():
                raise DataError(f"{path}: masks are named ID_k.png, k = the instance's number.")
            found.setdefault(name, {})[int(index)] = path
    return found


def _read_item(base: Path, scene: Scene, masks: dict[int, Path]) -> Translated:
    endings = [ending for suffix in SUFFIXES for ending in (suffix, suffix.upper())]
    candidates = [base / "images" / (scene.id + ending) for ending in endings]
    path = next((p for p in candidates if p.is_file()), None)
    if path is None:
        raise DataError(f"no translated picture {candidates[0]} for the source scene {scene.id}.")
    image = read_picture(path)
    extra = sorted(set(masks) - set(scene.indices))
    if extra:
        numbers = ", ".join(map(str, scene.indices)) or "none"
        raise DataError(
            f"{masks[extra[0]]}: {scene.id} has no instance {extra[0]} (its instances: {numbers})."
        )
    stack = np.zeros((scene.count, *image.shape[:2]), dtype=np.bool_)
    for place, index in enumerate(scene.indices):
        if index in masks:
            stack[place] = _read_mask(masks[index], image.shape[:2])
    return Translated(scene.id, image, stack, scene.indices)


def _read_mask(path: Path, size: Sequence[int]) -> MaskArray:
    mask = read_mask(path)
    if mask.shape != tuple(size):
        raise DataError(
            f"{path} is {mask.shape[1]} x {mask.shape[0]}, its picture {size[1]} x {size[0]}."
        )
    return mask
