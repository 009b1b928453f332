"""``udit-bench eval``: judge runs, or a folder of translations made by anybody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from udit_bench.cli.options import (
    PATH,
    Size,
    device_option,
    labels_option,
    results_option,
    runs_option,
    table_console,
    torch_device,
)
from udit_bench.errors import DataError, UsageError

if TYPE_CHECKING:
    from udit_bench.evaluation import Benchmark
    from udit_bench.judging import Judgement, JudgeOptions
    from udit_bench.metrics.detectors.base import Detector
    from udit_bench.records import Record
    from udit_bench.runs import RunDirectory


@click.command("eval")
@click.argument("run", type=PATH, nargs=-1)
@click.option("--split", default="test", show_default=True)
@click.option("--data", help="Data set instead of each run's own.")
@click.option("--size", type=Size(), help="Judge at this size. [default: the training size]")
@click.option("--detector", help="One of `udit-bench detectors`. [default: torchvision]")
@click.option("--detector-weights", type=PATH, help="Weights of the detector.")
@click.option("--detections", type=PATH, help="COCO-results json by any tool; needs one RUN.")
@click.option("--translations", type=PATH, help="Judge this folder instead of runs.")
@click.option("--name", help="How the row of --translations is called.")
@click.option("--json", "as_json", is_flag=True, help="Print the new records as JSON lines.")
@labels_option
@device_option
@runs_option
@results_option
def eval_command(run: tuple[Path, ...], **options: Any) -> None:
    """Judge RUNs (default: every finished one) and the bound rows; print the table.

    \b
    udit-bench eval --split test
    udit-bench eval --translations theirs/ --name "Their method"
    udit-bench eval runs/photos/cyclegan_seg/seed0 --detector-weights judge.safetensors

    Records go to RESULTS/records.jsonl, one line per instance to RESULTS/instances.csv, and the
    tables to RESULTS/table1-PROTOCOL.{tex,csv,md}.
    """
    _check(run, options)
    from udit_bench.files import require_writable
    from udit_bench.judging import JudgeOptions

    require_writable(options["results"])

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
    records = []
    for benchmark, runs in groups:
        judgement = _judge(benchmark, runs, options, judge_options)
        judgement.write(options["results"])
        records += judgement.records
    if options["as_json"]:
        for record in records:
            click.echo(record.model_dump_json())
        return
    _report(options["results"], records)


def _check(run: tuple[Path, ...], options: dict[str, Any]) -> None:
    if options["translations"] and run:
        raise UsageError("--translations judges a folder instead of runs: leave the RUNs out.")
    if options["translations"] and not options["name"]:
        raise UsageError('--translations needs --name "Their method".')
    if options["name"] and not options["translations"]:
        raise UsageError("--name names the row of --translations.")
    if options["detections"] and options["detector"] not in (None, "file"):
        raise UsageError("--detections implies the detector 'file': leave --detector out.")
    if options["detections"] and not options["translations"] and len(run) != 1:
        raise UsageError("--detections belongs to one RUN (or to --translations): name it.")
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
    return group_by_benchmark(chosen, judge_options)


def _external_benchmark(options: dict[str, Any], judge_options: JudgeOptions) -> Benchmark:
    from udit_bench.datasets.catalogue import open_source
    from udit_bench.datasets.pictures import read_picture
    from udit_bench.evaluation import Benchmark
    from udit_bench.methods import BUNDLED

    pictures = sorted(options["translations"].glob("*/images/*.*"))
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
) -> Judgement:
    from udit_bench.judging import Judgement, external_rows, run_rows
    from udit_bench.metrics.detectors import open_detector
    from udit_bench.scene import DIRECTIONS

    def say(text: str) -> None:
        click.echo(text, err=True)

    detections, folder = options["detections"], options["translations"]
    detector = None if detections else _open_detector(benchmark, options, judge_options.device)
    rows = external_rows(folder, options["name"], benchmark) if folder else []
    for run in runs:
        read = list(run_rows(run, benchmark, device=judge_options.device, say=say))
        rows += [row for row, _ in read]
        folder = read[0][1]  # with --detections there is one run; its variants share the pictures
    if detector is None:
        detector = open_detector(
            "file",
            dataset=benchmark.source.name,
            weights=options["detector_weights"],
            detections=detections,
            references=_references(folder),
        )
    judgement = Judgement(detector, say)
    if not detections:  # a results json speaks of the translations only
        for direction in DIRECTIONS:
            judgement.add_all(benchmark.bounds(direction), benchmark)
    judgement.add_all(rows, benchmark)
    return judgement


def _open_detector(benchmark: Benchmark, options: dict[str, Any], device: str) -> Detector:
    """A detector that looks at pictures, checked before anything is translated."""
    from udit_bench.evaluation import require_class
    from udit_bench.metrics.detectors import open_detector

    detector = open_detector(
        options["detector"] or "torchvision",
        dataset=benchmark.source.name,
        weights=options["detector_weights"],
        device=device,
    )
    for label in benchmark.source.labels:
        require_class(detector, label)
    return detector


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
    """Print and write the tables of all records judged as the fresh ones were."""
    from udit_bench.records import RECORDS_NAME, read_records
    from udit_bench.report.render import to_console, write_tables
    from udit_bench.report.tables import build_table, protocols

    alike = {_judged_on(record) for record in fresh}
    records = [r for r in read_records(results / RECORDS_NAME) if _judged_on(r) in alike]
    console = table_console()
    for protocol in protocols(records):
        console.print(to_console(build_table(records, protocol=protocol)))
    for path in write_tables(records, results):
        click.echo(f"wrote {path}", err=True)


def _judged_on(record: Record) -> str:
    return repr((record.dataset, record.split, record.size, record.manifest, record.detector))
