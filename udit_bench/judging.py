"""From runs, folders and bounds to the rows of a table: what ``eval`` and ``demo`` share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from udit_bench.datasets.catalogue import open_source
from udit_bench.errors import DataError
from udit_bench.evaluation import Benchmark, Extras, Row, evaluate_row
from udit_bench.files import explain_os_errors
from udit_bench.instance_lines import merge_instances
from udit_bench.methods import load_run, settings_of, title_of
from udit_bench.metrics.detectors.base import Detector
from udit_bench.metrics.protocols import PROTOCOLS
from udit_bench.records import (
    INSTANCES_NAME,
    RECORDS_NAME,
    Cost,
    Record,
    merge_records,
    read_records,
    write_records,
)
from udit_bench.registry import METHODS
from udit_bench.runs import (
    RunConfig,
    RunDirectory,
    RunInfo,
    command_line,
    git_commit,
    hardware,
    now,
    versions,
)
from udit_bench.scene import DIRECTIONS, Direction, source_domain
from udit_bench.translation import (
    Stopwatch,
    Translated,
    has_stamp,
    read_direction,
    translate_scenes,
    translation_speed,
    write_direction,
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class JudgeOptions:
    """What to judge on.

    Attributes:
        split: as asked for.
        data: data set instead of each run's own.
        labels: class names for a folder.
        size: (H, W) instead of each run's training size.
        device: where networks run.
    """

    split: str = "test"
    data: str | None = None
    labels: tuple[str, str] | None = None
    size: tuple[int, int] | None = None
    device: str = "cpu"


def open_benchmark(config: RunConfig, options: JudgeOptions) -> Benchmark:
    """The split, at the size, that a run is judged on."""
    size = options.size or settings_of(config).size
    other = options.data is not None and options.data != config.data
    labels = options.labels or (None if other else config.labels)
    source = open_source(options.data or config.data, size=size, labels=labels)
    return Benchmark(source, source.resolve(options.split), size)


def translate_run(
    run: RunDirectory,
    benchmark: Benchmark,
    direction: Direction,
    variant: str,
    *,
    device: str = "cpu",
    say: Say = lambda text: None,
) -> Path:
    """The folder of a run's translations of one direction; made if missing or out of date."""
    folder = run.translations(benchmark.split, variant, benchmark.size)
    scenes = benchmark.scenes(direction)
    stamp = {
        "steps": run.read_info().steps,
        "dataset": benchmark.source.name,
        "scenes": scenes.fingerprint(),
    }
    if not has_stamp(folder, direction, stamp):
        say(f"translating {benchmark.split} {direction} with {run.path} ({variant or 'default'})")
        translator, _, _ = load_run(run)
        watch = Stopwatch()
        place = f"{benchmark.split}{source_domain(direction)}"
        items = translate_scenes(
            translator,
            translator.prepare(scenes, place),
            direction,
            variant=variant,
            size=benchmark.size,
            device=device,
            stopwatch=watch,
        )
        write_direction(folder, direction, items, benchmark.target(direction), stamp, watch)
    return folder


def run_rows(
    run: RunDirectory, benchmark: Benchmark, *, device: str = "cpu", say: Say = lambda text: None
) -> Iterator[tuple[Row, Path]]:
    """The rows of a run, one per variant and direction, with the folder each was read from."""
    config, info = run.read_config(), run.read_info()
    trained = info.origin == "trained"
    notes = [note for note in (config.ablation, None if trained else info.origin) if note]
    for variant in METHODS.load(config.method).variants:
        for direction in DIRECTIONS:
            folder = translate_run(run, benchmark, direction, variant, device=device, say=say)
            items = read_direction(folder, direction, benchmark.scenes(direction))
            row = Row(
                kind="method",
                row=config.method,
                variant="-".join([*notes, variant] if variant else notes),
                ablation=config.ablation,
                title=title_of(config.method, [*notes, variant]),
                direction=direction,
                items=items,
                domain=direction,
                seed=config.seed,
                cost=_cost(info, translation_speed(folder, direction)),
                context=_run_context(run, config, info),
            )
            yield row, folder


