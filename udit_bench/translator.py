"""The contract of a method: configuration, phases to train, and how to translate.

A method is one file with a ``TranslatorConfig`` and a ``Translator``; the trainer runs its phases
and knows nothing else about it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
import torch.distributed as dist
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from torch import Tensor, nn
from torch.optim import Optimizer

from udit_bench.errors import UsageError
from udit_bench.scene import Direction, Scene, SceneBatch, Translation


class TranslatorConfig(BaseModel):
    """Settings that every method has; a method adds its own below, each with its source.

    The defaults are the method's *paper* settings; ``PRESETS`` holds what other presets change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}}
    THREADS: ClassVar[Mapping[str, int]] = {"quick": 1}

    size: tuple[int, int] = Field((200, 200), description="(H, W) in pixels that training crops to")
    load_scale: float = Field(1.1, ge=1.0, description="pictures are resized to this times `size`")
    flip: bool = Field(True, description="mirror half of the training pictures")
    batch_size: int = Field(1, ge=1, description="pictures of each domain per step and process")
    channels_last: bool = Field(False, description="memory layout; same result up to rounding")
    compile: bool = Field(False, description="torch.compile the networks (needs a C++ compiler)")

    @field_validator("size", mode="before")
    @classmethod
    def _square(cls, value: object) -> object:
        return (value, value) if isinstance(value, int) else value

    @field_validator("size")
    @classmethod
    def _usable(cls, value: tuple[int, int]) -> tuple[int, int]:
        if min(value) < 32:
            raise ValueError("each side must be at least 32 pixels")
        if any(side % 4 for side in value):
            raise ValueError("each side must divide by 4 (the networks halve it twice)")
        return value

    @property
    def load_size(self) -> tuple[int, int]:
        """(H, W) that pictures are resized to before the random crop to ``size``."""
        return round(self.size[0] * self.load_scale), round(self.size[1] * self.load_scale)

    @classmethod
    def build(cls, preset: str, overrides: Mapping[str, Any]) -> Self:
        """The settings of a preset with single values replaced.

        Raises:
            UsageError: unknown preset or key, or a value out of range (names the key).
        """
        if preset not in cls.PRESETS:
            raise UsageError(f"no preset '{preset}': choose {' or '.join(sorted(cls.PRESETS))}.")
        unknown = [key for key in overrides if key not in cls.model_fields]
        if unknown:
            known = ", ".join(sorted(cls.model_fields))
            raise UsageError(f"--set {unknown[0]}: no such setting. Known: {known}.")
        try:
            return cls.model_validate({**cls.PRESETS[preset], **overrides})
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"]) or "settings"
            raise UsageError(f"--set {where}={problem.get('input')}: {problem['msg']}.") from error


@dataclass(frozen=True)
class Term:
    """One named part of a loss, as a sum and its count.

    The trainer divides by the count over *all* processes, so several of them give the loss of one
    at the same global batch, however the instances are spread.
    """

    total: Tensor
    count: int


def mean_term(values: Tensor) -> Term:
    """The mean over everything of ``(n, ...)`` values, as a term over its n samples (0 allowed)."""
    if len(values) == 0:
        return Term(values.sum(), 0)
    return Term(values.reshape(len(values), -1).mean(1).sum(), len(values))


def add_terms(*terms: Term) -> Term:
    """The sum of the means of terms over *equal* counts (both directions of a batch, say)."""
    return Term(sum((term.total for term in terms[1:]), terms[0].total), terms[0].count)


@dataclass(frozen=True)
class Update:
    """One backward pass that a step asks for.

    Attributes:
        optimizer: name of the optimizer whose parameters get the gradients.
        terms: named, unweighted loss terms; ``Phase.weights`` holds the weights.
        step: whether the optimizer steps now, or gradients go on accumulating.
    """

    optimizer: str
    terms: Mapping[str, Term]
    step: bool = True


@dataclass(frozen=True)
class TrainingPair:
    """What a training step gets: as many pictures of domain A as of domain B, unpaired."""

    A: SceneBatch
    B: SceneBatch


