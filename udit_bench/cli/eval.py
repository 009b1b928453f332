"""``udit-bench eval``: judge runs, or a folder of translations made by anybody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from udit_bench.cli.judges import open_detectors, open_extras
from udit_bench.cli.options import (
    PATH,
    Size,
    device_option,
    labels_option,
    results_option,
    runs_option,
    table_console,
    threads_option,
    torch_device,
    use_threads,
)
from udit_bench.errors import DataError, UsageError
from udit_bench.registry import METRICS

if TYPE_CHECKING:
    from udit_bench.evaluation import Benchmark
    from udit_bench.judging import Judgement, JudgeOptions
    from udit_bench.records import Record
    from udit_bench.runs import RunDirectory


@click.command("eval")
@click.argument("run", type=PATH, nargs=-1)
@click.option("--split", default="test", show_default=True)
@click.option("--data", help="Data set instead of each run's own.")
@click.option("--size", type=Size(), help="Judge at this size. [default: the training size]")
@click.option(
    "--detector",
    "detectors",
    multiple=True,
    help="One of `udit-bench detectors`; may be repeated to see whether they agree. "
    "[default: torchvision]",
)
@click.option(
    "--detector-weights", multiple=True, metavar="[NAME=]FILE", help="Weights of a detector."
)
@click.option("--detector-config", type=PATH, help="detectron2: a config file.")
@click.option("--detections", type=PATH, help="COCO-results json by any tool; needs one RUN.")
@click.option(
    "--classifier", type=PATH, help="Weights of `udit-bench classifier train`. [pasture: shipped]"
)
@click.option(
    "--with", "asked", multiple=True, metavar="METRIC", help="Measure this too: kid or fid."
)
@click.option("--inception-weights", type=PATH, help="kid, fid: instead of a download.")
@click.option("--translations", type=PATH, help="Judge this folder instead of runs.")
@click.option("--name", help="How the row of --translations is called.")
@click.option("--json", "as_json", is_flag=True, help="Print the new records as JSON lines.")
@labels_option
@threads_option
@device_option
@runs_option
@results_option
def eval_command(run: tuple[Path, ...], **options: Any) -> None:
    """Judge RUNs (default: every finished one) and the bound rows; print the table.

    \b
    udit-bench eval --split test
    udit-bench eval --translations theirs/ --name "Their method"
    udit-bench eval runs/photos/cyclegan_seg/seed0 --detector-weights judge.safetensors
    udit-bench eval --detector torchvision --detector detectron2

    Records go to RESULTS/records.jsonl, one line per instance to RESULTS/instances.csv, and the
    tables to RESULTS/table1-PROTOCOL.{tex,csv,md}.
    """
    _check(run, options)
    from udit_bench.files import require_writable
    from udit_bench.instance_lines import require_instances
    from udit_bench.judging import JudgeOptions
    from udit_bench.records import INSTANCES_NAME

    require_writable(options["results"])
    require_instances(options["results"] / INSTANCES_NAME)

    judge_options = JudgeOptions(
        options["split"],
        options["data"],
        options["labels"],
        options["size"],
        torch_device(options["device"]),
    )
    if options["translations"]:
        groups = [(_external_benchmark(options, judge_options), list["RunDirectory"]())]
    else:
        groups = _benchmarks(run, options, judge_options)
    fresh = []
    for benchmark, runs in groups:
        for judgement in _judge(benchmark, runs, options, judge_options):
            judgement.write(options["results"])
            fresh.append(judgement.records)
    if options["as_json"]:
        for record in chain.from_iterable(fresh):
            click.echo(record.model_dump_json())
        return
    _report(options["results"], list(chain.from_iterable(fresh)))


def _check(run: tuple[Path, ...], options: dict[str, Any]) -> None:
    if options["translations"] and run:
        raise UsageError("--translations judges a folder instead of runs: leave the RUNs out.")
    if options["translations"] and not options["name"]:
        raise UsageError('--translations needs --name "Their method".')
    if options["name"] and not options["translations"]:
        raise UsageError("--name names the row of --translations.")
    for name, count in Counter(options["detectors"]).items():
        if count > 1:
            raise UsageError(f"--detector {name} is given {count} times.")
    if options["detections"] and options["detectors"] not in ((), ("file",)):
        raise UsageError("--detections implies the detector 'file': leave --detector out.")
    if options["detections"] and not options["translations"] and len(run) != 1:
        raise UsageError("--detections belongs to one RUN (or to --translations): name it.")
    for name in options["asked"]:
        if not METRICS.load(name).on_demand:
            raise UsageError(
                f"--with {name}: it is measured anyway; only kid and fid are asked for."
            )
    if options["inception_weights"] and not options["asked"]:
        raise UsageError("--inception-weights is for --with kid or --with fid.")
    for option in ("detector_weights", "detector_config"):
        if options["detections"] and options[option]:
            name = option.replace("_", "-")
            raise UsageError(f"--detections were made already: leave --{name} out.")
    folder = options["translations"]
    if folder and not folder.is_dir():
        raise DataError(f"--translations {folder}: no such folder.")


def _benchmarks(
    paths: tuple[Path, ...], options: dict[str, Any], judge_options: JudgeOptions
) -> list[tuple[Benchmark, list[RunDirectory]]]:
    from udit_bench.judging import group_by_benchmark
    from udit_bench.runs import RunDirectory, find_runs

    chosen = [RunDirectory(path) for path in paths]
    for run in chosen:
        run.read_config()
    if not paths:
        for run in find_runs(options["runs"]):
            state = run.read_info().state
            if state == "finished":
                chosen.append(run)
            else:
                click.echo(
                    f"left out: {run.path} is {state} (train --resume finishes it)", err=True
                )
    if not chosen:
        raise DataError(
            f"no finished run in {options['runs']}: train one first, e.g. "
            "udit-bench train --method cyclegan_seg"
        )
    groups = group_by_benchmark(chosen, judge_options)
    for _, members in groups:
        _require_distinct(members)
    return groups


def _require_distinct(runs: list[RunDirectory]) -> None:
    """DataError where two runs would be one row and seed of the table."""
    seen: dict[tuple[Any, ...], RunDirectory] = {}
    for run in runs:
        config = run.read_config()
        key = config.method, config.ablation, config.seed, run.read_info().origin
        if key in seen:
            raise DataError(
                f"{seen[key].path} and {run.path} are both {config.method}, seed {config.seed}: "
                "one record would replace the other. Name the RUNs to judge, and give each its own "
                "--results, or train with another --seed."
            )
        seen[key] = run


def _external_benchmark(options: dict[str, Any], judge_options: JudgeOptions) -> Benchmark:
    from udit_bench.datasets.catalogue import open_source
    from udit_bench.datasets.pictures import SUFFIXES, read_picture
    from udit_bench.evaluation import Benchmark
    from udit_bench.methods import BUNDLED

    pictures = sorted(
        path
        for path in options["translations"].glob("*/images/*.*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not pictures:
        raise DataError(f"{options['translations']}: no pictures at AtoB/images or BtoA/images.")
    shape = read_picture(pictures[0]).shape
    size = judge_options.size or (shape[0], shape[1])
    source = open_source(judge_options.data or BUNDLED, size=size, labels=judge_options.labels)
    return Benchmark(source, source.resolve(judge_options.split), size)


def _judge(
    benchmark: Benchmark,
    runs: list[RunDirectory],
    options: dict[str, Any],
    judge_options: JudgeOptions,
) -> Iterator[Judgement]:
    """One judgement per detector; everything is opened before anything is translated."""
    from udit_bench.judging import Judgement, external_rows, run_rows
    from udit_bench.metrics.detectors import open_detector
    from udit_bench.scene import DIRECTIONS

    def say(text: str) -> None:
        click.echo(text, err=True)

    use_threads(options["threads"], benchmark.size)
    detections, folder = options["detections"], options["translations"]
    extras = open_extras(benchmark, options, judge_options.device)
    detectors = [] if detections else open_detectors(benchmark, options, judge_options.device)
    rows = external_rows(folder, options["name"], benchmark) if folder else []
    for run in runs:
        read = list(run_rows(run, benchmark, device=judge_options.device, say=say))
        rows += [row for row, _ in read]
        folder = read[0][1]  # with --detections there is one run; its variants share the pictures
    if detections:
        opened = open_detector(
            "file",
            dataset=benchmark.source.name,
            detections=detections,
            references=_references(folder),
        )
        detectors = [opened]
    for detector in detectors:
        judgement = Judgement(detector, say, extras)
        if not detections:  # a results json speaks of the translations only
            for direction in DIRECTIONS:
                judgement.add_all(benchmark.bounds(direction), benchmark)
        judgement.add_all(rows, benchmark)
        yield judgement


def _references(folder: Path) -> dict[str, Path]:
    """The coco.json of each direction, whose image ids a results json refers to."""
    from udit_bench.scene import DIRECTIONS

    files: dict[str, Path] = {
        direction: folder / direction / "coco.json" for direction in DIRECTIONS
    }
    found = {direction: path for direction, path in files.items() if path.is_file()}
    if not found:
        raise DataError(
            f"{folder}: neither AtoB/coco.json nor BtoA/coco.json is there; --detections needs the "
            "image ids in it."
        )
    return found


def _report(results: Path, fresh: list[Record]) -> None:
    """Print and write the tables of all records judged as the fresh ones were.

    Where they were judged in several ways (detectors, sizes), each has tables of its own: the first
    without a suffix.
    """
    from udit_bench.records import INSTANCES_NAME, RECORDS_NAME, read_records
    from udit_bench.report.render import to_console, write_tables
    from udit_bench.report.tables import build_table, protocols

    held = read_records(results / RECORDS_NAME)
    console, written = table_console(), list[Path]()
    backends = list(dict.fromkeys(str(record.detector["backend"]) for record in fresh))
    ways: dict[tuple[str, tuple[int, int]], set[str]] = {}
    for record in fresh:
        way = str(record.detector["backend"]), record.size
        ways.setdefault(way, set()).add(_judged_on(record))
    sizes = {size for _, size in ways}
    for number, ((backend, size), alike) in enumerate(ways.items()):
        records = [record for record in held if _judged_on(record) in alike]
        names = [backend] * (len(backends) > 1) + [f"{size[0]}x{size[1]}"] * (len(sizes) > 1)
        for protocol in protocols(records):
            if names:
                console.print(", ".join(names), markup=False)
            console.print(to_console(build_table(records, protocol=protocol)))
        suffix = "".join(f"-{name}" for name in names) if number else ""
        written += write_tables(records, results, suffix=suffix)
    if len(backends) > 1 and len(sizes) == 1:
        instances = results / INSTANCES_NAME
        for protocol in protocols(fresh):
            table = build_table(fresh, "agreement", protocol, instances=instances)
            console.print(to_console(table))
        written += write_tables(fresh, results, layouts=["agreement"], instances=instances)
    for path in written:
        click.echo(f"wrote {path}", err=True)


def _judged_on(record: Record) -> str:
    return repr((record.dataset, record.split, record.size, record.manifest, record.detector))
