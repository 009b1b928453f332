"""What a training step or a translation costs, against the number of instances per picture.

Every figure is taken in a process of its own, on made-up scenes: peak memory then belongs to one
method and one number of instances, and nothing is warm from the one before.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from udit_bench.errors import RunError
from udit_bench.memory import peak_memory_mib
from udit_bench.methods import build, settings_of
from udit_bench.registry import METHODS
from udit_bench.runs import RunConfig, RunDirectory, RunInfo
from udit_bench.scene import Scene, SceneBatch
from udit_bench.training import Trainer, TrainerOptions
from udit_bench.translator import TrainingPair


@dataclass(frozen=True)
class Job:
    """One measurement.

    Attributes:
        what: a training step of one phase, or translating a batch from A to B.
        method: registered name.
        instances: per picture, all of them used: limits of the method are lifted.
        preset, ablation, settings: as of a run; ``size`` and ``batch_size`` are among the settings.
        phase: number of the training phase.
        steps: how many are measured, after one that is not.
        threads: CPU threads.
        device, precision: as of a run.
    """

    what: Literal["train", "translate"]
    method: str
    instances: int
    preset: str = "quick"
    ablation: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    phase: int = 0
    steps: int = 3
    threads: int = 1
    device: str = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"


@dataclass(frozen=True)
class StepCost:
    """What was measured.

    Attributes:
        method, phase, instances: what (``phase`` is empty for a translation).
        seconds: median wall time of a step.
        cpu_seconds: mean processor time of a step, all threads.
        images_per_second: pictures that went in, over ``seconds``; of both domains in training.
        peak_memory_mib: most memory of the process; on a GPU, of its tensors.
        idle_memory_mib: the same before the first step, networks built.
        parameters: trainable, of the whole method.
        epochs: of the phase, by the preset; 1 for a translation.
    """

    method: str
    phase: str
    instances: int
    seconds: float
    cpu_seconds: float
    images_per_second: float
    peak_memory_mib: float
    idle_memory_mib: float
    parameters: int
    epochs: int = 1

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def ratios(costs: Sequence[StepCost], base: str) -> dict[tuple[str, int], float]:
    """Every method's seconds over those of ``base``, by number of instances.

    In training a method's seconds are those of all its phases, each weighted by its epochs (an
    epoch is one pass over the larger domain, for every method).

    Args:
        costs: measured alike, with the same batch size.
        base: the method in the denominator; where it was not measured there is no ratio.
    """
    totals: dict[tuple[str, int], float] = {}
    for cost in costs:
        key = cost.method, cost.instances
        totals[key] = totals.get(key, 0.0) + cost.seconds * cost.epochs
    return {
        (method, count): total / totals[base, count]
        for (method, count), total in totals.items()
        if (base, count) in totals
    }


def made_up_scenes(count: int, instances: int, size: tuple[int, int], seed: int) -> list[Scene]:
    """Noise pictures with that many ellipses on a grid each; for timing only.

    Args:
        count: scenes.
        instances: per scene, 0 allowed.
        size: (H, W) in pixels.
        seed: of the noise and the ellipses' axes.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    cells = max(1, math.ceil(math.sqrt(instances)))
    rows, columns = np.mgrid[:height, :width]
    scenes = []
    for number in range(count):
        masks = np.zeros((instances, height, width), bool)
        for index in range(instances):
            y, x = (index // cells + 0.5) / cells * height, (index % cells + 0.5) / cells * width
            tall, wide = rng.uniform(0.3, 0.45, 2) / cells * (height, width)
            masks[index] = ((rows - y) / tall) ** 2 + ((columns - x) / wide) ** 2 <= 1
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        scenes.append(Scene(image, masks, "thing", f"made-up-{number}"))
    return scenes


def settings_for(job: Job) -> dict[str, Any]:
    """The settings a job runs with: what was asked for, over what the method is measured with."""
    method = METHODS.load(job.method)
    ablated = method.ablations.get(job.ablation, {})
    measured = {key: value for key, value in method.measured.items() if key not in ablated}
    return {**measured, **job.settings}


def phases_of(job: Job) -> list[str]:
    """Names of the method's training phases, in order."""
    config = _run_config(job)
    return [phase.name for phase in build(config, settings_of(config)).phases()]


def measure(job: Job) -> StepCost:
    """Measure in this process; meant for a fresh one (see ``measure_all``)."""
    config = _run_config(job)
    settings = settings_of(config)
    A, B = (
        made_up_scenes(settings.batch_size, job.instances, settings.size, seed) for seed in (0, 1)
    )
    info = RunInfo(dataset="made-up", labels=("thing", "thing"), split="train")
    trainer = Trainer(
        build(config, settings), settings, A, B, RunDirectory(Path()), info,
        TrainerOptions(device=job.device, precision=job.precision, threads=job.threads),
    )  # fmt: skip
    device = trainer.accelerator.device
    step: Callable[[], object]
    if job.what == "train":
        phase = trainer.phases[job.phase]
        name, images, epochs = phase.name, 2 * settings.batch_size, phase.epochs
        pair = TrainingPair(
            SceneBatch.from_scenes(list(trainer.A)).to(device),
            SceneBatch.from_scenes(list(trainer.B)).to(device),
        )

        def step() -> None:
            trainer.train_step(phase, pair, 0.0)

    else:
        name, images, epochs = "", settings.batch_size, 1
        trainer.translator.eval()
        batch = SceneBatch.from_scenes(A).to(device)

        def step() -> None:
            with torch.inference_mode(), trainer.accelerator.autocast():
                trainer.translator.translate(batch, "AtoB")

    idle = peak_memory_mib(device)
    _timed(step, device)
    cpu, walls = time.process_time(), [_timed(step, device) for _ in range(job.steps)]
    cpu = (time.process_time() - cpu) / job.steps
    seconds = statistics.median(walls)
    return StepCost(
        method=job.method,
        phase=name,
        instances=job.instances,
        seconds=seconds,
        cpu_seconds=cpu,
        images_per_second=images / seconds,
        peak_memory_mib=round(max(idle, peak_memory_mib(device)), 1),
        idle_memory_mib=round(idle, 1),
        parameters=info.parameters,
        epochs=epochs,
    )


def measure_all(jobs: list[Job]) -> Iterator[StepCost]:
    """Measure one job after another, each in a new process.

    Raises:
        RunError: a process was killed, most likely for lack of memory (names the job).
    """
    context = multiprocessing.get_context("spawn")
    for job in jobs:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            try:
                yield pool.submit(_measure_apart, job).result()
            except (BrokenProcessPool, torch.OutOfMemoryError, MemoryError) as error:
                raise RunError(
                    f"{job.method} with {job.instances} instances: the process ended, most likely "
                    "for lack of memory. Try a smaller --size or fewer --instances."
                ) from error


def _measure_apart(job: Job) -> StepCost:
    """Measure with a cache that goes with the process: made-up scenes are nobody's."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["UDIT_BENCH_CACHE"] = folder
        return measure(job)


def expand(job: Job, instances: tuple[int, ...]) -> list[Job]:
    """A job for every phase (in training) and every number of instances."""
    phases = range(len(phases_of(job))) if job.what == "train" else [0]
    return [replace(job, phase=phase, instances=n) for phase in phases for n in instances]


def _run_config(job: Job) -> RunConfig:
    return RunConfig(
        method=job.method,
        preset=job.preset,
        ablation=job.ablation,
        precision=job.precision,
        settings=settings_for(job),
    )


def _timed(step: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
