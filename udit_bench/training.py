"""The trainer: runs a method's phases on accelerate, saves, resumes. It knows no method.

Several processes need no wrapper around the networks (``DistributedDataParallel`` hangs as soon as
ranks do different numbers of passes): gradients are summed over the processes once per optimizer
step, and every loss term is divided by its count over all processes.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim import Optimizer

from udit_bench.checkpoint import find_checkpoint, link_checkpoint, load_checkpoint, save_checkpoint
from udit_bench.errors import DataError, Interrupted, RunError, UditError, UsageError
from udit_bench.files import explain_os_errors
from udit_bench.memory import calm_allocator, peak_memory_mib
from udit_bench.randomness import seed_all, stable_key
from udit_bench.runs import RunDirectory, RunInfo, now
from udit_bench.sampling import PairSteps, iterate
from udit_bench.scene import Scene
from udit_bench.translator import Phase, TrainingPair, Translator, TranslatorConfig, Update


@dataclass(frozen=True)
class TrainerOptions:
    """How to run, as opposed to what to train.

    Attributes:
        seed: of every random draw.
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: ``fp32`` or ``bf16`` (autocast).
        threads: CPU threads of this process; None leaves torch's choice.
        workers: processes that prepare batches; 0 prepares them in this one.
        log_every: steps between lines of ``log.jsonl``.
        save_every: most steps between checkpoints.
        save_seconds: most seconds between checkpoints, whatever the steps take. One is also
            written at the end of each phase, and on a signal. When they are written has no
            influence on the result.
        keep_every: epochs between checkpoints kept as ``epoch-XXXX``; each phase's last is kept.
    """

    seed: int = 0
    device: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    workers: int = 0
    log_every: int = 50
    save_every: int = 1000
    save_seconds: float = 300.0
    keep_every: int = 50


@dataclass
class Position:
    """Where training stands: the phase, epochs done in it, steps done in the epoch, and in all."""

    phase: int = 0
    epoch: int = 0
    step: int = 0
    total: int = 0


@dataclass
class Progress:
    """What an observer is told after a step: means since the last log line, and the pace."""

    phase: str
    epoch: int
    epochs: int
    total: int
    total_steps: int
    losses: dict[str, float] = field(default_factory=dict)
    steps_per_second: float = 0.0


class Observer:
    """Follows a training run; the methods do nothing unless overridden."""

    def on_step(self, progress: Progress) -> None:
        """After every step; ``losses`` are those of the last log line."""

    def on_epoch(self, translator: Translator, progress: Progress) -> None:
        """After every epoch, on the main process, with the networks on their device."""


def open_accelerator(device: str, precision: str) -> Accelerator:
    """The accelerator for ``auto | cpu | cuda`` and ``fp32 | bf16``.

    Raises:
        UsageError: cuda was asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine has no usable GPU; use --device cpu or auto.")
    return Accelerator(
        cpu=device == "cpu" or not torch.cuda.is_available(),
        mixed_precision="bf16" if precision == "bf16" else "no",
    )


