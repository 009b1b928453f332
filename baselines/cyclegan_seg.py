"""CycleGAN+seg: CycleGAN on pictures with the union of the instance masks as a fourth channel.

The baseline of InstaGAN (Mo et al., ICLR 2019, Sec. 3.2 and App. F) and of MGD-GAN (Su et al.,
IJCAI 2021, Sec. 3.4); networks and training from CycleGAN (Zhu et al., ICCV 2017). It sees one
union mask and returns one: how that becomes a mask per instance is a named rule, and each rule is
a row of its own (see ``udit_bench.instances``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from udit_bench.instances import RULES
from udit_bench.nn.cycle import CycleConfig, CycleTranslator
from udit_bench.nn.gan import frozen, l1, lsgan
from udit_bench.nn.padding import on_multiple
from udit_bench.nn.patchgan import PatchDiscriminator
from udit_bench.nn.resnet import ResnetGenerator
from udit_bench.scene import Direction, SceneBatch, Translation
from udit_bench.translator import (
    TrainingPair,
    Update,
    add_terms,
)

CHANNELS = 4  # red, green, blue, union mask; all in [-1, 1]


class CycleGANSegConfig(CycleConfig):
    """Settings; the defaults are those under which InstaGAN's paper compares.

    InstaGAN's App. A and B hold for "all the experiments", so its weights, rates and spectral norm
    put both methods on one footing. CycleGAN's own are ``lambda_idt=5 spectral_norm=false
    lr_d=0.0002 batch_size=1 ngf=64 ndf=64``.
    """

    ngf: int = Field(90, ge=4, description="width of G: parameters doubled, InstaGAN Sec. 3.1")
    ndf: int = Field(90, ge=4, description="width of D: parameters doubled, InstaGAN Sec. 3.1")

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


class CycleGANSeg(CycleTranslator):
    """Two generators and two discriminators on ``(B, 4, H, W)``: picture and union mask."""

    title = "CycleGAN+seg"
    Config = CycleGANSegConfig
    variants: ClassVar[Mapping[str, str]] = {
        "nearest": "nearest source",
        "components": "components",
    }
    source = "Zhu et al., ICCV 2017; with masks as in Mo et al., ICLR 2019, Sec. 3.2"

    def __init__(self, config: CycleGANSegConfig) -> None:
        super().__init__(
            config,
            lambda: ResnetGenerator(
                CHANNELS, config.ngf, config.blocks, config.upsample, config.border
            ),
            lambda: PatchDiscriminator(CHANNELS, config.ndf, config.spectral_norm),
        )

    def step(self, pair: TrainingPair) -> Iterator[Update]:
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

    def translate(
        self, batch: SceneBatch, direction: Direction, variant: str | None = None
    ) -> Translation:
        rule = RULES[variant or "nearest"]
        output = on_multiple(self.generator(direction), _with_union(batch), 4)
        unions = (output[:, 3] > 0).cpu().numpy()
        sources = (batch.masks[:, 0] > 0.5).cpu().numpy()
        owner = batch.owner.cpu().numpy()
        masks = torch.zeros(batch.masks.shape, dtype=torch.bool)
        for index, union in enumerate(unions):
            masks[owner == index, 0] = torch.from_numpy(rule(union, sources[owner == index]))
        return Translation(output[:, :3], masks.to(output.device), batch.owner)


def _with_union(batch: SceneBatch) -> Tensor:
    """``(B, 4, H, W)``: the picture and the union of its masks, both in [-1, 1]."""
    return torch.cat([batch.images, batch.union() * 2 - 1], dim=1)
