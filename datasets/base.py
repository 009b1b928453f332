"""What a source of scenes must offer, and nothing more."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import overload

from udit_bench.errors import DataError
from udit_bench.scene import Domain, Scene


class SceneSet(Sequence[Scene], ABC):
    """The scenes of one split and domain, read on demand, in a fixed order."""

    ids: tuple[str, ...]

    @abstractmethod
    def load(self, index: int) -> Scene:
        """Read scene ``index`` in ``[0, len)``; DataError names the file at fault."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Hex digest of the content (pictures and masks); equal iff the set is the same."""

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Scene: ...

    @overload
    def __getitem__(self, index: slice) -> list[Scene]: ...

    def __getitem__(self, index: int | slice) -> Scene | list[Scene]:
        if isinstance(index, slice):
            return [self.load(i) for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.load(index % len(self))

    def __iter__(self) -> Iterator[Scene]:
        return (self.load(index) for index in range(len(self)))


class SceneSource(ABC):
    """A pair of domains with its splits: what every data set plugs in as.

    Attributes:
        name: short name used for run folders and records.
        labels: class names of domain A and B, e.g. ``("sheep", "giraffe")``.
        splits: the splits that exist, e.g. ``("train", "val", "test")``.
        about: one line for ``data list``.
    """

    name: str
    labels: tuple[str, str]
    splits: tuple[str, ...]
    about: str = ""

    @abstractmethod
    def scenes(self, split: str, domain: Domain) -> SceneSet:
        """The scenes of an existing split and domain (``resolve`` maps asked to existing)."""

    def resolve(self, split: str) -> str:
        """The split that answers to ``split``: itself, or ``val`` where there is no ``test``.

        Raises:
            DataError: this source has no such split.
        """
        if split in self.splits:
            return split
        if split == "test" and "val" in self.splits:
            return "val"
        raise DataError(
            f"{self.name} has no split '{split}' (it has: {', '.join(self.splits) or 'none'})."
        )

    def training_split(self) -> str:
        """The split that training reads."""
        return self.resolve("train")

    def label(self, domain: Domain) -> str:
        """Class name of a domain."""
        return self.labels[0 if domain == "A" else 1]


def digest(parts: Iterator[bytes]) -> str:
    """Hex BLAKE2 digest (32 digits) of length-prefixed parts."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()
