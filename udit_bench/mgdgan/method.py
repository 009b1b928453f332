"""MGD-GAN as a ``Translator``: its three phases, and translation.

Both directions come from one model: the target label is an input. Every step takes the pictures of
both domains in one batch, and all their instances in one pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.optim import Adam

from udit_bench.errors import DataError
from udit_bench.mgdgan import image_generation as image_part
from udit_bench.mgdgan import masks_morph as mask_part
from udit_bench.mgdgan.backgrounds import Inpainting, WithBackgrounds
from udit_bench.mgdgan.batches import Both, crop_at_instances, join
from udit_bench.mgdgan.config import MGDGANConfig
from udit_bench.nn.gan import ema_copy, frozen
from udit_bench.nn.vgg import VGGFeatures, describe, load_vgg
from udit_bench.scene import (
    Direction,
    Scene,
    SceneBatch,
    Translation,
    image_to_tensor,
    tensor_to_image,
)
from udit_bench.translator import (
    Phase,
    Schedule,
    Term,
    TrainingPair,
    Translator,
    Update,
    linear_decay,
    mean_term,
)


class MGDGAN(Translator):
    """Masks morph first, then instances are painted onto the background where they stand."""

    title = "MGD-GAN"
    Config = MGDGANConfig
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "no-reg": {"lambda_reg": 0.0},
        "no-const": {"lambda_const": 0.0},
        "no-finetune": {"epochs_finetune": 0},
        "e2e": {"e2e": True},
    }
    measured: ClassVar[Mapping[str, Any]] = {"vgg": "untrained", "warmup": 0}
    source = "Su et al., IJCAI 2021"
    mask_steps: Tensor

    def __init__(self, config: MGDGANConfig) -> None:
        super().__init__()
        self.config = config
        self.G_mask = mask_part.MaskGenerator(
            config.mask_width, config.mask_encoder, config.mask_blocks, config.mask_scales,
            config.mask_embedding, config.mask_groups, config.own_mask, config.mask_fine,
        )  # fmt: skip
        self.D_mask = mask_part.MaskDiscriminator(
            config.mask_ndf, config.mask_layers, config.mask_norm
        )
        self.G_img = image_part.APADE(
            config.ngf, config.levels, config.hidden, config.middle, config.spectral, config.skips
        )
        self.D_img = image_part.ImageDiscriminator(config.ndf, config.img_layers, config.img_scales)
        self.ema_mask = ema_copy(self.G_mask, config.ema)
        self.ema_img = ema_copy(self.G_img, config.ema)
        self.register_buffer("mask_steps", torch.zeros((), dtype=torch.int64))
        self._vgg: list[VGGFeatures] = []  # not registered: its weights are not this model's

    # ---- phases ------------------------------------------------------------------------------

    def phases(self) -> list[Phase]:
        config = self.config
        if config.e2e:
            return [self._phase_e2e()]
        phases = [self._phase_masks(), self._phase_images()]
        if config.epochs_finetune:
            phases.append(self._phase_finetune())
        return phases

    def _adam(self, rate: float, *networks: nn.Module) -> Adam:
        parameters = [p for network in networks for p in network.parameters()]
        return Adam(parameters, rate, (self.config.beta1, self.config.beta2), fused=True)

    def _schedule(self, epochs: int) -> Schedule:
        return linear_decay(epochs, self.config.decay_from, self.config.decay_per)

    @property
    def _mask_weights(self) -> dict[str, float]:
        """Eq. 8 with eq. 7 in it."""
        config = self.config
        return {
            "mask_adv": 1.0,
            "pc": config.lambda_pc,
            "const": config.lambda_const,
            "com": config.lambda_reg * config.lambda_com,
            "penalty": config.lambda_reg * config.lambda_penalty,
            "D_mask_fake": 1.0,
            "D_mask_real": 1.0,
        }

    def _phase_masks(self) -> Phase:
        config = self.config
        rate = config.rate("mask")
        return Phase(
            name="masks",
            epochs=config.epochs_mask,
            optimizers={
                "G_mask": self._adam(rate, self.G_mask),
                "D_mask": self._adam(rate * config.ttur, self.D_mask),
            },
            weights=self._mask_weights,
            step=self._mask_step,
            schedule=self._schedule(config.epochs_mask),
            clip=config.clip,
        )

    def _phase_images(self) -> Phase:
        config = self.config
        rate = config.rate("image")
        return Phase(
            name="images",
            epochs=config.epochs_image,
            optimizers={
                "G_img": self._adam(rate, self.G_img),
                "D_img": self._adam(rate, self.D_img),
            },
            weights={  # eq. 11
                "img_adv": 1.0,
                "fmap": config.lambda_fmap,
                "vgg": config.lambda_vgg,
                "l1": config.lambda_l1,
                "feat": config.lambda_feat,
                "D_img_fake": 1.0,
                "D_img_real": 1.0,
            },
            step=self._image_step,
            schedule=self._schedule(config.epochs_image),
        )

    def _phase_finetune(self) -> Phase:
        config = self.config
        rate = config.rate("finetune")
        return Phase(
            name="finetune",
            epochs=config.epochs_finetune,
            optimizers={
                "G_mask": self._adam(rate, self.G_mask),
                "D_mask": self._adam(rate * config.ttur, self.D_mask),
            },
            weights={**self._mask_weights, "reversal": config.lambda_reversal},
            step=self._finetune_step,
            schedule=self._schedule(config.epochs_finetune),
            clip=config.clip,
        )

    def _phase_e2e(self) -> Phase:
        """Row E of Table 2: no designed supervision, both generators in every step."""
        config = self.config
        epochs = max(config.epochs_mask, config.epochs_image)
        rate = config.rate("image")
        return Phase(
            name="e2e",
            epochs=epochs,
            optimizers={
                "G": self._adam(rate, self.G_mask, self.G_img),
                "D": self._adam(rate, self.D_mask, self.D_img),
            },
            weights={
                **self._mask_weights,
                "img_adv": 1.0,
                "fmap": config.lambda_fmap,
                "D_img_fake": 1.0,
                "D_img_real": 1.0,
            },
            step=self._e2e_step,
            schedule=self._schedule(epochs),
            clip=config.clip,
        )

    # ---- steps -------------------------------------------------------------------------------

    def _mask_terms(self, both: Both) -> tuple[dict[str, Term], Tensor]:
        """Generator's terms of eq. 8, and the generated masks at full size."""
        config = self.config
        if len(both.masks) == 0:
            nothing = Term(both.images.new_zeros(()), 0)
            names = [n for n in self._mask_weights if not n.startswith("D_") and self._wanted(n)]
            return dict.fromkeys(names, nothing), both.masks
        own = both.instance_label
        rows = self.G_mask(both.images, both.masks, both.owner, torch.cat([1 - own, own]))
        morphed = [scale[: len(own)] for scale in rows]
        same = [scale[len(own) :] for scale in rows]
        fake = morphed[-1]
        terms = {}
        if self._wanted("mask_adv"):
            with frozen((self.D_mask,)):
                judged = self.D_mask(fake, 1 - own)
            terms["mask_adv"] = mask_part.generator_hinge(judged, config.literal_hinge)
        if self._wanted("pc"):
            terms["pc"] = mask_part.pseudo_cycle(same, both.masks)
        if self._wanted("const"):
            terms["const"] = mask_part.consistency(morphed)
        if self._wanted("com"):
            terms["com"] = mask_part.completeness(fake, config.completeness)
        if self._wanted("penalty"):
            terms["penalty"] = mask_part.penalty(fake)
        return terms, fake

    def _wanted(self, name: str) -> bool:
        """Whether a term takes part: its weight is not 0, and the warm-up is over."""
        if name == "mask_adv":
            return int(self.mask_steps) >= self.config.warmup
        return self._mask_weights[name] > 0

    def _mask_discriminator_terms(self, both: Both, fake: Tensor) -> dict[str, Term]:
        if len(both.masks) == 0:
            nothing = Term(both.images.new_zeros(()), 0)
            return {"D_mask_fake": nothing, "D_mask_real": nothing}
        own = both.instance_label
        judged = self.D_mask(torch.cat([fake.detach(), both.masks]), torch.cat([1 - own, own]))
        of_fake, of_real = mask_part.discriminator_hinge(
            [s[: len(own)] for s in judged], [s[len(own) :] for s in judged]
        )
        return {"D_mask_fake": of_fake, "D_mask_real": of_real}

    def _mask_step(self, pair: TrainingPair) -> Iterator[Update]:
        both = join(pair)
        terms, fake = self._mask_terms(both)
        yield Update("G_mask", terms)
        yield Update("D_mask", self._mask_discriminator_terms(both, fake))
        self._mask_step_done()

    def _mask_step_done(self) -> None:
        self.mask_steps += 1
        if self.ema_mask is not None:
            self.ema_mask.update_parameters(self.G_mask)

    def _image_step(self, pair: TrainingPair) -> Iterator[Update]:
        """Designed supervision: put a picture's own instances back onto its background."""
        both, config = join(pair), self.config
        if config.image_crop is not None:
            both = crop_at_instances(both, config.image_crop)
        seg = image_part.segmentation(both.masks, both.owner, both.label, both.holes)
        foreground, fusion = self.G_img(both.backgrounds, seg)
        made = image_part.blend(foreground, fusion, both.backgrounds)
        with frozen((self.D_img,)):
            outputs = self.D_img(torch.cat([made, both.images]), torch.cat([seg, seg]))
        of_fake = [[y[: len(made)] for y in found] for found in outputs]
        of_real = [[y[len(made) :] for y in found] for found in outputs]
        terms = {
            "img_adv": image_part.image_hinge(image_part.scores(of_fake)),
            "fmap": image_part.fusion_loss(fusion, seg[:, :1]),
            "feat": image_part.feature_matching(of_fake, of_real),
        }
        if self._uses_vgg:
            self.ready()
            vgg = self._vgg[0].to(made.device)
            terms["vgg"] = image_part.perceptual(vgg, made, both.images)
        if config.lambda_l1:
            terms["l1"] = mean_term((made - both.images).abs())
        yield Update("G_img", terms)
        yield Update("D_img", self._image_discriminator_terms(made, seg, both.images, seg))
        if self.ema_img is not None:
            self.ema_img.update_parameters(self.G_img)

    def _image_discriminator_terms(
        self, made: Tensor, guide: Tensor, real: Tensor, real_guide: Tensor
    ) -> dict[str, Term]:
        outputs = self.D_img(
            torch.cat([made.detach(), real]), torch.cat([guide.detach(), real_guide])
        )
        maps = image_part.scores(outputs)
        hinge = image_part.image_discriminator_hinge
        return {
            "D_img_fake": hinge([m[: len(made)] for m in maps], False),
            "D_img_real": hinge([m[len(made) :] for m in maps], True),
        }

    def _translated(
        self, both: Both, fake: Tensor, painter: nn.Module
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Source backgrounds with generated masks painted on: picture, its guide, fusion map."""
        if self.config.straight_through:
            fake = (fake > 0.5).to(fake.dtype) + fake - fake.detach()
        guide = image_part.segmentation(fake, both.owner, 1 - both.label, both.holes)
        foreground, fusion = painter(both.backgrounds, guide)
        return image_part.blend(foreground, fusion, both.backgrounds), guide, fusion

    def _finetune_step(self, pair: TrainingPair) -> Iterator[Update]:
        """Reversal fine-tuning (Sec. 2.3): G_mask learns through G_img and D_img, both fixed."""
        both = join(pair)
        painter: nn.Module = self.ema_img or self.G_img
        painter.eval()
        self.D_img.eval()  # its spectral norm stands still as well
        with frozen((painter, self.D_img)):
            terms, fake = self._mask_terms(both)
            made, guide, _ = self._translated(both, fake, painter)
            judged = image_part.scores(self.D_img(made, guide))
            terms["reversal"] = image_part.image_hinge(judged)
            yield Update("G_mask", terms)
        yield Update("D_mask", self._mask_discriminator_terms(both, fake))
        self._mask_step_done()

    def _e2e_step(self, pair: TrainingPair) -> Iterator[Update]:
        both = join(pair)
        terms, fake = self._mask_terms(both)
        made, guide, fusion = self._translated(both, fake, self.G_img)
        with frozen((self.D_img,)):
            judged = image_part.scores(self.D_img(made, guide))
        terms["img_adv"] = image_part.image_hinge(judged)
        terms["fmap"] = image_part.fusion_loss(fusion, guide[:, :1].detach())
        yield Update("G", terms)
        real_guide = image_part.segmentation(both.masks, both.owner, both.label, both.holes)
        yield Update(
            "D",
            self._mask_discriminator_terms(both, fake)
            | self._image_discriminator_terms(made, guide, both.images, real_guide),
        )
        self._mask_step_done()
        if self.ema_img is not None:
            self.ema_img.update_parameters(self.G_img)

    # ---- translation -------------------------------------------------------------------------

    def prepare(
        self, scenes: Sequence[Scene], place: str = "", others: Sequence[Scene] | None = None
    ) -> Sequence[Scene]:
        how = self.config.inpainting
        # ready backgrounds are filled where their own instances were, and nowhere else
        added = others if self.config.other_holes and how.folder is None else None
        return WithBackgrounds(scenes, how, place, added)

    @property
    def _uses_vgg(self) -> bool:
        return self.config.vgg != "off" and self.config.lambda_vgg > 0 and not self.config.e2e

    def ready(self) -> None:
        if self._uses_vgg and not self._vgg:
            self._vgg = [load_vgg(self.config.vgg)]

    def notes(self) -> list[str]:
        config = self.config
        where = "a folder" if config.backgrounds else f"OpenCV ({config.inpaint})"
        used = config.vgg if self._uses_vgg else "off"
        depth = f", {self._vgg[0].depth} of 5 layers" if self._vgg else ""
        return [f"VGG loss: {describe(used)}{depth}", f"backgrounds: {where}"]

    def translate(
        self, batch: SceneBatch, direction: Direction, variant: str | None = None
    ) -> Translation:
        morph: nn.Module = self.ema_mask or self.G_mask
        paint: nn.Module = self.ema_img or self.G_img
        images = batch.images.clone()
        masks = torch.zeros(batch.masks.shape, dtype=torch.bool, device=images.device)
        present = batch.masks.flatten(1).any(1)
        busy, owner = torch.unique(batch.owner[present], return_inverse=True)
        if len(busy) == 0:
            return Translation(images, masks, batch.owner)
        target = 1 if direction == "AtoB" else 0
        height, width = images.shape[-2:]
        margin = (0, -width % 4, 0, -height % 4)
        scales = morph(
            pad(images[busy], margin, mode="replicate"),
            pad(batch.masks[present], margin, mode="replicate"),
            owner,
            torch.full_like(owner, target),
        )
        made = scales[-1][..., :height, :width] > 0.5
        masks[present] = made
        backgrounds, holes = self._backgrounds(batch)
        guide = image_part.segmentation(
            made.to(images.dtype), owner, torch.full_like(busy, target), holes[busy]
        )
        foreground, fusion = paint(backgrounds[busy], guide)
        images[busy] = image_part.blend(foreground, fusion, backgrounds[busy])
        return Translation(images, masks, batch.owner)

    def _backgrounds(self, batch: SceneBatch) -> tuple[Tensor, Tensor]:
        """Of the batch; inpainted here for scenes that did not go through ``prepare``."""
        if batch.backgrounds is not None and batch.holes is not None:
            return batch.backgrounds, batch.holes
        how: Inpainting = self.config.inpainting
        if how.folder is not None:
            raise DataError(f"backgrounds come from {how.folder}: call `prepare` on the scenes.")
        pictures = tensor_to_image(batch.images)
        owner, solid = batch.owner.cpu().numpy(), (batch.masks[:, 0] > 0.5).cpu().numpy()
        holes = [how.hole(solid[owner == index]) for index in range(len(batch))]
        filled = [
            image_to_tensor(how.fill(image, hole))
            for image, hole in zip(pictures, holes, strict=True)
        ]
        stacked = torch.stack([torch.from_numpy(hole) for hole in holes])[:, None]
        like = batch.images
        return torch.stack(filled).to(like), stacked.to(like)