def _cost(info: RunInfo, speed: float | None) -> Cost:
    trained = info.origin == "trained"
    epochs = info.epochs if trained else 0
    return Cost(
        train_seconds=round(info.seconds, 1) if trained else None,
        epoch_seconds=round(info.seconds / epochs, 2) if epochs else None,
        parameters=info.parameters,
        peak_memory_mib=round(info.peak_memory_mib, 1) if trained else None,
        images_per_second=None if speed is None else round(speed, 2),
    )


def _run_context(run: RunDirectory, config: RunConfig, info: RunInfo) -> dict[str, Any]:
    return {
        "run": run.path.name if run.path.is_absolute() else str(run.path),
        "train": {
            "argv": info.argv,
            "commit": info.commit,
            "versions": info.versions,
            "hardware": info.hardware,
            "threads": info.threads,
            "processes": info.processes,
            "device": info.device,
            "split": info.split,
            "steps": info.steps,
            "notes": info.notes,
            "preset": config.preset,
            "settings": {key: without_place(value) for key, value in config.settings.items()},
        },
    }


def without_place(value: Any) -> Any:
    """A setting as a record tells it: of an absolute path the name, which is not one machine's."""
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def external_rows(folder: Path, name: str, benchmark: Benchmark) -> list[Row]:
    """The rows of a folder of translations made by other code.

    Raises:
        DataError: it holds neither ``AtoB`` nor ``BtoA``, a file is missing or faulty, or a picture
            has another size than is judged at.
    """
    found = [direction for direction in DIRECTIONS if (folder / direction).is_dir()]
    if not found:
        raise DataError(
            f"{folder} holds neither AtoB nor BtoA; expected AtoB/images/ID.png and "
            "AtoB/masks/ID_k.png with the names of the source scenes."
        )
    rows = []
    for direction in found:
        items = read_direction(folder, direction, benchmark.scenes(direction))
        for item in items:
            _require_size(item, benchmark.size, folder / direction)
        rows.append(
            Row(
                kind="external",
                row=name,
                title=name,
                direction=direction,
                items=items,
                domain=direction,
            )
        )
    return rows


def _require_size(item: Translated, size: tuple[int, int], folder: Path) -> None:
    """DataError unless a picture from outside has the size that is judged at."""
    height, width = item.image.shape[:2]
    if (height, width) != size:
        raise DataError(
            f"{folder}: the picture {item.id} is {height} x {width} (h x w), --size or the "
            f"first picture {size[0]} x {size[1]}: pictures of one folder are judged at one size, "
            "so resize them, masks too, and leave --size out."
        )


@dataclass
class Judgement:
    """Collects records and per-instance lines, and writes them at the end."""

    detector: Detector
    say: Say = lambda text: None
    extras: Extras | None = None
    records: list[Record] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: Row, benchmark: Benchmark) -> None:
        """Judge a row under both protocols."""
        self.say(f"judging {row.title}: {row.direction}")
        row.context.update(
            argv=command_line(),
            commit=git_commit(),
            created=now(),
            versions=versions(),
            hardware=hardware(),
        )
        records, lines = evaluate_row(
            row, benchmark, self.detector, list(PROTOCOLS.values()), self.extras
        )
        self.records += records
        self.lines += lines

    def add_all(self, rows: Iterable[Row], benchmark: Benchmark) -> None:
        """Judge several rows."""
        for row in rows:
            self.add(row, benchmark)

    def write(self, results: Path) -> list[Record]:
        """Merge into ``results`` (records, instances); returns all records there."""
        path = results / RECORDS_NAME
        old = read_records(path) if path.is_file() else []
        with explain_os_errors(results):
            merge_instances(results / INSTANCES_NAME, self.records, self.lines)
        merged = merge_records(old, self.records)
        write_records(path, merged)
        return merged


def group_by_benchmark(
    runs: Sequence[RunDirectory], options: JudgeOptions
) -> list[tuple[Benchmark, list[RunDirectory]]]:
    """Runs that are judged on the same scenes, together, in the order given."""
    groups: dict[
        tuple[str, tuple[str, str], str, tuple[int, int]], tuple[Benchmark, list[RunDirectory]]
    ] = {}
    for run in runs:
        benchmark = open_benchmark(run.read_config(), options)
        key = (
            benchmark.source.name, benchmark.source.labels, benchmark.split, benchmark.size,
        )  # fmt: skip
        groups.setdefault(key, (benchmark, []))[1].append(run)
    return list(groups.values())
