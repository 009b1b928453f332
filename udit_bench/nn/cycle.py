"""What CycleGAN and its descendants share: four networks, their settings, one training phase."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from pydantic import Field
from torch import nn
from torch.optim import Adam

from udit_bench.nn.gan import ImagePool, ema_copy, init_normal
from udit_bench.nn.resnet import Border, Upsample
from udit_bench.scene import Direction
from udit_bench.translator import (
    Phase,
    TrainingPair,
    Translator,
    TranslatorConfig,
    Update,
    linear_decay,
)


class CycleConfig(TranslatorConfig):
    """Settings of both methods; InstaGAN's App. A and B hold for "all the experiments"."""

    size: tuple[int, int] = Field((200, 200), description="COCO, App. B; MHP 240x160, CCP 300x200")
    load_scale: float = Field(1.1, ge=1.0, description="220 -> 200, InstaGAN's preprocessing")
    batch_size: int = Field(4, ge=1, description="App. B (four GPUs with one picture each)")
    epochs: int = Field(200, ge=1, description="100 constant + 100 decaying, App. B; CCP 600")
    decay_from: float = Field(0.5, ge=0, le=1, description="share of constant rate; CCP 2/3")
    decay_per: Literal["epoch", "step"] = Field("epoch", description="CycleGAN's code")
    lr: float = Field(2e-4, gt=0, description="of the generators, App. B")
    lr_d: float = Field(1e-4, gt=0, description="of the discriminators, App. B; the codes: 2e-4")
    beta1: float = Field(0.5, ge=0, lt=1, description="Adam, App. B")
    beta2: float = Field(0.999, ge=0, lt=1, description="Adam, App. B")
    lambda_cyc: float = Field(10.0, ge=0, description="CycleGAN Sec. 4, App. B")
    lambda_idt: float = Field(10.0, ge=0, description="App. B; CycleGAN's own is 5")
    ngf: int = Field(64, ge=4, description="width of G, App. A")
    ndf: int = Field(64, ge=4, description="width of D, App. A")
    blocks: int = Field(9, ge=1, description="residual blocks of an encoder, App. A")
    spectral_norm: bool = Field(True, description="in D, App. A; CycleGAN's own: none")
    upsample: Upsample = Field("transpose", description="CycleGAN App. 7.2")
    border: Border = Field("zeros", description="of strided convolutions, CycleGAN's code")
    pool: int = Field(50, ge=0, description="CycleGAN Sec. 4")
    ema: float = Field(0.0, ge=0, lt=1, description="average of the generators' weights; 0 = none")


class CycleTranslator(Translator):
    """Generators both ways, a discriminator and an image pool per domain, averaged generators.

    Args:
        config: settings.
        generator, discriminator: make one fresh network.
    """

    config: CycleConfig
    D_A: nn.Module
    D_B: nn.Module

    def __init__(
        self,
        config: CycleConfig,
        generator: Callable[[], nn.Module],
        discriminator: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        self.config = config
        self.G_AB, self.G_BA = generator(), generator()
        self.D_A, self.D_B = discriminator(), discriminator()
        for network in (self.G_AB, self.G_BA, self.D_A, self.D_B):
            init_normal(network)
        self.ema_AB = ema_copy(self.G_AB, config.ema)
        self.ema_BA = ema_copy(self.G_BA, config.ema)
        self.pools = {"A": ImagePool(config.pool), "B": ImagePool(config.pool)}

    def weights(self) -> dict[str, float]:
        """Weight of every loss term; a method adds its own."""
        return {
            "adv": 1.0,
            "cycle": self.config.lambda_cyc,
            "identity": self.config.lambda_idt,
            "D_A": 0.5,  # CycleGAN halves the discriminators' loss (App. 7.1)
            "D_B": 0.5,
        }

    def step(self, pair: TrainingPair) -> Iterator[Update]:
        """The updates of one training step, for the optimizers ``G`` and ``D``."""
        raise NotImplementedError

    def phases(self) -> list[Phase]:
        config = self.config
        betas = (config.beta1, config.beta2)
        generators = [*self.G_AB.parameters(), *self.G_BA.parameters()]
        discriminators = [*self.D_A.parameters(), *self.D_B.parameters()]
        return [
            Phase(
                name="train",
                epochs=config.epochs,
                optimizers={
                    "G": Adam(generators, config.lr, betas),
                    "D": Adam(discriminators, config.lr_d, betas),
                },
                weights=self.weights(),
                step=self._step_and_average,
                schedule=linear_decay(config.epochs, config.decay_from, config.decay_per),
            )
        ]

    def _step_and_average(self, pair: TrainingPair) -> Iterator[Update]:
        yield from self.step(pair)
        for average, network in ((self.ema_AB, self.G_AB), (self.ema_BA, self.G_BA)):
            if average is not None:
                average.update_parameters(network)

    def generator(self, direction: Direction) -> nn.Module:
        """The network that translates: the averaged one where there is one."""
        if direction == "AtoB":
            return self.ema_AB or self.G_AB
        return self.ema_BA or self.G_BA

    def extra_state(self) -> dict[str, Any]:
        return {"pools": {name: pool.state() for name, pool in self.pools.items()}}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        for name, pool in self.pools.items():
            pool.load_state(state["pools"][name])
