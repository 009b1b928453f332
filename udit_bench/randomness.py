"""Random draws keyed by what they are for, so that a resumed run repeats an uninterrupted one.

Nothing here depends on how many numbers were drawn before: the key (seed, purpose, epoch, index)
alone decides. No generator state has to survive in a checkpoint.
"""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def stable_key(*parts: int | str) -> int:
    """A non-negative 63-bit integer from the parts; the same on every machine and version."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def seed_all(key: int) -> None:
    """Seed every global generator a method or a plug-in may draw from."""
    torch.manual_seed(key)
    np.random.seed(key % 2**32)  # noqa: NPY002 - the global generator is the one to be seeded
    random.seed(key)


def permutation(length: int, key: int) -> list[int]:
    """A permutation of ``range(length)`` that is a function of the key."""
    generator = torch.Generator().manual_seed(key)
    order: list[int] = torch.randperm(length, generator=generator).tolist()
    return order
