"""Every number of MGD-GAN, each with its source in the paper or the reason for the choice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from udit_bench.errors import UsageError
from udit_bench.mgdgan.backgrounds import Inpainting
from udit_bench.translator import TranslatorConfig


class MGDGANConfig(TranslatorConfig):
    """Settings; "choice" marks what the paper is silent on, the card gives the reasons."""

    size: tuple[int, int] = Field((256, 256), description="choice: SPADE's crop size")
    load_scale: float = Field(1.117, ge=1.0, description="choice: 286 -> 256, SPADE")
    batch_size: int = Field(1, ge=1, description="of each domain: N = 2 in all, Sec. 3.1")
    epochs: int | None = Field(None, ge=1, description="one number for all three phases")
    epochs_mask: int = Field(100, ge=1, description="Sec. 3.1")
    epochs_image: int = Field(200, ge=1, description="Sec. 3.1")
    epochs_finetune: int = Field(50, ge=0, description="Sec. 3.1; 0 leaves the phase out")
    lr: float = Field(2e-3, gt=0, description="Sec. 3.1")
    lr_mask: float | None = Field(None, gt=0, description="of masks morph instead of `lr`")
    lr_image: float | None = Field(None, gt=0, description="of image generation instead of `lr`")
    lr_finetune: float | None = Field(None, gt=0, description="of the fine-tuning instead of `lr`")
    ttur: float = Field(1.0, gt=0, description="choice: rate of D_mask over G_mask's; SPADE's is 4")
    beta1: float = Field(0.5, ge=0, lt=1, description="Adam, Sec. 3.1")
    beta2: float = Field(0.999, ge=0, lt=1, description="Adam, Sec. 3.1")
    decay_from: float = Field(0.5, ge=0, le=1, description="choice: constant, then to 0, as SPADE")
    decay_per: Literal["epoch", "step"] = Field("epoch", description="see linear_decay")
    clip: float | None = Field(10.0, gt=0, description="choice: largest gradient, masks morph")

    lambda_pc: float = Field(10.0, ge=0, description="Sec. 3.1, eq. 5 and 8")
    lambda_const: float = Field(1.0, ge=0, description="Sec. 3.1, eq. 6 and 8")
    lambda_reg: float = Field(1.0, ge=0, description="Sec. 3.1, eq. 7 and 8")
    lambda_com: float = Field(10.0, ge=0, description="Sec. 3.1, eq. 7")
    lambda_penalty: float = Field(0.1, ge=0, description="Sec. 3.1, eq. 7; of a mean")
    lambda_fmap: float = Field(10.0, ge=0, description="Sec. 3.1, eq. 10 and 11")
    lambda_vgg: float = Field(10.0, ge=0, description="Sec. 3.1, eq. 11")
    lambda_feat: float = Field(10.0, ge=0, description="Sec. 3.1, eq. 11")
    lambda_l1: float = Field(0.0, ge=0, description="choice: of the picture, where there is no VGG")
    lambda_reversal: float = Field(1.0, ge=0, description="choice: D_img's say in the fine-tuning")
    literal_hinge: bool = Field(False, description="eq. 3 as printed instead of -E[D]")
    warmup: int = Field(0, ge=0, description="choice: steps of masks morph before D_mask has a say")

    mask_width: int = Field(128, ge=8, description="choice: instance features, at H/4")
    mask_encoder: int = Field(64, ge=4, description="choice: CycleGAN's encoder")
    mask_blocks: int = Field(6, ge=1, description="choice: cascaded MiniIncep-ResNets")
    mask_scales: int = Field(3, ge=2, le=3, description="choice: K, at H/4, H/2, H")
    mask_fine: tuple[int, int] = Field((64, 32), description="choice: channels at H/2 and H")
    mask_embedding: int = Field(16, ge=1, description="choice: of the label")
    mask_groups: int = Field(8, ge=1, description="choice: of group norm")
    own_mask: bool = Field(False, description="eq. 2 multiplies only; also concatenate the mask")
    mask_ndf: int = Field(64, ge=4, description="choice: PatchGAN")
    mask_layers: int = Field(3, ge=1, le=5, description="choice: strided convolutions, PatchGAN")
    mask_norm: bool = Field(True, description="choice: instance norm in D_mask, PatchGAN")
    completeness: int = Field(2, ge=2, description="choice: factor of d and u in eq. 7")

    ngf: int = Field(64, ge=4, description="SPADE")
    levels: int = Field(5, ge=1, description="SPADE: halvings of the grid")
    hidden: int = Field(128, ge=4, description="SPADE: inside its normalisation")
    middle: int = Field(1, ge=0, description="SPADE: further blocks at the coarse end")
    spectral: bool = Field(True, description="SPADE: spectral norm in G_img")
    skips: bool = Field(True, description="choice: encoder features at every grid")
    ndf: int = Field(64, ge=4, description="SPADE")
    img_layers: int = Field(4, ge=2, description="SPADE: of a PatchGAN, the last not strided")
    img_scales: int = Field(2, ge=1, description="SPADE")
    image_crop: int | None = Field(
        None, ge=16, description="choice: image generation sees windows at instances; none = all"
    )
    vgg: str = Field("imagenet", description="imagenet, off, or the path of a VGG19's weights")

    inpaint: Literal["telea", "ns"] = Field("telea", description="choice, for HiFill: OpenCV")
    inpaint_radius: int = Field(3, ge=1, description="choice: pixels")
    dilate: float = Field(0.02, ge=0, le=0.5, description="choice: hole over mask, of the side")
    backgrounds: str | None = Field(None, description="a folder of ready backgrounds instead")
    other_holes: bool = Field(True, description="choice: holes of the other domain's shapes too")
    straight_through: bool = Field(True, description="choice: fine-tuning sees masks cut at 1/2")
    ema: float = Field(0.0, ge=0, lt=1, description="average of the generators' weights; 0 = none")
    e2e: bool = Field(False, description="row E of Table 2: G_mask and G_img together")

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "quick": {
            "size": (64, 64),
            "load_scale": 1.0,
            "epochs_mask": 2,
            "epochs_image": 3,
            "epochs_finetune": 1,
            "lr_mask": 1.5e-3,
            "lr_finetune": 2e-4,
            "ttur": 0.67,
            "decay_per": "step",
            "lambda_com": 2.0,
            "lambda_vgg": 0.0,
            "lambda_l1": 10.0,
            "lambda_reversal": 0.03,
            "warmup": 60,
            "mask_width": 48,
            "mask_encoder": 16,
            "mask_blocks": 4,
            "mask_fine": (48, 16),
            "own_mask": True,
            "mask_ndf": 16,
            "ngf": 8,
            "levels": 3,
            "hidden": 16,
            "middle": 0,
            "spectral": False,
            "ndf": 16,
            "img_layers": 3,
            "image_crop": 32,
            "vgg": "off",
            "ema": 0.995,
        },
    }
    PHASES: ClassVar[tuple[str, ...]] = ("epochs_mask", "epochs_image", "epochs_finetune")

    @classmethod
    def build(cls, preset: str, overrides: Mapping[str, Any]) -> Self:
        """As for every method; ``epochs`` is for all phases but one that is left out.

        Raises:
            UsageError: also where ``epochs`` and the number of a phase disagree.
        """
        number = overrides.get("epochs")
        if number is None:
            return super().build(preset, overrides)
        each = dict.fromkeys(cls.PHASES, number)
        for name in cls.PHASES:
            given = overrides.get(name, number)
            if given == 0:
                each[name] = 0
            elif given != number:
                raise UsageError(f"epochs={number} and {name}={given} disagree: give one of them.")
        return super().build(preset, {**overrides, **each})

    @field_validator("vgg", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return "off" if value is False else value  # YAML reads `off` as false

    @model_validator(mode="after")
    def _large_enough(self) -> Self:
        if min(self.mask_fine) < 2:
            raise ValueError("mask_fine: each width must be at least 2")
        if min(self.size) >> self.mask_layers < 4:
            raise ValueError(f"mask_layers={self.mask_layers} is too many for size={self.size}")
        return self

    @property
    def inpainting(self) -> Inpainting:
        """How instances are taken away."""
        folder = None if self.backgrounds is None else Path(self.backgrounds)
        return Inpainting(self.inpaint, self.inpaint_radius, self.dilate, folder)

    def rate(self, phase: Literal["mask", "image", "finetune"]) -> float:
        """Learning rate of a phase."""
        own: float | None = getattr(self, f"lr_{phase}")
        return self.lr if own is None else own
