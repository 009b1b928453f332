"""Where the pictures behind records lie: run folders, translations from outside, source scenes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from udit_bench.datasets.base import SceneSet
from udit_bench.datasets.catalogue import open_source
from udit_bench.errors import DataError, UditError
from udit_bench.instance_lines import ROW_COLUMNS, instance_columns
from udit_bench.records import Record
from udit_bench.registry import DATASETS
from udit_bench.report.measurements import classes_of
from udit_bench.runs import RunDirectory
from udit_bench.scene import source_domain
from udit_bench.translation import has_stamp

Verdict = tuple[float, float, str]
"""IoU, score, and why it is missed (empty: matched)."""

RowName = tuple[str, ...]


@dataclass
class RunFinder:
    """Finds the run, and its translations, that a record was judged on.

    Attributes:
        runs: the candidates.
        matched: those that some record belongs to.
    """

    runs: Sequence[RunDirectory]
    matched: dict[Path, RunDirectory] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known = [(run, run.read_config(), run.read_info()) for run in self.runs]

    def owners(self, record: Record) -> list[RunDirectory]:
        """The runs whose row the record is, best candidate first."""
        steps = record.context.get("train", {}).get("steps")
        found = []
        for run, config, info in self._known:
            same = (config.method, config.ablation, config.seed) == (
                record.row, record.ablation, record.seed,
            )  # fmt: skip
            if record.kind == "method" and same and steps in (None, info.steps):
                found.append(run)
                self.matched.setdefault(run.path, run)
        return found

    def translations(self, record: Record) -> Path | None:
        """The folder whose pictures the record is about, made from the scenes it names."""
        for run in self.owners(record):
            info, config = run.read_info(), run.read_config()
            stamp = {
                "steps": info.steps,
                "dataset": record.dataset,
                "scenes": record.manifest.get(source_domain(record.direction)),
            }
            origin = None if info.origin == "trained" else info.origin
            notes = [note for note in (config.ablation, origin) if note]
            parent = run.translations(record.split, "", record.size).parent
            for folder in sorted(parent.iterdir()) if parent.is_dir() else ():
                variant = "" if folder.name == "default" else folder.name
                named = "-".join([*notes, variant] if variant else notes) == record.variant
                if named and has_stamp(folder, record.direction, stamp):
                    return folder
        return None


def given_translations(record: Record) -> Path | None:
    """The folder of an external row, as the command that judged it named it, if it is there."""
    named = _word_after(record, "--translations")
    folder = Path(named) if named else None
    return folder if folder and (folder / record.direction / "images").is_dir() else None


def _word_after(record: Record, option: str) -> str | None:
    """What an option was given on the command line that judged a record."""
    words = [str(word) for word in record.context.get("argv", [])]
    for word, following in pairwise([*words, ""]):
        if word == option:
            return following
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return None


def open_scenes(record: Record, runs: Iterable[RunDirectory], data: str | None) -> SceneSet:
    """The very scenes that a record is about.

    Args:
        record: names data set, split, size and the digest of its scenes.
        runs: runs on that data; they know where it lies.
        data: name or path to try first.

    Raises:
        DataError: the data set is not found, or has changed since it was judged.
    """
    places = [data, *(run.read_config().data for run in runs), _word_after(record, "--data")]
    problem = "nothing says where they lie (--data PATH)"
    domain = source_domain(record.direction)
    for spec in dict.fromkeys([*places, record.dataset]):
        named = spec in DATASETS.names()
        if not spec or not (named or Path(spec).is_dir()):
            continue
        try:
            labels = None if named else classes_of(record)
            source = open_source(spec, size=record.size, labels=labels)
            if source.name != record.dataset or record.split not in source.splits:
                continue
            scenes = source.scenes(record.split, domain)
            if scenes.fingerprint() == record.manifest.get(domain):
                return scenes
            problem = "they have changed since they were judged (`udit-bench eval` again)"
        except UditError as error:
            problem = str(error).rstrip(".")
    raise DataError(f"the scenes of '{record.dataset}' ({record.split}): {problem}.")


def row_name(record: Record) -> RowName:
    """The values of the columns that name a record's lines in the CSV of instances."""
    return tuple(str(value) for value in instance_columns(record).values())


def read_verdicts(
    path: Path, records: Iterable[Record]
) -> dict[RowName, dict[tuple[str, str], Verdict]]:
    """Per record (``row_name``): (scene id, instance number) to its verdict, as far as they go.

    Raises:
        DataError: the file is not the CSV that `udit-bench eval` writes.
    """
    found: dict[RowName, dict[tuple[str, str], Verdict]] = {}
    wanted = {row_name(record) for record in records}
    if not path.is_file():
        return found
    with open(path, newline="", encoding="utf-8") as handle:
        for number, line in enumerate(csv.DictReader(handle), start=2):
            try:
                name = tuple(line[column] for column in ROW_COLUMNS)
                if name in wanted:
                    why = "" if line["matched"] == "1" else line["reason"] or "missed"
                    verdict = float(line["iou"]), float(line["score"]), why
                    found.setdefault(name, {})[line["image"], line["instance"]] = verdict
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(
                    f"{path}:{number}: not a line of instances ({error}): run `udit-bench eval` "
                    "again, or move the file away."
                ) from error
    return found


def read_json_lines(path: Path) -> list[dict[str, object]]:
    """The JSON objects of a log, one a line; half a line at its end (a crash) is left out."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise DataError(f"{path}:{number}: not a line of JSON.") from error
    return found
