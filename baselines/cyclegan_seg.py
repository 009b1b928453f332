"""CycleGAN+seg: CycleGAN on pictures with the union of the instance masks as a fourth channel.

The baseline of InstaGAN (Mo et al., ICLR 2019, Sec. 3.2 and App. F) and of MGD-GAN (Su et al.,
IJCAI 2021, Sec. 3.4); networks and training from CycleGAN (Zhu et al., ICCV 2017). It sees one
union mask and returns one: how that becomes a mask per instance is a named rule, and each rule is
a row of its own (see ``udit_bench.instances``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Adam

from udit_bench.instances import RULES
from udit_bench.nn.gan import ImagePool, ema_copy, frozen, init_normal, l1, lsgan
from udit_bench.nn.padding import on_multiple
from udit_bench.nn.patchgan import PatchDiscriminator
from udit_bench.nn.resnet import Border, ResnetGenerator, Upsample
from udit_bench.scene import Direction, SceneBatch, Translation
from udit_bench.translator import (
    Phase,
    TrainingPair,
    Translator,
    TranslatorConfig,
    Update,
    add_terms,
    linear_decay,
)

CHANNELS = 4  # red, green, blue, union mask; all in [-1, 1]


class CycleGANSegConfig(TranslatorConfig):
    """Settings; the defaults are those under which InstaGAN's paper compares.

    InstaGAN's App. A and B hold for "all the experiments", so its weights, rates and spectral norm
    put both methods on one footing. CycleGAN's own are ``lambda_idt=5 spectral_norm=false
    lr_d=0.0002 batch_size=1 ngf=64 ndf=64``.
    """

    size: tuple[int, int] = Field((200, 200), description="COCO, InstaGAN App. B")
    load_scale: float = Field(1.1, ge=1.0, description="220 -> 200, InstaGAN's preprocessing")
    batch_size: int = Field(4, ge=1, description="InstaGAN App. B")
    epochs: int = Field(200, ge=1, description="100 constant + 100 decaying, InstaGAN App. B")
    decay_from: float = Field(0.5, ge=0, le=1, description="share of constant rate, App. B")
    decay_per: Literal["epoch", "step"] = Field("epoch", description="CycleGAN's code")
    lr: float = Field(2e-4, gt=0, description="of the generators, InstaGAN App. B")
    lr_d: float = Field(1e-4, gt=0, description="of the discriminators, InstaGAN App. B")
    beta1: float = Field(0.5, ge=0, lt=1, description="Adam, InstaGAN App. B")
    beta2: float = Field(0.999, ge=0, lt=1, description="Adam, InstaGAN App. B")
    lambda_cyc: float = Field(10.0, ge=0, description="CycleGAN Sec. 4, InstaGAN App. B")
    lambda_idt: float = Field(10.0, ge=0, description="InstaGAN App. B; CycleGAN's own is 5")
    spectral_norm: bool = Field(True, description="in D, InstaGAN App. A; CycleGAN's own: none")
    ngf: int = Field(90, ge=4, description="width of G: parameters doubled, InstaGAN Sec. 3.1")
    ndf: int = Field(90, ge=4, description="width of D: parameters doubled, InstaGAN Sec. 3.1")
    blocks: int = Field(9, ge=1, description="residual blocks, InstaGAN App. A")
    upsample: Upsample = Field("transpose", description="CycleGAN App. 7.2")
    border: Border = Field("zeros", description="strided convs, its code")
    pool: int = Field(50, ge=0, description="CycleGAN Sec. 4")
    ema: float = Field(0.0, ge=0, lt=1, description="average of the generators' weights; 0 = none")

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "quick": {
            "size": (64, 64),
            "load_scale": 1.0,
            "batch_size": 1,
            "epochs": 2,
            "decay_from": 1.0,
            "decay_per": "step",
            "lr": 1e-3,
            "lr_d": 5e-4,
            "ngf": 12,
            "ndf": 12,
            "blocks": 4,
            "upsample": "shuffle",
            "border": "reflect",
            "ema": 0.999,
        },
    }


class CycleGANSeg(Translator):
    """Two generators and two discriminators on ``(B, 4, H, W)``: picture and union mask."""

    title = "CycleGAN+seg"
    Config = CycleGANSegConfig
    variants: ClassVar[Mapping[str, str]] = {
        "nearest": "nearest source",
        "components": "components",
    }
    source = "Zhu et al., ICCV 2017; with masks as in Mo et al., ICLR 2019, Sec. 3.2"

    def __init__(self, config: CycleGANSegConfig) -> None:
        super().__init__()
        self.config = config
        shape = (CHANNELS, config.ngf, config.blocks, config.upsample, config.border)
        self.G_AB, self.G_BA = ResnetGenerator(*shape), ResnetGenerator(*shape)
        self.D_A = PatchDiscriminator(CHANNELS, config.ndf, config.spectral_norm)
        self.D_B = PatchDiscriminator(CHANNELS, config.ndf, config.spectral_norm)
        for network in (self.G_AB, self.G_BA, self.D_A, self.D_B):
            init_normal(network)
        self.ema_AB = ema_copy(self.G_AB, config.ema)
        self.ema_BA = ema_copy(self.G_BA, config.ema)
        self.pools = {"A": ImagePool(config.pool), "B": ImagePool(config.pool)}

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
                weights={
                    "adv": 1.0,
                    "cycle": config.lambda_cyc,
                    "identity": config.lambda_idt,
                    "D_A": 0.5,  # CycleGAN halves the discriminators' loss (App. 7.1)
                    "D_B": 0.5,
                },
                step=self._step,
                schedule=linear_decay(config.epochs, config.decay_from, config.decay_per),
            )
        ]

    def _step(self, pair: TrainingPair) -> Iterator[Update]:
        real_A, real_B = _with_union(pair.A), _with_union(pair.B)
        with frozen((self.D_A, self.D_B)):
            fake_B, fake_A = self.G_AB(real_A), self.G_BA(real_B)
            yield Update(
                "G",
                {
                    # LSGAN, CycleGAN Sec. 3.1 and 4: (D(G(x)) - 1)^2
                    "adv": add_terms(lsgan(self.D_B(fake_B), True), lsgan(self.D_A(fake_A), True)),
                    # CycleGAN eq. 2: |G_BA(G_AB(a)) - a| + |G_AB(G_BA(b)) - b|
                    "cycle": add_terms(
                        l1(self.G_BA(fake_B), real_A), l1(self.G_AB(fake_A), real_B)
                    ),
                    # CycleGAN Sec. 5.2: |G_BA(a) - a| + |G_AB(b) - b|
                    "identity": add_terms(
                        l1(self.G_BA(real_A), real_A), l1(self.G_AB(real_B), real_B)
                    ),
                },
            )
        old_A = torch.stack(self.pools["A"].query(list(fake_A)))
        old_B = torch.stack(self.pools["B"].query(list(fake_B)))
        yield Update(
            "D",
            {
                "D_A": add_terms(lsgan(self.D_A(real_A), True), lsgan(self.D_A(old_A), False)),
                "D_B": add_terms(lsgan(self.D_B(real_B), True), lsgan(self.D_B(old_B), False)),
            },
        )
        for average, network in ((self.ema_AB, self.G_AB), (self.ema_BA, self.G_BA)):
            if average is not None:
                average.update_parameters(network)

    def translate(
        self, batch: SceneBatch, direction: Direction, variant: str | None = None
    ) -> Translation:
        rule = RULES[variant or "nearest"]
        generator: nn.Module = (
            self.ema_AB or self.G_AB if direction == "AtoB" else self.ema_BA or self.G_BA
        )
        output = on_multiple(generator, _with_union(batch), 4)
        unions = (output[:, 3] > 0).cpu().numpy()
        sources = (batch.masks[:, 0] > 0.5).cpu().numpy()
        owner = batch.owner.cpu().numpy()
        masks = torch.zeros(batch.masks.shape, dtype=torch.bool)
        for index, union in enumerate(unions):
            masks[owner == index, 0] = torch.from_numpy(rule(union, sources[owner == index]))
        return Translation(output[:, :3], masks.to(output.device), batch.owner)

    def extra_state(self) -> dict[str, Any]:
        return {"pools": {name: pool.state() for name, pool in self.pools.items()}}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        for name, pool in self.pools.items():
            pool.load_state(state["pools"][name])


def _with_union(batch: SceneBatch) -> Tensor:
    """``(B, 4, H, W)``: the picture and the union of its masks, both in [-1, 1]."""
    return torch.cat([batch.images, batch.union() * 2 - 1], dim=1)
