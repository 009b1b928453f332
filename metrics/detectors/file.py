"""Detections made elsewhere: a COCO-results json, written by any tool."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from udit_bench.errors import DataError
from udit_bench.metrics.detectors.base import (
    MAX_DETECTIONS,
    STORED_FLOOR,
    Detections,
    Detector,
    DetectorIdentity,
)
from udit_bench.scene import ImageArray


@dataclass(frozen=True)
class _Picture:
    domain: str
    stem: str
    height: int
    width: int


@dataclass(frozen=True)
class _Reference:
    path: Path
    pictures: dict[int, _Picture]
    names: dict[int, str]


@dataclass(frozen=True)
class _Entry:
    category: str
    score: float
    rle: dict[str, Any]


class FileDetector(Detector):
    """Looks detections up in a COCO-results json.

    The file is a list of ``{"image_id", "category_id", "segmentation", "score"}``: segmentation is
    an RLE of the picture's size or a list of polygons in its pixels, score in [0, 1]. Scores below
    0.05 and all but the best 100 entries of a picture are left out.

    ``image_id`` and ``category_id`` are those of the reference: the ``coco.json`` of a translation
    folder. One results file may speak of several domains only if their image ids differ. Instead
    of ``category_id`` an entry may have ``"category"``, the class name, which is always
    understood. Where all categories of the reference carry COCO's own numbers (giraffe = 25), the
    other numbers of COCO are understood too.

    Args:
        results: the COCO-results json.
        references: domain -> its ``coco.json`` (``images`` with id, file_name, height, width;
            ``categories`` with id, name). The stem of the file name is the scene's id.

    Raises:
        DataError: a file is missing, is not json or lacks a key; an entry has an unknown or
            ambiguous image, an unknown category, a score outside [0, 1] or a segmentation that
            cannot be read. The message names the file and the entry's index.
    """

    def __init__(self, results: Path, references: Mapping[str, Path]) -> None:
        self._results = results
        self._references = {
            domain: _read_reference(path, domain) for domain, path in references.items()
        }
        data, entries = _read_json(results)
        if not isinstance(entries, list):
            raise DataError(f"{results}: a COCO-results json is a list of detections.")
        self._entries: dict[tuple[str, str], list[_Entry]] = {}
        for index, entry in enumerate(entries):
            self._add(index, entry)
        self.identity = DetectorIdentity(
            backend="file", architecture="", weights=hashlib.sha256(data).hexdigest()
        )

    def detect(
        self, images: Sequence[ImageArray], ids: Sequence[str], domain: str
    ) -> list[Detections]:
        """As the contract says.

        Raises:
            DataError: no reference for the domain, or a picture that the reference does not list
                or lists with another size.
        """
        if domain not in self._references:
            known = ", ".join(sorted(self._references)) or "none"
            raise DataError(f"{self._results}: no coco.json for '{domain}' was given ({known}).")
        reference = self._references[domain]
        listed = {picture.stem: picture for picture in reference.pictures.values()}
        found = []
        for image, name in zip(images, ids, strict=True):
            if name not in listed:
                raise DataError(f"{reference.path}: lists no picture '{name}'.")
            size = (listed[name].height, listed[name].width)
            if image.shape[:2] != size:
                raise DataError(
                    f"{reference.path}: '{name}' is {size} (H, W) there, "
                    f"but {image.shape[:2]} is to be judged."
                )
            found.append(self._detections((domain, name), size))
        return found

    def _add(self, index: int, entry: Any) -> None:
        where = f"{self._results}: entry {index}"
        if not isinstance(entry, dict):
            raise DataError(f"{where}: not a json object.")
        missing = {"image_id", "segmentation", "score"} - entry.keys()
        if missing:
            raise DataError(f"{where}: lacks {', '.join(sorted(missing))}.")
        reference, picture = self._picture(entry["image_id"], where)
        category = _category(entry, reference, where)
        score = _score(entry["score"], where)
        if score < STORED_FLOOR:
            return
        rle = _rle(entry["segmentation"], picture, where)
        key = (picture.domain, picture.stem)
        self._entries.setdefault(key, []).append(_Entry(category, score, rle))

    def _picture(self, image_id: Any, where: str) -> tuple[_Reference, _Picture]:
        homes = [
            reference
            for reference in self._references.values()
            if isinstance(image_id, int) and image_id in reference.pictures
        ]
        if len(homes) == 1:
            return homes[0], homes[0].pictures[image_id]
        paths = " and ".join(str(home.path) for home in homes or self._references.values())
        if homes:
            raise DataError(
                f"{where}: image_id {image_id} is in {paths}: judge one at a time, "
                "or give their images different ids."
            )
        raise DataError(f"{where}: image_id {image_id!r} is not in {paths}.")

    def _detections(self, key: tuple[str, str], size: tuple[int, int]) -> Detections:
        entries = sorted(self._entries.get(key, []), key=lambda entry: -entry.score)
        entries = entries[:MAX_DETECTIONS]
        masks = [coco_mask.decode(entry.rle) for entry in entries]
        return Detections(
            categories=tuple(entry.category for entry in entries),
            scores=np.array([entry.score for entry in entries], dtype=np.float64),
            masks=np.array(masks, dtype=np.bool_).reshape(len(entries), *size),
        )


def _read_json(path: Path) -> tuple[bytes, Any]:
    try:
        data = path.read_bytes()
        return data, json.loads(data)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:  # not json, or not text
        raise DataError(f"{path}: not a json file ({error}).") from error


def _read_reference(path: Path, domain: str) -> _Reference:
    _, content = _read_json(path)
    try:
        pictures = {
            int(image["id"]): _Picture(
                domain, Path(image["file_name"]).stem, int(image["height"]), int(image["width"])
            )
            for image in content["images"]
        }
        names = {int(category["id"]): str(category["name"]) for category in content["categories"]}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: not a coco.json with images (id, file_name, height, width) "
            f"and categories (id, name): {error!r}."
        ) from error
    if len({picture.stem for picture in pictures.values()}) != len(content["images"]):
        raise DataError(f"{path}: two images share an id or a file name.")
    return _Reference(path, pictures, names)


def _category(entry: Mapping[str, Any], reference: _Reference, where: str) -> str:
    if isinstance(entry.get("category"), str):
        return str(entry["category"])
    number = entry.get("category_id")
    if not isinstance(number, int):
        raise DataError(f"{where}: needs a category_id (whole number) or a category (name).")
    if number in reference.names:
        return reference.names[number]
    coco = coco_names()
    if number in coco and all(coco.get(key) == name for key, name in reference.names.items()):
        return coco[number]
    known = ", ".join(f"{key} = {name}" for key, name in sorted(reference.names.items()))
    raise DataError(f"{where}: category_id {number} is not in {reference.path} ({known}).")


def coco_names() -> dict[int, str]:
    """Category number (1 - 90, with gaps) -> class name, as in COCO's annotation files."""
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

    names = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    return {number: name for number, name in enumerate(names) if number and name != "N/A"}


