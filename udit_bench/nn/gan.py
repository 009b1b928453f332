"""Small parts that every GAN here needs: initialisation, losses, freezing, pool, averaging."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from udit_bench.translator import Term, mean_term


def init_normal(module: nn.Module, std: float = 0.02) -> None:
    """Weights of convolutions N(0, std), biases 0 (CycleGAN, App. 7.1 of its paper).

    Spectrally normalised layers keep torch's initialisation, as in InstaGAN's experiments: their
    scale is divided out.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            if is_parametrized(layer, "weight"):
                continue
            nn.init.normal_(layer.weight, 0.0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def lsgan(scores: Tensor, real: bool) -> Term:
    """Least-squares GAN loss of ``(B, 1, h, w)`` scores against 1 (real) or 0."""
    return mean_term((scores - 1.0 if real else scores).square())


def l1(output: Tensor, target: Tensor) -> Term:
    """Mean absolute difference; the papers' l1 norms are means here."""
    return mean_term((output - target).abs())


@contextmanager
def frozen(modules: Iterable[nn.Module]) -> Iterator[None]:
    """No gradients for these modules' parameters in graphs that are built inside."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def ema_copy(module: nn.Module, decay: float) -> AveragedModel | None:
    """An exponential moving average of a module's weights, or None for decay 0."""
    if decay == 0.0:
        return None
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    copy = AveragedModel(module, multi_avg_fn=average, use_buffers=False)
    return copy.requires_grad_(False)


class ImagePool:
    """The last generated samples, for the discriminator (CycleGAN, Sec. 4 of its paper).

    Until it is full, a new sample is kept and returned; then, with probability 1/2, a random kept
    one is returned and the new one takes its place. Samples are kept as uint8.

    Args:
        size: how many are kept; 0 turns the pool off.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.kept: list[Tensor] = []

    def query(self, samples: Sequence[Tensor]) -> list[Tensor]:
        """Exchange ``(C, H, W)`` samples in [-1, 1] (C may differ between them) one by one."""
        return [self._exchange(sample.detach()) for sample in samples]

    def _exchange(self, sample: Tensor) -> Tensor:
        if len(self.kept) < self.size:
            self.kept.append(_to_bytes(sample))
            return sample
        if self.size == 0 or torch.rand(()).item() < 0.5:
            return sample
        place = int(torch.randint(self.size, ()).item())
        old, self.kept[place] = self.kept[place], _to_bytes(sample)
        return old.to(sample.device).to(sample.dtype).div_(127.5).sub_(1.0)

    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"kept": list(self.kept)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state`` gave."""
        self.kept = list(state["kept"])


def _to_bytes(sample: Tensor) -> Tensor:
    return sample.clamp(-1, 1).add(1).mul(127.5).round().to("cpu", torch.uint8)
