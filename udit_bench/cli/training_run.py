"""The body of ``udit-bench train``: from options to a run, and the run itself."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import yaml

from udit_bench.cli.options import torch_device
from udit_bench.cli.progress import SampleGrids, open_progress
from udit_bench.cli.train import asked_for
from udit_bench.datasets.base import SceneSource
from udit_bench.datasets.catalogue import open_source
from udit_bench.errors import Interrupted, UsageError
from udit_bench.methods import BUNDLED, build, default_preset, settings_of
from udit_bench.registry import DATASETS, METHODS
from udit_bench.runs import (
    RunConfig,
    RunDirectory,
    RunInfo,
    command_line,
    git_commit,
    hardware,
    now,
    read_config,
    run_path,
    versions,
)
from udit_bench.sampling import PairSteps
from udit_bench.training import Observer, Trainer, TrainerOptions, open_accelerator
from udit_bench.translator import TranslatorConfig

SAMPLES = 4


def resolve(options: dict[str, Any]) -> tuple[RunDirectory, RunConfig]:
    """The run folder and the complete configuration that the options ask for.

    Raises:
        UsageError: no method, a run that exists (without ``--resume``), or a resume with settings
            other than the run's.
    """
    given = asked_for(options)
    base = read_config(options["config"]).model_dump(exclude_none=True) if options["config"] else {}
    if "method" not in {**base, **given}:
        raise UsageError(f"--method is needed, one of: {', '.join(METHODS.names())}.")
    METHODS.load({**base, **given}["method"])
    given["settings"] = {**base.get("settings", {}), **given["settings"]}
    merged = {"data": BUNDLED, **base, **given}
    merged.setdefault("preset", default_preset(merged["data"]))
    config = RunConfig.model_validate(merged)
    settings = settings_of(config)
    run = RunDirectory(
        run_path(
            options["runs"],
            _dataset_name(config.data),
            options["name"] or config.method,
            None if options["name"] else config.ablation,
            config.seed,
        )
    )
    if run.exists():
        if not options["resume"] and not options["dry_run"]:
            raise UsageError(
                f"{run.path} exists: --resume goes on with it, --name NAME trains beside it."
            )
        if options["resume"]:
            stored = run.read_config()
            _refuse_changes(stored, given)
            return run, stored
    threads = config.threads or settings.THREADS.get(config.preset)
    return run, config.model_copy(
        update={"settings": settings.model_dump(mode="json"), "threads": threads}
    )


def _dataset_name(data: str) -> str:
    return data if data in DATASETS.names() else Path(data).resolve().name


def _refuse_changes(stored: RunConfig, given: dict[str, Any]) -> None:
    kept = stored.model_dump(mode="json")
    asked = RunConfig.model_validate({**kept, **given, "settings": {}}).model_dump(mode="json")
    old, new = dict(kept), dict(asked)
    old.update(old.pop("settings"))
    new.pop("settings")
    settings = settings_of(
        stored.model_copy(update={"settings": {**stored.settings, **given["settings"]}})
    )
    new.update(settings.model_dump(mode="json"))
    for key in new:
        if new[key] != old.get(key):
            raise UsageError(
                f"--resume goes on with the run's own settings, and {key} differs (the run has "
                f"{old.get(key)}, you gave {new[key]}): leave it out, or train beside it with "
                "--name NAME."
            )


def open_training_source(config: RunConfig, settings: TranslatorConfig) -> SceneSource:
    """The data set of a run, at the size it trains at."""
    return open_source(config.data, size=settings.load_size, labels=config.labels)


def plan(run: RunDirectory, config: RunConfig, options: dict[str, Any]) -> str:
    """The resolved plan as YAML; nothing is written."""
    settings = settings_of(config)
    source = open_training_source(config, settings)
    split = source.training_split()
    A, B = source.scenes(split, "A"), source.scenes(split, "B")
    translator = build(config, settings)
    steps = len(PairSteps(A, B, settings, seed=config.seed, epoch=0))
    phases = {phase.name: phase.epochs for phase in translator.phases()}
    document = {
        "run": str(run.path),
        "device": torch_device(options["device"]),
        "scenes": {"split": split, source.labels[0]: len(A), source.labels[1]: len(B)},
        "phases": phases,
        "steps": steps * sum(phases.values()),
        "parameters": translator.trainable_parameters(),
        "config": config.model_dump(mode="json", exclude_none=True),
    }
    return str(yaml.safe_dump(document, sort_keys=False)).rstrip()


def _info(source: SceneSource, split: str) -> RunInfo:
    return RunInfo(
        dataset=source.name,
        labels=source.labels,
        split=split,
        argv=command_line(),
        started=now(),
        commit=git_commit(),
        versions=versions(),
        hardware=hardware(),
    )


def _refuse_other_processes(run: RunDirectory, before: RunInfo, here: int) -> None:
    if before.processes != here:
        raise UsageError(
            f"--resume: {run.path} was trained by {before.processes} process(es), and here are "
            f"{here}: start as many as it had."
        )


def train(run: RunDirectory, config: RunConfig, options: dict[str, Any]) -> None:
    """Train, or go on training, and say where the result is."""
    settings = settings_of(config)
    source = open_training_source(config, settings)
    split = source.training_split()
    A, B = source.scenes(split, "A"), source.scenes(split, "B")
    device = torch_device(options["device"])
    resumed = options["resume"] and run.exists()
    workers = options["workers"] if options["workers"] is not None else 4 * (device == "cuda")
    accelerator = open_accelerator(device, config.precision)
    accelerator.wait_for_everyone()  # all have looked for the run before one of them makes it
    main = accelerator.is_main_process
    info = _info(source, split)
    if resumed:
        before = run.read_info()
        _refuse_other_processes(run, before, accelerator.num_processes)
        info.origin = before.origin
    translator = build(config, settings)
    with ExitStack() as stack:
        observers: tuple[Observer, ...] = ()
        if main:
            shown = (
                translator.prepare(A[:SAMPLES], f"{split}A"),
                translator.prepare(B[:SAMPLES], f"{split}B"),
            )
            progress = stack.enter_context(open_progress(f"{config.method} seed {config.seed}"))
            observers = (progress, SampleGrids(run.samples, shown, settings.size))
        trainer = Trainer(
            translator,
            settings,
            A,
            B,
            run,
            info,
            TrainerOptions(
                seed=config.seed,
                device=device,
                precision=config.precision,
                threads=config.threads,
                workers=workers,
                save_every=options["save_every"],
            ),
            observers=observers,
        )
        translator.ready()
        info.notes = translator.notes()
        for note in info.notes if main else ():
            click.echo(note)
        if resumed:
            trainer.resume()
        elif main:
            run.write_config(config)
        try:
            trainer.fit()
        except Interrupted:  # all processes stop together; after an error, one may be missing
            accelerator.end_training()
            raise
    accelerator.end_training()
    if main:
        click.echo(
            f"trained {run.path} ({info.parameters:,} parameters, {info.steps} steps, "
            f"{info.seconds:.0f} s). Next: udit-bench eval"
        )