def _score(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{where}: score {value!r} is not a number.")
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise DataError(f"{where}: score {value} is not in [0, 1].")
    return float(value)


def _rle(segmentation: Any, picture: _Picture, where: str) -> dict[str, Any]:
    """The compressed RLE of an RLE or of polygons; DataError if it is neither."""
    size = [picture.height, picture.width]
    try:
        if isinstance(segmentation, dict):
            if list(segmentation["size"]) != size:
                raise ValueError(f"size {segmentation['size']}, the picture is {size} (H, W)")
            rle = _compressed(segmentation["counts"], size)
            if _covered(rle["counts"]) != picture.height * picture.width:
                raise ValueError("its runs do not cover the picture exactly")
            return rle
        polygons = [[float(number) for number in polygon] for polygon in segmentation]
        if not polygons or any(len(p) < 6 or len(p) % 2 for p in polygons):
            raise ValueError("a polygon needs three or more x, y pairs")
        if not all(math.isfinite(number) for polygon in polygons for number in polygon):
            raise ValueError("a polygon's numbers must be finite")
        return dict(coco_mask.merge(coco_mask.frPyObjects(polygons, *size)))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: segmentation cannot be read ({error}).") from error


def _compressed(counts: Any, size: list[int]) -> dict[str, Any]:
    if isinstance(counts, str):
        return {"size": size, "counts": counts.encode("ascii")}
    return dict(coco_mask.frPyObjects({"size": size, "counts": counts}, *size))


def _covered(counts: bytes) -> int:
    """Count the pixels that the runs of a compressed RLE cover; -1 if it is malformed.

    pycocotools leaves the rest of a mask uninitialised when the runs end early, so they are added
    up here. The code is COCO's (``rleFrString`` in cocoapi's ``maskApi.c``): five bits a character,
    lowest first, the sixth says "more follows"; from the fourth run on, the difference with the
    last but one.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        chunk = character - 48
        if not 0 <= chunk < 64:
            return -1
        value |= (chunk & 0x1F) << shift
        shift += 5
        if chunk & 0x20:
            continue
        if chunk & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return sum(runs) if runs and shift == 0 and min(runs) >= 0 else -1
