"""Which scenes a training step sees: a function of (seed, epoch, step) and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from torch.utils.data import DataLoader, Dataset

from udit_bench.datasets.transforms import augment
from udit_bench.errors import UditError
from udit_bench.randomness import permutation, stable_key
from udit_bench.scene import Scene, SceneBatch
from udit_bench.translator import TrainingPair, TranslatorConfig


class PairSteps(Dataset[TrainingPair]):
    """The steps of one epoch: item ``k`` is the whole training pair of step ``k``.

    Each domain is gone through in a fresh random order, the smaller one again and again until the
    larger one has been seen once. Batches are always full.

    Args:
        A, B: the scenes of the two domains, at least one each.
        config: batch size and augmentation.
        seed, epoch: what the draws are keyed by; ``epoch`` counts through all phases.
        rank, world: this process and how many there are; each takes its slice of a global batch.
    """

    def __init__(
        self,
        A: Sequence[Scene],
        B: Sequence[Scene],
        config: TranslatorConfig,
        *,
        seed: int,
        epoch: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.sets = {"A": A, "B": B}
        self.config, self.seed, self.epoch = config, seed, epoch
        self.rank, self.world = rank, world
        self.length = math.ceil(max(len(A), len(B)) / (config.batch_size * world))
        needed = self.length * config.batch_size * world
        self.orders = {name: self._order(name, needed) for name in ("A", "B")}

    def _order(self, domain: str, needed: int) -> list[int]:
        size, order = len(self.sets[domain]), list[int]()
        while len(order) < needed:
            key = stable_key(self.seed, "order", domain, self.epoch, len(order))
            order += permutation(size, key)
        return order[:needed]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, step: int) -> TrainingPair:
        return TrainingPair(self._batch("A", step), self._batch("B", step))

    def _batch(self, domain: str, step: int) -> SceneBatch:
        size = self.config.batch_size
        first = (step * self.world + self.rank) * size
        scenes = [
            augment(
                self.sets[domain][self.orders[domain][place]],
                load_size=self.config.load_size,
                size=self.config.size,
                flip=self.config.flip,
                key=stable_key(self.seed, "augment", domain, self.epoch, place),
            )
            for place in range(first, first + size)
        ]
        return SceneBatch.from_scenes(scenes)


class _ErrorsAsItems(Dataset[TrainingPair | UditError]):
    """Hands errors over as items: a loader process would wrap them in a traceback."""

    def __init__(self, steps: PairSteps) -> None:
        self.steps = steps

    def __getitem__(self, step: int) -> TrainingPair | UditError:
        try:
            return self.steps[step]
        except UditError as error:
            return error


def iterate(steps: PairSteps, start: int, workers: int) -> Iterator[TrainingPair]:
    """The pairs from step ``start`` on, prepared by ``workers`` processes (0: by this one).

    Raises:
        UditError: whatever reading a scene raised, wherever it was read.
    """
    loader = DataLoader(
        _ErrorsAsItems(steps),
        batch_size=None,
        sampler=range(start, len(steps)),
        num_workers=workers,
        pin_memory=False,
    )
    for item in loader:
        if isinstance(item, UditError):
            raise item
        yield item
