"""The gallery of the page: every source scene with what each row made of it.

Pictures are files of their own, loaded when they come near the window. Outlines of masks lie in
small scripts, one for some scenes, loaded when masks are asked for: a page opened from disk may
load scripts, but not fetch files.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from udit_bench.datasets.base import SceneSet
from udit_bench.datasets.transforms import fit
from udit_bench.errors import DataError
from udit_bench.records import INSTANCES_NAME, Record
from udit_bench.report.measurements import HALVES, RowKey, dataset_order, row_key
from udit_bench.report.page_masks import outlines
from udit_bench.report.page_sources import (
    RowName,
    RunFinder,
    Verdict,
    given_translations,
    open_scenes,
    read_verdicts,
    row_name,
)
from udit_bench.scene import ImageArray
from udit_bench.translation import read_direction

LONGEST = 512
"""Longer side of the pictures on the page, in pixels; larger ones are reduced."""
CRISP = 160 * 160
"""Pictures of at most so many pixels are kept exactly, larger ones at WebP quality 88."""
CHUNK = 20
"""Scenes per script of outlines."""

Side = tuple[str, str]
ColumnKey = tuple[RowKey, int | None]
Verdicts = Mapping[RowName, Mapping[tuple[str, str], Verdict]]


@dataclass
class Gallery:
    """What the page knows of the pictures.

    Attributes:
        columns: rows and seeds, in the order of the tables.
        sides: data sets and directions with their labels, sizes and the columns that are there.
        scenes: per scene its side, id, instance numbers and verdicts.
        reasons: words for the numbers in the verdicts; number 0 means matched.
        notes: what was left out, and why.
        masks: outlines of every scene, by column.
        missing: rows without pictures, and their seeds.
        unjudged: rows without lines of instances.
    """

    columns: list[dict[str, Any]] = field(default_factory=list)
    sides: list[dict[str, Any]] = field(default_factory=list)
    scenes: list[dict[str, Any]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=lambda: [""])
    notes: list[str] = field(default_factory=list)
    masks: list[dict[str, Any]] = field(default_factory=list)
    missing: dict[RowKey, dict[int | None, None]] = field(default_factory=dict)
    unjudged: dict[RowKey, None] = field(default_factory=dict)


@dataclass(frozen=True)
class GalleryMaker:
    """Writes pictures and outlines of the records' rows below ``folder / media``.

    Attributes:
        records: all that the page is about.
        titles: printed titles of the rows.
        finder: knows the runs.
        data: name or path of the data set, where given.
        folder: of the page.
        say: progress.
    """

    records: Sequence[Record]
    titles: Mapping[RowKey, str]
    finder: RunFinder
    data: str | None
    folder: Path
    say: Callable[[str], None] = lambda text: None

    def make(self, results: Path) -> Gallery:
        """Write everything; rows without pictures and data without scenes end up in the notes."""
        gallery = Gallery()
        keys = self._column_keys()
        gallery.columns = [self._column(key, keys) for key in keys]
        verdicts = read_verdicts(results / INSTANCES_NAME, self.records)
        for side, members in _sides(self.records).items():
            self._add_side(gallery, side, members, keys, verdicts)
        self._write_masks(gallery.masks)
        gallery.notes += self._notes(gallery, bool(verdicts))
        return gallery

    def _notes(self, gallery: Gallery, judged: bool) -> list[str]:
        """What the reader of the gallery misses, and what would bring it."""
        notes = [
            _left_out(key, self.titles[key], list(seeds)) for key, seeds in gallery.missing.items()
        ]
        if gallery.scenes and not judged:
            notes.append(
                f"Verdicts: no {INSTANCES_NAME} beside the records tells what became of single "
                "instances; udit-bench eval writes it."
            )
        elif gallery.scenes:
            notes += [
                f"{self.titles[key]}: {INSTANCES_NAME} does not tell what became of its instances."
                for key in gallery.unjudged
                if key not in gallery.missing
            ]
        return notes

    def _column_keys(self) -> list[ColumnKey]:
        """Methods and external rows, in the order of the tables; seeds ascending."""
        order = {key: place for place, key in enumerate(self.titles)}
        held = {(row_key(r), r.seed) for r in self.records if r.kind != "bound"}
        return sorted(held, key=lambda key: (order[key[0]], -1 if key[1] is None else key[1]))

    def _column(self, key: ColumnKey, keys: Sequence[ColumnKey]) -> dict[str, Any]:
        """Its title; ``main`` ones are shown from the start: whole methods, their first seed."""
        row, seed = key
        ablated = any(r.ablation for r in self.records if row_key(r) == row)
        whole = any(k[0][1] == row[1] and not k[0][2] for k in keys)
        first = next(k for k in keys if k[0] == row) == key
        return {
            "title": self.titles[row],
            "seed": seed if sum(k[0] == row for k in keys) > 1 else None,
            "main": first and not (ablated and whole),
        }

    def _add_side(
        self,
        gallery: Gallery,
        side: Side,
        members: Sequence[Record],
        keys: Sequence[ColumnKey],
        verdicts: Verdicts,
    ) -> None:
        first = members[0]
        owners = [run for record in members for run in self.finder.owners(record)]
        folders = self._folders(gallery, members, keys)
        if not folders:
            return
        try:
            scenes = open_scenes(first, owners, self.data)
        except DataError as error:
            gallery.notes.append(f"{first.source} to {first.target}: {error}")
            return
        start = len(gallery.scenes)
        gallery.sides.append(
            {
                "dataset": first.dataset,
                "direction": first.direction,
                "label": f"{first.source} to {first.target}",
                "size": list(first.size),
                "columns": sorted(folders),
            }
        )
        self.say(f"pictures of {first.source} to {first.target}: the {len(scenes)} source scenes")
        for number, scene in enumerate(scenes, start=start):
            fitted = fit(scene, first.size)
            self._save(fitted.image, "source", number)
            gallery.scenes.append(
                {"side": len(gallery.sides) - 1, "id": scene.id, "k": list(scene.indices), "v": {}}
            )
            gallery.masks.append({"source": outlines(fitted.masks)})
        for column, folder in sorted(folders.items()):
            title = gallery.columns[column]["title"]
            self.say(f"pictures of {first.source} to {first.target}: {title}, {folder}")
            try:
                self._add_column(gallery, start, column, folder, first, scenes)
            except DataError as error:
                gallery.notes.append(f"{title}: {error}")
                gallery.sides[-1]["columns"].remove(column)
        _add_verdicts(gallery, start, members, keys, verdicts)

    def _folders(
        self, gallery: Gallery, members: Sequence[Record], keys: Sequence[ColumnKey]
    ) -> dict[int, Path]:
        folders: dict[int, Path] = {}
        for record in members:
            if record.kind == "bound":
                continue
            key = row_key(record), record.seed
            place = keys.index(key)
            external = record.kind == "external"
            found = given_translations(record) if external else self.finder.translations(record)
            if found is not None:
                folders[place] = found
            else:
                gallery.missing.setdefault(key[0], {})[record.seed] = None
        return folders

    def _add_column(
        self,
        gallery: Gallery,
        start: int,
        column: int,
        folder: Path,
        record: Record,
        scenes: SceneSet,
    ) -> None:
        items = read_direction(folder, record.direction, scenes)  # all, before any is kept
        for number, item in enumerate(items, start):
            self._save(item.image, str(column), number)
            gallery.masks[number][str(column)] = outlines(item.masks)

    def _save(self, image: ImageArray, column: str, number: int) -> None:
        path = self.folder / "media" / column / f"{number}.webp"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(image))

    def _write_masks(self, masks: Sequence[Mapping[str, Any]]) -> None:
        folder = self.folder / "media" / "masks"
        for chunk in range(0, len(masks), CHUNK):
            folder.mkdir(parents=True, exist_ok=True)
            some = json.dumps(masks[chunk : chunk + CHUNK], separators=(",", ":"))
            text = f"uditMasks({chunk // CHUNK},{some});\n"
            (folder / f"{chunk // CHUNK}.js").write_text(text, encoding="utf-8")


def encode(image: ImageArray) -> bytes:
    """A picture ``(H, W, 3) uint8`` as WebP: exact if small, else reduced and compressed."""
    picture = Image.fromarray(image)
    if max(picture.size) > LONGEST:
        picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    exact = image.shape[0] * image.shape[1] <= CRISP
    picture.save(buffer, "WEBP", lossless=exact, quality=50 if exact else 88, method=2)
    return buffer.getvalue()


def _sides(records: Sequence[Record]) -> dict[Side, list[Record]]:
    """Data sets and directions; within a data set in the order of the halves of a cell."""
    groups: dict[Side, list[Record]] = {}
    for dataset in dataset_order(records):
        for direction in HALVES:
            held = [r for r in records if (r.dataset, r.direction) == (dataset, direction)]
            if held:
                groups[dataset, direction] = held
    return groups


def _left_out(key: RowKey, title: str, seeds: Sequence[int | None]) -> str:
    if key[0] == "external":
        return f"{title}: its folder of translations is not found from here."
    numbers = ", ".join(str(seed) for seed in seeds if seed is not None)
    several = f" (seed{'s' if len(seeds) > 1 else ''} {numbers})" if numbers else ""
    return (
        f"{title}{several}: no run folder holds the translations that were judged; "
        "udit-bench eval RUN makes them again."
    )


def _add_verdicts(
    gallery: Gallery,
    start: int,
    members: Sequence[Record],
    keys: Sequence[ColumnKey],
    verdicts: Verdicts,
) -> None:
    """Per scene, protocol and column: IoU and score in thousandths and the reason's number."""
    numbers = {reason: number for number, reason in enumerate(gallery.reasons)}
    for record in members:
        if record.kind == "bound":
            continue
        held = verdicts.get(row_name(record))
        if held is None:
            gallery.unjudged[row_key(record)] = None
            continue
        column = str(keys.index((row_key(record), record.seed)))
        protocol = str(record.protocol.get("name", ""))
        for scene in gallery.scenes[start:]:
            lines = [held.get((scene["id"], str(k))) for k in scene["k"]]
            if None not in lines:
                said = list(_compact(lines, numbers))
                scene["v"].setdefault(protocol, {})[column] = said
    gallery.reasons = list(numbers)


def _compact(lines: Sequence[Verdict | None], numbers: dict[str, int]) -> Iterator[list[int]]:
    for line in lines:
        assert line is not None
        iou, score, reason = line
        yield [
            round(1000 * iou), round(1000 * score), numbers.setdefault(reason, len(numbers)),
        ]  # fmt: skip