class Trainer:
    """Trains one translator on two domains and keeps its run directory.

    Args:
        translator: the method, freshly built (or about to be overwritten by ``resume``).
        config: its settings.
        A, B: training scenes.
        run: where to write.
        info: written to ``run.json`` and kept up to date.
        options: how to run.
        observers: progress displays, sample pictures; only the main process's are called.
    """

    def __init__(
        self,
        translator: Translator,
        config: TranslatorConfig,
        A: Sequence[Scene],
        B: Sequence[Scene],
        run: RunDirectory,
        info: RunInfo,
        options: TrainerOptions,
        observers: tuple[Observer, ...] = (),
    ) -> None:
        for domain, scenes in (("A", A), ("B", B)):
            if len(scenes) == 0:
                raise DataError(f"domain {domain} has no scenes to train on.")
        if options.threads:
            torch.set_num_threads(options.threads)
        if not torch.cuda.is_available() or options.device == "cpu":
            calm_allocator()
        self.accelerator = open_accelerator(options.device, options.precision)
        self.translator = translator.to(self.accelerator.device)
        self.config = config
        self.A = translator.prepare(A, f"{info.split}A", others=B)
        self.B = translator.prepare(B, f"{info.split}B", others=A)
        self.run, self.info, self.options = run, info, options
        self.observers = observers if self.accelerator.is_main_process else ()
        self.phases = translator.phases()
        self.position = Position()
        self._signal: int | None = None
        self._saved_at = time.monotonic()
        self._saved_step = -1
        self._sums: dict[str, float] = {}
        self._since = 0
        self._clock = time.perf_counter()
        self._progress = Progress("", 0, 0, 0, self._total_steps())
        info.notes = translator.notes()
        info.parameters = translator.trainable_parameters()
        info.epochs = sum(phase.epochs for phase in self.phases)
        info.device = str(self.accelerator.device)
        info.threads = torch.get_num_threads()
        info.processes = self.accelerator.num_processes

    # ---- state -------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        phase = self.phases[min(self.position.phase, len(self.phases) - 1)]
        return {
            "position": vars(self.position),
            "seconds": self.info.seconds,
            "peak_memory_mib": self.info.peak_memory_mib,
            "model": self.translator.state_dict(),
            "extra": self.translator.extra_state(),
            "phase": phase.name,
            "optimizers": {name: o.state_dict() for name, o in phase.optimizers.items()},
        }

    def save(self) -> None:
        """Write the complete state as ``checkpoints/last``."""
        if self.accelerator.is_main_process and self._saved_step != self.position.total:
            save_checkpoint(self.run.checkpoint, self._state())
        self._saved_at, self._saved_step = time.monotonic(), self.position.total
        self.accelerator.wait_for_everyone()

    def resume(self) -> bool:
        """Take up the run's latest checkpoint; False where there is none yet."""
        if find_checkpoint(self.run.checkpoint) is None:
            self._cut_log(0)  # stopped before the first one: it starts over
            return False
        state = load_checkpoint(self.run.checkpoint)
        restore(self.translator, state)
        self.position = Position(**state["position"])
        self.info.seconds = state["seconds"]
        self.info.peak_memory_mib = state["peak_memory_mib"]
        if self.position.phase < len(self.phases):
            phase = self.phases[self.position.phase]
            if phase.name == state["phase"]:
                for name, optimizer in phase.optimizers.items():
                    optimizer.load_state_dict(state["optimizers"][name])
        self._saved_step = self.position.total
        self._cut_log(self.position.total)
        return True

    def _cut_log(self, steps: int) -> None:
        if self.accelerator.is_main_process:
            self.run.cut_log(steps)

    # ---- the loop ----------------------------------------------------------------------------

    def fit(self) -> None:
        """Train what is left of all phases.

        Raises:
            Interrupted: SIGINT or SIGTERM arrived; the state was saved first.
            RunError: a loss is not finite (names the term), or the disk is full; the last good
                checkpoint is kept.
        """
        self._set_state("running")
        try:
            with self._signals():
                self._clock = time.perf_counter()
                while self.position.phase < len(self.phases):
                    self._run_phase(self.phases[self.position.phase])
                self.save()
        except Interrupted:
            self._set_state("interrupted")
            raise
        except Exception as error:
            with suppress(UditError):  # on a full disk the note cannot be written either
                self._set_state("failed", str(error) or type(error).__name__)
            raise
        self._set_state("finished")

    def _run_phase(self, phase: Phase) -> None:
        for done in range(self.position.epoch + 1, phase.epochs + 1):
            self._run_epoch(phase)
            last = done == phase.epochs
            self.position.epoch, self.position.step = (0, 0) if last else (done, 0)
            self.position.phase += last
            keep = last or (self.options.keep_every and done % self.options.keep_every == 0)
            if keep:
                self.save()
            if keep and self.accelerator.is_main_process:
                link_checkpoint(self.run.checkpoint, f"epoch-{self._epochs_done():04d}")
            for observer in self.observers:
                observer.on_epoch(self.translator, self._progress)
            self._clock = time.perf_counter()

    def _run_epoch(self, phase: Phase) -> None:
        self.translator.train()  # observers may have translated with it
        steps = self._steps(self._epochs_done())
        for pair in iterate(steps, self.position.step, self.options.workers):
            self.train_step(phase, pair, self.position.epoch + self.position.step / len(steps))
            self.position.step += 1
            self.position.total += 1
            self._after_step(phase)

    def train_step(self, phase: Phase, pair: TrainingPair, epochs_done: float) -> None:
        """One step of a phase, with all its updates.

        The position is the caller's to move, and training mode the caller's to set.

        Args:
            phase: one of ``phases``.
            pair: on any device.
            epochs_done: in this phase, fractional; the learning rates follow it.
        """
        rank = self.accelerator.process_index
        seed_all(stable_key(self.options.seed, "step", self.position.total, rank))
        factor = phase.schedule(epochs_done)
        for optimizer in phase.optimizers.values():
            _scale_rate(optimizer, factor)
        device = self.accelerator.device
        updates = phase.step(TrainingPair(pair.A.to(device), pair.B.to(device)))
        fresh = set(phase.optimizers)
        while (update := self._next(updates)) is not None:
            optimizer = phase.optimizers[update.optimizer]
            if update.optimizer in fresh:
                optimizer.zero_grad(set_to_none=True)
                fresh.discard(update.optimizer)
            loss = self._weighted(phase, update)
            if loss.requires_grad:
                self.accelerator.backward(loss)
            if update.step:
                self._optimize(optimizer, phase.clip)
                fresh.add(update.optimizer)

    def _next(self, updates: Iterator[Update]) -> Update | None:
        with self.accelerator.autocast():
            return next(updates, None)

    def _weighted(self, phase: Phase, update: Update) -> Tensor:
        """The weighted sum of an update's terms; refuses and names one that is not finite."""
        counts = torch.tensor([t.count for t in update.terms.values()], dtype=torch.float64)
        if self.accelerator.num_processes > 1:
            counts = self.accelerator.reduce(counts.to(self.accelerator.device)).cpu()
        parts = []
        for (name, term), count in zip(update.terms.items(), counts.tolist(), strict=True):
            mean = term.total.float() / max(count, 1.0)
            value = self._over_all(mean.detach()).item()
            if not torch.isfinite(torch.tensor(value)):
                raise RunError(
                    f"the loss term '{name}' is {value} at step {self.position.total} of phase "
                    f"'{phase.name}'; the last good checkpoint is {self.run.checkpoint}. "
                    "Try a lower learning rate (--set lr=...)."
                )
            self._sums[name] = self._sums.get(name, 0.0) + value
            parts.append(phase.weights[name] * mean)
        return torch.stack(parts).sum()

    def _over_all(self, values: Tensor) -> Tensor:
        """Sum over all processes."""
        if self.accelerator.num_processes == 1:
            return values
        total: Tensor = self.accelerator.reduce(values, reduction="sum")
        return total

    def _optimize(self, optimizer: Optimizer, clip: float | None) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if self.accelerator.num_processes > 1:
            given = torch.tensor([float(p.grad is not None) for p in parameters])
            anywhere = self._over_all(given.to(self.accelerator.device)).tolist()
            for p, somebody in zip(parameters, anywhere, strict=True):
                if somebody:  # else it stays None, as in one process
                    grad = torch.zeros_like(p) if p.grad is None else p.grad
                    p.grad = self._over_all(grad)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()

    # ---- after a step ------------------------------------------------------------------------

    def _after_step(self, phase: Phase) -> None:
        clock = time.perf_counter()
        self.info.seconds += clock - self._clock
        self._progress.steps_per_second = self._pace(clock - self._clock)
        self._clock = clock
        self._since += 1
        self._progress.phase, self._progress.epochs = phase.name, phase.epochs
        self._progress.epoch, self._progress.total = self.position.epoch + 1, self.position.total
        if self._since >= self.options.log_every or self.position.total == 1:
            self._log(phase)
        for observer in self.observers:
            observer.on_step(self._progress)
        late = time.monotonic() - self._saved_at >= self.options.save_seconds
        signum = self._signal
        if self.accelerator.num_processes > 1:  # all stop and save together, or they would wait
            said = torch.tensor([float(signum or 0), float(late)])
            said = self._over_all(said.to(self.accelerator.device)).cpu()
            late = bool(said[1])
            signum = (signum or signal.SIGTERM) if said[0] else None  # a later one: next step
        if signum is not None:
            self._stop(signum)
        unsaved = self.position.total - max(self._saved_step, 0)
        if unsaved >= self.options.save_every or late:
            self.save()
        self._clock = time.perf_counter() if self._saved_step == self.position.total else clock

    def _pace(self, seconds: float) -> float:
        old, new = self._progress.steps_per_second, 1.0 / max(seconds, 1e-9)
        return new if old == 0.0 else 1.0 / (0.95 / old + 0.05 / new)

    def _log(self, phase: Phase) -> None:
        losses = {name: value / self._since for name, value in self._sums.items()}
        self._progress.losses = losses
        peak = peak_memory_mib(self.accelerator.device)
        self.info.peak_memory_mib = max(self.info.peak_memory_mib, peak)
        if self.accelerator.is_main_process:
            rates = {name: o.param_groups[0]["lr"] for name, o in phase.optimizers.items()}
            entry = {
                "step": self.position.total,
                "phase": phase.name,
                "epoch": self.position.epoch,
                "losses": {name: round(value, 6) for name, value in losses.items()},
                "lr": rates,
                "seconds": round(self.info.seconds, 3),
                "it_per_s": round(self._progress.steps_per_second, 3),
                "peak_memory_mib": round(self.info.peak_memory_mib, 1),
            }
            with explain_os_errors(self.run.log):
                self.run.append_log(entry)
        self._sums, self._since = {}, 0

    # ---- helpers -----------------------------------------------------------------------------

    def _steps(self, epoch: int) -> PairSteps:
        return PairSteps(
            self.A,
            self.B,
            self.config,
            seed=self.options.seed,
            epoch=epoch,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
        )

    def _epochs_done(self) -> int:
        return sum(p.epochs for p in self.phases[: self.position.phase]) + self.position.epoch

    def _total_steps(self) -> int:
        return len(self._steps(0)) * sum(phase.epochs for phase in self.phases)

    def _stop(self, signum: int) -> None:
        self.save()
        raise Interrupted(
            f"stopped by {signal.Signals(signum).name} after step {self.position.total}; "
            f"the state is saved in {self.run.checkpoint}. Go on with the same command and "
            "--resume.",
            signum,
        )

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Note the first SIGINT or SIGTERM; a second one acts at once."""

        def note(signum: int, frame: FrameType | None) -> None:
            self._signal = signum
            for number, handler in before.items():
                signal.signal(number, handler)

        before: Mapping[int, Any] = {
            number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            for number in before:
                signal.signal(number, note)
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _set_state(self, state: Any, error: str | None = None) -> None:
        self.info.state, self.info.error = state, error
        self.info.steps = self.position.total
        self.info.ended = None if state == "running" else now()
        if self.accelerator.is_main_process:
            self.run.write_info(self.info)


def finished_state(translator: Translator) -> dict[str, Any]:
    """What a checkpoint holds of weights that came from elsewhere: nothing is left to train."""
    return {
        "position": vars(Position(phase=len(translator.phases()))),
        "seconds": 0.0,
        "peak_memory_mib": 0.0,
        "model": translator.state_dict(),
        "extra": translator.extra_state(),
        "phase": "",
        "optimizers": {},
    }


def restore(translator: Translator, state: Mapping[str, Any]) -> None:
    """Load weights and extra state into a translator built with the same settings.

    Raises:
        DataError: the weights are of another shape (names the first that does not fit).
    """
    own, given = translator.state_dict(), state["model"]
    for name in own.keys() | given.keys():
        if name not in own or name not in given or own[name].shape != given[name].shape:
            raise DataError(f"the checkpoint does not fit the settings: '{name}' differs.")
    translator.load_state_dict(given)
    translator.load_extra_state(state["extra"])


def _scale_rate(optimizer: Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        base = group.setdefault("base_lr", group["lr"])
        group["lr"] = base * factor
