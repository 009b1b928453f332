"""A pair of domains as COCO json: ``images/trainA/`` with ``annotations/instances_trainA.json``.

The same for domain B and for ``val``, ``test`` and ``sample``. Segmentations are polygons, or
run-length codes, compressed or not. Crowd regions (``iscrowd`` 1) are no instances and are left
out, and so are segmentations without a pixel; pictures without annotations stay, with N = 0. An
instance's number is its position among the annotations of its picture, crowds not counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as rle

from udit_bench.datasets.base import SceneSet, SceneSource, digest
from udit_bench.datasets.instagan_folder import DOMAINS, SPLITS
from udit_bench.datasets.pictures import read_bytes, read_picture, size_text
from udit_bench.errors import DataError
from udit_bench.scene import Domain, ImageArray, MaskArray, Scene

Json = dict[str, Any]
Key = int | str  # of pictures and categories
FAR = 16  # a polygon may leave its picture by at most that many sides


@dataclass(frozen=True)
class Record:
    """One picture of an annotation file.

    Attributes:
        id: its file name without suffix.
        path: the picture's file.
        size: ``(H, W)`` as the annotation file states it.
        annotations: its instances, crowds left out, in the order of the file.
    """

    id: str
    path: Path
    size: tuple[int, int]
    annotations: list[Json] = field(default_factory=list)


@dataclass(frozen=True)
class AnnotationFile:
    """One annotation file, read and indexed; masks are decoded on demand.

    Attributes:
        path: the json file.
        records: its pictures, in its order.
        categories: name of each category id.
        used: names of the categories that its instances use, sorted.
        crowds: number of crowd regions left out.
        problems: what is wrong with it, one line each.
    """

    path: Path
    records: list[Record]
    categories: dict[Key, str]
    used: tuple[str, ...]
    crowds: int
    problems: list[str]


def annotation_path(root: Path, split: str, domain: Domain) -> Path:
    """``annotations/instances_trainA.json`` and so on."""
    return root / "annotations" / f"instances_{split}{domain}.json"


def read_annotations(root: Path, split: str, domain: Domain) -> AnnotationFile:
    """Read and index one annotation file; faulty entries are noted in ``problems``.

    Raises:
        DataError: the file is missing, not JSON, or not of COCO's form as a whole.
    """
    path = annotation_path(root, split, domain)
    content = _read_json(path)
    problems: list[str] = []
    by_id = _index_images(content["images"], root / "images" / f"{split}{domain}", path, problems)
    names = _index_categories(content["categories"], path, problems)
    used: set[str] = set()
    crowds = 0
    for number, entry in enumerate(content["annotations"]):
        wrong = _annotation_problem(entry, by_id, names)
        if wrong:
            tag = entry.get("id", f"at position {number}") if isinstance(entry, dict) else number
            problems.append(f"{path}: annotation {tag} {wrong}.")
        elif entry.get("iscrowd"):
            crowds += 1
        else:
            by_id[entry["image_id"]].annotations.append(entry)
            used.add(names[entry["category_id"]])
    return AnnotationFile(path, list(by_id.values()), names, tuple(sorted(used)), crowds, problems)


def _read_json(path: Path) -> Json:
    try:
        content = json.loads(read_bytes(path))
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}).") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(f"{path}: not in COCO's form: there is no list '{key}'.")
    return dict(content)


def _index_images(
    entries: list[Any], folder: Path, path: Path, problems: list[str]
) -> dict[Key, Record]:
    by_id: dict[Key, Record] = {}
    seen: set[str] = set()
    for number, entry in enumerate(entries):
        try:
            name, key = PurePosixPath(entry["file_name"]), _key(entry["id"])
            size = int(entry["height"]), int(entry["width"])
            id_ = "_".join(name.with_suffix("").parts)
        except (KeyError, TypeError, ValueError, OverflowError):
            problems.append(
                f"{path}: picture at position {number} needs id, file_name, width and height."
            )
            continue
        if name.is_absolute() or ".." in name.parts or min(size) < 1:
            problems.append(f"{path}: picture {key} has an impossible file name or size.")
        elif key in by_id or id_ in seen:
            problems.append(f"{path}: picture {key} ({name}) is listed twice.")
        else:
            by_id[key] = Record(id_, folder / name, size)
            seen.add(id_)
    if not by_id:
        problems.append(f"{path}: it lists no picture.")
    return by_id


def _key(value: Any) -> Key:
    if not isinstance(value, int | str):
        raise TypeError(f"an id is a number or a string, not {value!r}")
    return value


def _index_categories(entries: list[Any], path: Path, problems: list[str]) -> dict[Key, str]:
    names: dict[Key, str] = {}
    for number, entry in enumerate(entries):
        try:
            names[_key(entry["id"])] = str(entry["name"])
        except (KeyError, TypeError, ValueError):
            problems.append(f"{path}: category at position {number} needs id and name.")
    return names


def _annotation_problem(entry: Any, images: dict[Key, Record], names: dict[Key, str]) -> str:
    if not isinstance(entry, dict):
        return "is not an object"
    picture, category = entry.get("image_id"), entry.get("category_id")
    if not isinstance(picture, int | str) or picture not in images:
        return f"is for the unknown picture {picture}"
    if not isinstance(category, int | str) or category not in names:
        return f"has the unknown category {category}"
    if not isinstance(entry.get("segmentation"), list | dict):
        return "has no segmentation"
    return ""


def decode(segmentation: list[Any] | Json, size: tuple[int, int]) -> MaskArray:
    """A COCO segmentation as ``(H, W) bool``.

    Args:
        segmentation: list of polygons ``[x0, y0, x1, y1, ...]`` (one of fewer than three points
            covers nothing), or ``{"size": [H, W], "counts": list or str}``.
        size: ``(H, W)`` of the picture.

    Raises:
        ValueError: it is malformed or of another size (says how).
    """
    height, width = size
    if isinstance(segmentation, dict):
        return _decode_runs(segmentation, size)
    try:
        polygons = [[float(number) for number in polygon] for polygon in segmentation]
    except (TypeError, ValueError) as error:
        raise ValueError("its polygon is not a list of numbers") from error
    if any(len(polygon) % 2 or not np.isfinite(polygon).all() for polygon in polygons):
        raise ValueError("its polygon is not made of pairs of finite numbers")
    if any(abs(number) > FAR * max(size) for polygon in polygons for number in polygon):
        raise ValueError(f"its polygon lies far outside of its picture of {size_text(size)}")
    polygons = [polygon for polygon in polygons if len(polygon) >= 6]
    if not polygons:
        return np.zeros(size, dtype=bool)
    codes = rle.frPyObjects(polygons, height, width)
    return np.asarray(rle.decode(rle.merge(codes)), dtype=bool)


def _decode_runs(segmentation: Json, size: tuple[int, int]) -> MaskArray:
    stated, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(stated, list) or len(stated) != 2:
        raise ValueError("its run-length code states no size")
    if tuple(stated) != size:
        height, width = stated
        raise ValueError(f"its mask is {width} x {height}, its picture is {size_text(size)}")
    if isinstance(counts, list):
        if not all(isinstance(n, int) and n >= 0 for n in counts) or sum(counts) != np.prod(size):
            raise ValueError("its run-length code does not add up to the picture's pixels")
        code = rle.frPyObjects({"size": stated, "counts": counts}, *size)
    elif isinstance(counts, str):
        if not _adds_up(counts.encode(), int(np.prod(size))):
            raise ValueError("its run-length code is broken")
        code = {"size": stated, "counts": counts.encode()}
    else:
        raise ValueError("its run-length code is neither a list nor a string")
    return np.asarray(rle.decode(code), dtype=bool)


def _adds_up(counts: bytes, pixels: int) -> bool:
    """Whether the runs of a compressed code fill the picture; pycocotools does not ask.

    A run takes characters of 5 bits each, low bits first, bit 6 set on all but the last, whose
    bit 5 is the sign; from the fourth run on it is the difference from the last but one.
    """
    codes = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        return False
    ends = np.flatnonzero((codes & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 8:
        return False
    place = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    runs = np.add.reduceat((codes & 31) << place, starts)
    runs -= np.where(codes[ends] & 16, 1 << (5 * lengths), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return bool(runs.min() >= 0 and runs.sum() == pixels)


def read_record_picture(record: Record, path: Path) -> ImageArray:
    """The picture of a record, ``(H, W, 3) uint8`` RGB; ``path`` is its annotation file.

    Raises:
        DataError: missing, unreadable, or not of the size in the annotation file.
    """
    image = read_picture(record.path)
    if image.shape[:2] != record.size:
        raise DataError(
            f"{record.path}: the picture is {size_text((image.shape[0], image.shape[1]))}, "
            f"{path.name} says {size_text(record.size)}."
        )
    return image


def read_record_mask(annotation: Json, record: Record, path: Path) -> MaskArray:
    """The mask ``(H, W) bool`` of one annotation of a record; ``path`` is its annotation file.

    Raises:
        DataError: the segmentation is malformed or of another size.
    """
    try:
        return decode(annotation["segmentation"], record.size)
    except ValueError as error:
        where = f"annotation {annotation.get('id', '?')} of {record.path.name}"
        raise DataError(f"{path}: {where}: {error}.") from error


class CocoScenes(SceneSet):
    """One split and domain of a ``CocoFolder``.

    Args:
        annotations: its annotation file.
        label: class name of the scenes; where it is the name of a category of the file, only the
            instances of that category count.
    """

    def __init__(self, annotations: AnnotationFile, label: str) -> None:
        self.annotations = annotations
        self.label = label
        self.ids = tuple(record.id for record in annotations.records)
        self._category = {i for i, name in annotations.categories.items() if name == label}

    def load(self, index: int) -> Scene:
        record, path = self.annotations.records[index], self.annotations.path
        image = read_record_picture(record, path)
        masks: list[MaskArray] = []
        numbers: list[int] = []
        for number, annotation in enumerate(record.annotations):
            if self._category and annotation["category_id"] not in self._category:
                continue
            mask = read_record_mask(annotation, record, path)
            if mask.any():
                masks.append(mask)
                numbers.append(number)
        stack = np.stack(masks) if masks else np.zeros((0, *record.size), dtype=bool)
        return Scene(image, stack, self.label, record.id, str(record.path), tuple(numbers))

    def fingerprint(self) -> str:
        return digest(self._content())

    def _content(self) -> Iterator[bytes]:
        yield self.label.encode()
        yield read_bytes(self.annotations.path)
        for record in self.annotations.records:
            yield record.id.encode()
            yield read_bytes(record.path)


class CocoFolder(SceneSource):
    """A folder of pictures with COCO json; see the module's docstring.

    Args:
        root: the folder that holds ``images`` and ``annotations``.
        labels: class names of A and B. Without them, each domain's is the one category that its
            annotations use. Where a name is a category of the file, only its instances are read;
            any other name renames the one category in use.

    Raises:
        DataError: no split has both domains, a file is not COCO json or contradicts itself, a
            domain uses several categories, or its splits use different ones.
    """

    def __init__(self, root: Path | str, labels: tuple[str, str] | None = None) -> None:
        self.root = Path(root)
        self.name = self.root.resolve().name
        self.splits = splits_in(self.root)
        if not self.splits:
            raise DataError(
                f"{self.root}: no split with both domains "
                f"(such as annotations/instances_trainA.json and instances_trainB.json)."
            )
        files = {(s, d): read_annotations(self.root, s, d) for s in self.splits for d in DOMAINS}
        for file in files.values():
            if file.problems:
                raise DataError(file.problems[0])
        asked = labels or (None, None)
        one, two = (
            common_label([files[split, domain] for split in self.splits], name)
            for domain, name in zip(DOMAINS, asked, strict=True)
        )
        self.labels = (one, two)
        self.crowds = sum(file.crowds for file in files.values())
        left_out = f"; {self.crowds} crowd regions left out" if self.crowds else ""
        self.about = f"{one} / {two}, COCO json ({', '.join(self.splits)}){left_out}"
        self._sets = {key: CocoScenes(file, self.label(key[1])) for key, file in files.items()}

    def scenes(self, split: str, domain: Domain) -> SceneSet:
        return self._sets[self.resolve(split), domain]


def splits_in(root: Path) -> tuple[str, ...]:
    """The splits for which ``root`` has an annotation file of both domains."""
    return tuple(s for s in SPLITS if all(annotation_path(root, s, d).is_file() for d in DOMAINS))


def common_label(files: list[AnnotationFile], asked: str | None = None) -> str:
    """The one class name of a domain's annotation files, or ``asked`` if they allow it.

    Raises:
        DataError: several categories are in use and ``asked`` is none of them, or none is in use
            and the name cannot be told.
    """
    if asked and any(asked in file.categories.values() for file in files):
        return asked
    for file in files:
        if len(file.used) > 1:
            raise DataError(
                f"{file.path}: one category is needed, its annotations use "
                f"{', '.join(file.used)}: give the label to read."
            )
    found = {file.used[0]: file for file in files if file.used}
    if len(found) > 1:
        told = ", ".join(f"{name} in {file.path.name}" for name, file in found.items())
        raise DataError(f"{files[0].path.parent}: the splits disagree on the category: {told}.")
    listed = {name for file in files for name in file.categories.values()}
    if asked or found or len(listed) == 1:
        return asked or next(iter(found), None) or listed.pop()
    raise DataError(f"{files[0].path}: no annotation tells the category: give the labels.")
