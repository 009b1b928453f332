"""``udit-bench bench``: what a step costs against the number of instances."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import click

from udit_bench.cli.options import (
    PATH,
    Size,
    device_option,
    labels_option,
    parse_settings,
    table_console,
    torch_device,
)
from udit_bench.errors import UsageError
from udit_bench.registry import METHODS


class Counts(click.ParamType):  # type: ignore[type-arg]
    """``1,2,4``: numbers of instances."""

    name = "N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isdigit() for part in parts):
            self.fail(f"'{value}' is not a list of numbers, e.g. 1,2,4", param, ctx)
        return tuple(int(part) for part in parts)


@click.group("bench")
def bench_command() -> None:
    """Measure seconds and memory, each number of instances in a process of its own.

    The scenes are made up, so figures depend on the method and the machine alone.
    """


def _options(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(
        [
            click.option(
                "--method", "methods", multiple=True, help="May be repeated. [default: all]"
            ),
            click.option(
                "--instances", type=Counts(), default="1,2,4,8,16", show_default=True,
                help="Instances per picture.",
            ),
            click.option("--preset", default="quick", show_default=True),
            click.option("--ablation", help="Measure an ablation of the method."),
            click.option("--size", type=Size(), help="Size. [default: the preset's]"),
            click.option(
                "--batch-size", type=click.IntRange(1), default=1, show_default=True,
                help="Pictures of each domain.",
            ),
            click.option("--set", "settings", multiple=True, metavar="K=V", help="A setting."),
            click.option(
                "--steps", type=click.IntRange(1), default=3, show_default=True,
                help="Measured steps, after one that is not.",
            ),
            click.option("--threads", type=click.IntRange(1), default=1, show_default=True),
            click.option(
                "--precision", type=click.Choice(["fp32", "bf16"]), default="fp32",
                show_default=True,
            ),
            device_option,
            click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        ]
    ):  # fmt: skip
        function = option(function)
    return function


@bench_command.command("train")
@_options
def bench_train(**options: Any) -> None:
    """Measure one training step of each phase, both domains, forward to optimizer."""
    _bench("train", options)


@bench_command.command("translate")
@_options
def bench_translate(**options: Any) -> None:
    """Measure translating one batch from A to B, whatever the method does for it."""
    _bench("translate", options)


@bench_command.command("eval")
@click.option("--data", default="pasture", show_default=True, help="A data set's name or folder.")
@click.option("--split", default="train", show_default=True)
@click.option("--size", type=Size(), help="Size. [default: 64]")
@click.option("--pictures", type=click.IntRange(1), default=500, show_default=True)
@click.option(
    "--detector", "detectors", multiple=True, help="May be repeated. [default: torchvision]"
)
@click.option("--detector-weights", type=PATH, help="Weights of the only detector.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@labels_option
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench_eval(**options: Any) -> None:
    """Measure the detector against matching and metrics, on pictures of B taken as translations.

    All protocols and metrics, intervals too, but neither KID nor FID.
    """
    import torch

    from udit_bench.datasets.catalogue import open_source
    from udit_bench.eval_costs import measure_eval
    from udit_bench.evaluation import Extras
    from udit_bench.metrics.classifiers import open_classifier, ships_for
    from udit_bench.metrics.detectors import open_detector

    names = options["detectors"] or ("torchvision",)
    if options["detector_weights"] and len(names) > 1:
        raise UsageError("--detector-weights is for one --detector.")
    torch.set_num_threads(options["threads"])
    size, device = options["size"] or (64, 64), torch_device(options["device"])
    source = open_source(options["data"], size=size, labels=options["labels"])
    shipped = ships_for(source.name, source.labels)
    classifier = open_classifier(None, dataset=source.name, device=device) if shipped else None
    costs = []
    for name in names:
        detector = open_detector(
            name, dataset=source.name, weights=options["detector_weights"], device=device
        )
        split = source.resolve(options["split"])
        extras = Extras(classifier, device=device)
        cost = measure_eval(source, split, size, detector, extras, pictures=options["pictures"])
        click.echo(
            f"{name}: {cost.pictures} pictures, {cost.instances} instances: detector "
            f"{cost.detector_seconds:.3g} s, matching and metrics {cost.metrics_seconds:.3g} s "
            f"({100 * cost.share:.1f} %)",
            err=options["as_json"],
        )
        costs.append(cost)
    if options["as_json"]:
        click.echo(json.dumps(_document("eval", options | {"device": device}, costs), indent=1))


def _bench(what: Literal["train", "translate"], options: dict[str, Any]) -> None:
    from udit_bench.costs import Job, StepCost, expand, measure_all

    settings = parse_settings(options["settings"]) | {"batch_size": options["batch_size"]}
    if options["size"]:
        settings["size"] = options["size"]
    jobs: list[Job] = []
    for method in options["methods"] or METHODS.names():
        base = Job(
            what, method, instances=0, preset=options["preset"], ablation=options["ablation"],
            settings=settings, steps=options["steps"], threads=options["threads"],
            device=torch_device(options["device"]), precision=options["precision"],
        )  # fmt: skip
        jobs += expand(base, options["instances"])
        _say_changed(method, settings)
    costs: list[StepCost] = []
    for number, cost in enumerate(measure_all(jobs), 1):
        costs.append(cost)
        click.echo(f"{number}/{len(jobs)} {_line(cost)}", err=True)
    if options["as_json"]:
        click.echo(json.dumps(_document(what, options, costs), indent=1))
    else:
        _print(costs)


def _say_changed(method: str, asked: Mapping[str, Any]) -> None:
    measured = METHODS.load(method).measured
    changed = {key: value for key, value in measured.items() if key not in asked}
    if changed:
        names = ", ".join(f"{key}={'null' if v is None else v}" for key, v in changed.items())
        click.echo(f"{method}: measured with {names}", err=True)


def _line(cost: Any) -> str:
    phase = f" {cost.phase}" if cost.phase else ""
    return (
        f"{cost.method}{phase}, {cost.instances} instances: {cost.seconds:.3g} s, "
        f"{cost.peak_memory_mib:.0f} MiB"
    )


def _document(what: str, options: dict[str, Any], costs: Sequence[Any]) -> dict[str, Any]:
    from udit_bench.runs import git_commit, hardware, versions

    left_out = ("as_json", "methods", "instances", "detectors", "detector_weights", "labels")
    asked = {k: v for k, v in options.items() if k not in left_out}
    return {
        "what": what,
        "options": asked,
        "commit": git_commit(),
        "hardware": hardware(),
        "versions": versions(),
        "costs": [cost.as_dict() for cost in costs],
    }


def _print(costs: list[Any]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("method", "phase", "instances", "s/step", "CPU-s", "images/s", "peak MiB"):
        table.add_column(column, justify="left" if column in ("method", "phase") else "right")
    table.add_column("time", justify="right")
    table.add_column("memory", justify="right")
    first: dict[tuple[str, str], Any] = {}
    for cost in costs:
        base = first.setdefault((cost.method, cost.phase), cost)
        table.add_row(
            cost.method, cost.phase, str(cost.instances), f"{cost.seconds:.3g}",
            f"{cost.cpu_seconds:.3g}", f"{cost.images_per_second:.3g}",
            f"{cost.peak_memory_mib:.0f}", f"x {cost.seconds / base.seconds:.2f}",
            f"x {cost.peak_memory_mib / base.peak_memory_mib:.2f}",
        )  # fmt: skip
    table_console().print(table)
    _print_ratios(costs)


BASE = "instagan"
"""The method that the others are held against."""


def _print_ratios(costs: list[Any]) -> None:
    """Print whole methods over InstaGAN, where both were measured."""
    from udit_bench.costs import ratios

    found = ratios(costs, BASE)
    names = [name for name in dict.fromkeys(cost.method for cost in costs) if name != BASE]
    what = "training, all phases weighted by their epochs" if costs[0].phase else "translation"
    for name in names:
        told = [
            f"x {ratio:.2f} with {count}"
            for (method, count), ratio in found.items()
            if method == name
        ]
        if told:
            click.echo(f"{name} over {BASE}, {what}: {', '.join(told)} instances")