def most_of_all_processes(number: int) -> int:
    """The largest ``number`` of all processes; the processes of a run must do equally many updates.

    A step that yields as many updates as its own instances ask for would leave the others waiting.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return number
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    largest = torch.tensor(number, device=device)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


Schedule = Callable[[float], float]


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    Attributes:
        name: e.g. ``"train"``; printed and logged.
        epochs: passes over the larger domain.
        optimizers: by name; created after the networks are on their device.
        weights: weight of each loss term; this is the one place where they meet.
        step: yields the updates of one step; code after the last ``yield`` runs after it.
        schedule: factor on every learning rate, given the epochs done (fractional).
        clip: largest gradient norm per optimizer, or None.
    """

    name: str
    epochs: int
    optimizers: Mapping[str, Optimizer]
    weights: Mapping[str, float]
    step: Callable[[TrainingPair], Iterator[Update]]
    schedule: Schedule = lambda epochs_done: 1.0
    clip: float | None = None


def linear_decay(
    epochs: int, decay_from: float, per: Literal["epoch", "step"] = "epoch"
) -> Schedule:
    """Constant, then linear to zero, as in CycleGAN (Sec. 7.1 of its paper).

    Args:
        epochs: length of the phase.
        decay_from: share of it after which the rate falls, in [0, 1].
        per: ``"epoch"``: factor ``1 - max(0, e + 1 - c) / (d + 1)`` in the epoch after ``e`` done
            ones, c constant and d decaying epochs (CycleGAN's and InstaGAN's code); ``"step"``:
            a straight line from 1 to 0 over the decaying part, for runs of few epochs.
    """
    constant = round(decay_from * epochs)
    decaying = epochs - constant

    def by_epoch(done: float) -> float:
        return 1.0 - max(0, int(done) + 1 - constant) / (decaying + 1)

    def by_step(done: float) -> float:
        start = decay_from * epochs
        return 1.0 if done <= start else max(0.0, (epochs - done) / (epochs - start))

    return by_epoch if per == "epoch" else by_step


class Translator(nn.Module, ABC):
    """A method of unsupervised deformable-instances translation.

    Class attributes:
        title: how the method is printed.
        Config: its ``TranslatorConfig``.
        variants: named ways to read instances off one trained model, name -> printed suffix; each
            is a row of its own in the tables. The first one is the default.
        ablations: name -> settings it changes (``train --ablation NAME``).
        measured: settings that ``bench`` applies and tells: limits on the number of instances
            lifted, downloads done without.
        source: the paper.
    """

    title: ClassVar[str]
    Config: ClassVar[type[TranslatorConfig]]
    variants: ClassVar[Mapping[str, str]] = {"": ""}
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    measured: ClassVar[Mapping[str, Any]] = {}
    source: ClassVar[str] = ""

    @abstractmethod
    def phases(self) -> list[Phase]:
        """What to train, in order; called once, with the networks on their device."""

    @abstractmethod
    def translate(
        self, batch: SceneBatch, direction: Direction, variant: str | None = None
    ) -> Translation:
        """Translate every instance of a batch; called without gradients.

        Args:
            batch: scenes of the source domain, with any number of instances each, 0 included.
            direction: ``"AtoB"`` or ``"BtoA"``.
            variant: a key of ``variants``; None for the first.

        Returns:
            One mask per source instance, in the order and with the owners of ``batch``.
        """

    def prepare(
        self, scenes: Sequence[Scene], place: str = "", others: Sequence[Scene] | None = None
    ) -> Sequence[Scene]:
        """The scenes as this method wants to see them, e.g. with backgrounds; read on demand.

        Args:
            scenes: of one split and domain.
            place: ``<split><domain>``, for files that belong to the scenes.
            others: the other domain's scenes, in training only.
        """
        return scenes

    def ready(self) -> None:
        """Load what training needs beside the model, before hours of work; else at first use.

        Raises:
            MissingPartError, DataError: it cannot be had.
        """

    def notes(self) -> list[str]:
        """What a reader of the results must know about this run's method; logged and recorded."""
        return []

    def extra_state(self) -> dict[str, Any]:
        """State beside parameters and buffers (an image pool, say), as nested dicts and lists."""
        return {}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Take back what ``extra_state`` gave."""

    def trainable_parameters(self) -> int:
        """Number of trainable parameters; averaged copies do not count."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)
