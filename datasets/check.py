"""Looking through a whole data set for what would stop a run, or quietly spoil it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from udit_bench.datasets import coco_json, instagan_folder
from udit_bench.datasets.base import SceneSource
from udit_bench.datasets.catalogue import open_folder, open_source
from udit_bench.datasets.instagan_folder import DOMAINS, InstaGANFolder, list_folder, wrong_size
from udit_bench.datasets.pictures import GreyArray, read_grey, read_picture
from udit_bench.errors import DataError, UditError
from udit_bench.registry import DATASETS
from udit_bench.scene import Domain

SOFT = (64, 192)  # grey values that are neither foreground nor background


@dataclass
class Tally:
    """Pictures and instances of one split and domain."""

    pictures: int = 0
    instances: int = 0


@dataclass
class Findings:
    """What was found in a data set.

    Attributes:
        problems: one line each; none for a sound data set.
        notes: what is worth knowing but does no harm, such as a picture that is there twice.
        counts: tally of each (split, domain).
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: dict[tuple[str, Domain], Tally] = field(default_factory=dict)


def check_source(where: str | Path | SceneSource) -> list[str]:
    """Problems of a data set, one line each: a registered name, a folder, or an open source.

    Goes on past every problem and raises for none: files that are missing, unreadable or of the
    wrong size, masks without a picture, masks that are not clearly black and white, ids, instance
    numbers or instances that are there twice, domains without a picture or an instance.
    """
    return inspect_source(where).problems


def inspect_source(where: str | Path | SceneSource) -> Findings:
    """``check_source``, with notes and the number of pictures and instances on top."""
    findings = Findings()
    try:
        _inspect(where, findings)
    except UditError as error:
        findings.problems.append(str(error))
    except OSError as error:
        findings.problems.append(f"{error.filename or where}: {error.strerror or error}.")
    for (split, domain), tally in findings.counts.items():
        if tally.pictures and not tally.instances:
            findings.problems.append(f"{split} {domain}: no instance in any of its pictures.")
    return findings


def _inspect(where: str | Path | SceneSource, findings: Findings) -> None:
    if isinstance(where, InstaGANFolder | coco_json.CocoFolder):
        where = where.root
    elif isinstance(where, str) and where in DATASETS.names():
        where = open_source(where)
    if isinstance(where, SceneSource):
        _inspect_any(where, findings)
    elif not Path(where).is_dir():
        findings.problems.append(f"{where}: no such folder.")
    elif coco_json.splits_in(Path(where)):
        _inspect_coco(Path(where), findings)
    else:
        _inspect_instagan(Path(where), findings)


def _inspect_any(source: SceneSource, findings: Findings) -> None:
    for split in source.splits:
        for domain in DOMAINS:
            scenes = source.scenes(split, domain)
            tally = findings.counts[split, domain] = Tally(len(scenes))
            if len(set(scenes.ids)) != len(scenes):
                findings.problems.append(f"{split} {domain}: several pictures share an id.")
            for index in range(len(scenes)):
                try:
                    tally.instances += scenes.load(index).count
                except UditError as error:
                    findings.problems.append(str(error))


def _inspect_instagan(root: Path, findings: Findings) -> None:
    for split in instagan_folder.SPLITS:
        there = [domain for domain in DOMAINS if (root / f"{split}{domain}").is_dir()]
        if len(there) == 1:
            other = DOMAINS[1 - DOMAINS.index(there[0])]
            findings.problems.append(f"{root / (split + other)}: the other domain is missing.")
        for domain in there:
            tally = findings.counts[split, domain] = Tally()
            findings.problems.extend(_instagan_problems(root, split, domain, tally, findings.notes))
    try:
        open_folder(root)
    except DataError as error:
        if str(error) not in findings.problems:
            findings.problems.append(str(error))


def _instagan_problems(
    root: Path, split: str, domain: Domain, tally: Tally, notes: list[str]
) -> Iterator[str]:
    listing = list_folder(root, split, domain)
    yield from listing.errors
    yield from listing.strays
    tally.pictures = len(listing.pictures)
    pictures, masks = Repeats("picture"), Repeats("mask")
    for id_, path in listing.pictures.items():
        shape: tuple[int, ...] | None = None
        try:
            image = read_picture(path)
            shape = image.shape[:2]
            notes.extend(pictures.seen(image.tobytes(), path.name, path))
        except DataError as error:
            yield str(error)
        for file in listing.masks.get(id_, {}).values():
            try:
                grey = read_grey(file)
            except DataError as error:
                yield str(error)
                continue
            if shape is not None and grey.shape != shape:
                yield wrong_size(file, grey.shape, path, shape)
            if _unclear(grey):
                yield f"{file}: not clearly black and white; foreground is 128 and above."
            if (grey >= 128).any():
                tally.instances += 1
                yield from masks.seen(id_.encode() + (grey >= 128).tobytes(), file.name, file)


def _unclear(grey: GreyArray) -> bool:
    """Whether the cut at 128 is doubtful; soft edges, as from resizing, are not."""
    foreground = np.count_nonzero(grey >= 128)
    between = np.count_nonzero((grey >= SOFT[0]) & (grey < SOFT[1]))
    return bool(between > foreground or (not foreground and grey.any()))


def _inspect_coco(root: Path, findings: Findings) -> None:
    usable: dict[Domain, list[coco_json.AnnotationFile]] = {"A": [], "B": []}
    for split in instagan_folder.SPLITS:
        paths = {d: coco_json.annotation_path(root, split, d) for d in DOMAINS}
        there = [domain for domain in DOMAINS if paths[domain].is_file()]
        for domain in DOMAINS if there else ():
            tally = findings.counts[split, domain] = Tally()
            try:
                file = coco_json.read_annotations(root, split, domain)
            except DataError as error:
                findings.problems.append(str(error))
                continue
            usable[domain].append(file)
            findings.problems.extend(file.problems)
            findings.problems.extend(_coco_problems(file, tally, findings.notes))
            if file.crowds:
                findings.notes.append(f"{file.path}: {file.crowds} crowd regions left out.")
    for files in usable.values():
        try:
            if files:
                coco_json.common_label(files)
        except DataError as error:
            findings.problems.append(str(error))


def _coco_problems(file: coco_json.AnnotationFile, tally: Tally, notes: list[str]) -> Iterator[str]:
    tally.pictures = len(file.records)
    pictures = Repeats("picture")
    for record in file.records:
        try:
            image = coco_json.read_record_picture(record, file.path)
            notes.extend(pictures.seen(image.tobytes(), record.path.name, record.path))
        except DataError as error:
            yield str(error)
        masks = Repeats("mask")
        for annotation in record.annotations:
            try:
                mask = coco_json.read_record_mask(annotation, record, file.path)
            except DataError as error:
                yield str(error)
                continue
            if mask.any():
                tally.instances += 1
                name = f"annotation {annotation.get('id', '?')}"
                yield from masks.seen(mask.tobytes(), name, f"{file.path}: {name}")


class Repeats:
    """Notices content that was there before."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._first: dict[bytes, str] = {}

    def seen(self, content: bytes, name: str, where: Path | str) -> Iterator[str]:
        """One line if ``content`` was seen before, under another name."""
        first = self._first.setdefault(hashlib.blake2b(content).digest(), name)
        if first != name:
            yield f"{where}: the same {self.what} as {first}."
