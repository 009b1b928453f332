"""InstaGAN: instance-aware translation with sequential mini-batches (Mo et al., ICLR 2019).

Equations are those of the paper. Where paper and authors' code differ, the default follows the
paper and ``compat=official`` the code; the card (docs/methods/instagan.md) lists every such place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from udit_bench.errors import DataError
from udit_bench.nn.cycle import CycleConfig, CycleTranslator
from udit_bench.nn.gan import frozen
from udit_bench.nn.setgan import SetDiscriminator, SetGenerator, sum_by_owner
from udit_bench.randomness import stable_key
from udit_bench.scene import Direction, SceneBatch, Translation
from udit_bench.translator import (
    Term,
    TrainingPair,
    Update,
    add_terms,
    most_of_all_processes,
)


class InstaGANConfig(CycleConfig):
    """Settings; the defaults are the paper's (App. A, B; Sec. 3.2)."""

    lambda_ctx: float = Field(10.0, ge=0, description="App. B")
    ins_per: int = Field(2, ge=1, description="instances per mini-batch, Sec. 3.2")
    ins_max: int | None = Field(4, ge=1, description="per training picture, Sec. 3.2; null: all")
    order: Literal["decreasing", "random"] = Field("decreasing", description="Sec. 2.3")
    one_step: bool = Field(False, description="two instances in one pass, at test all at once")
    step_per_pass: bool = Field(False, description="eq. 10 sums over the passes; code: a step each")
    real_set: Literal["full", "top"] = Field("full", description="Sec. 2.3; code: the top ins_max")
    compat: Literal["paper", "official"] = Field("paper", description="see the card")

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "paper-mhp": {"size": (240, 160), "load_scale": 1.125},
        "paper-ccp": {"size": (300, 200), "epochs": 600, "decay_from": 2 / 3},
        "quick": {
            "size": (64, 64),
            "load_scale": 1.0,
            "batch_size": 1,
            "epochs": 2,
            "decay_from": 1.0,
            "decay_per": "step",
            "lr": 1e-3,
            "lr_d": 5e-4,
            "ngf": 8,
            "ndf": 12,
            "blocks": 3,
            "upsample": "subpixel",
            "border": "reflect",
            "step_per_pass": True,
            "ema": 0.99,
        },
    }
    OFFICIAL: ClassVar[Mapping[str, Any]] = {
        "batch_size": 1,
        "lr_d": 2e-4,
        "step_per_pass": True,
        "real_set": "top",
    }

    @classmethod
    def build(cls, preset: str, overrides: Mapping[str, Any]) -> Self:
        """As for every method; ``compat=official`` sets what was not set by hand."""
        official = cls.OFFICIAL if overrides.get("compat") == "official" else {}
        return super().build(preset, {**official, **overrides})


@dataclass(frozen=True)
class PackedSet:
    """Pictures with packed masks, both in [-1, 1].

    Attributes:
        images: ``(B, 3, H, W)``.
        masks: ``(T, 1, H, W)``.
        owner: ``(T,) int64``.
        pictures: ``(B,) int64``, which pictures of the batch these are.
    """

    images: Tensor
    masks: Tensor
    owner: Tensor
    pictures: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def select(self, keep: Tensor) -> PackedSet:
        """The instances at ``keep`` (indices), all pictures."""
        return replace(self, masks=self.masks[keep], owner=self.owner[keep])

    def detach(self) -> PackedSet:
        """Cut from the graph."""
        return replace(self, images=self.images.detach(), masks=self.masks.detach())

    def of(self, chosen: Tensor) -> PackedSet:
        """Only these pictures (indices, ascending), with or without instances."""
        place = torch.full((len(self),), -1, device=chosen.device)
        place[chosen] = torch.arange(len(chosen), device=chosen.device)
        owner = place[self.owner]
        keep = owner >= 0
        return PackedSet(self.images[chosen], self.masks[keep], owner[keep], self.pictures[chosen])

    def active(self) -> PackedSet:
        """Only the pictures that have instances, owners renumbered."""
        kept, owner = torch.unique(self.owner, return_inverse=True)
        return PackedSet(self.images[kept], self.masks, owner, self.pictures[kept])


def pack(batch: SceneBatch) -> PackedSet:
    """A batch as the networks see it; empty masks are left out (they have nothing to encode)."""
    present = batch.masks.flatten(1).any(1)
    pictures = torch.arange(len(batch), device=batch.owner.device)
    return PackedSet(batch.images, batch.masks[present] * 2 - 1, batch.owner[present], pictures)


def ranks(masks: Tensor, owner: Tensor, keys: Tensor | None = None) -> Tensor:
    """``(T,) int64``: place of each instance within its picture, largest area first.

    Args:
        masks: ``(T, 1, H, W)``.
        owner: ``(T,) int64``, non-decreasing.
        keys: ``(T,)`` numbers to order by (largest first) instead of the areas.
    """
    if len(masks) == 0:
        return owner.clone()
    size = masks.flatten(1).mean(1) if keys is None else keys.to(masks.device)
    by_size = torch.argsort(size, descending=True, stable=True)
    order = by_size[torch.argsort(owner[by_size], stable=True)]
    counts = torch.bincount(owner)
    starts = torch.repeat_interleave(torch.cumsum(counts, 0) - counts, counts)
    place = torch.empty_like(owner)
    place[order] = torch.arange(len(owner), device=owner.device) - starts
    return place


def translate_set(
    generator: torch.nn.Module, scene: PackedSet, place: Tensor, per_pass: int | None
) -> PackedSet:
    """Sequential inference (eq. 8 and 9): mini-batch after mini-batch, on the previous output.

    Args:
        generator: a ``SetGenerator``.
        scene: pictures with any number of masks each; a picture without any stays as it is.
        place: order of the instances within their pictures (``ranks``).
        per_pass: instances of a picture per pass; None: all at once.

    Returns:
        Final pictures, and the masks in the order given.
    """
    images, masks = scene.images, scene.masks.clone()
    last = int(place.max()) + 1 if len(place) else 0
    per_pass = per_pass or max(last, 1)
    for first in range(0, last, per_pass):
        now = torch.nonzero((place >= first) & (place < first + per_pass))[:, 0]
        (done,) = _jointly(generator, [replace(scene, images=images).select(now).active()])
        images = images.index_copy(0, done.pictures, done.images)
        masks[now] = done.masks
    return replace(scene, images=images, masks=masks)


def context_weight(source: Tensor, output: Tensor, owner: Tensor, count: int) -> Tensor:
    """1 where both the source's and the output's masks are background (eq. 6): ``(B, 1, H, W)``.

    Masks are in [-1, 1] and may be soft; the weight is one minus their clamped sum.
    """
    covered = sum_by_owner((source + 1) / 2 + (output + 1) / 2, owner, count)
    return 1 - covered.clamp(0, 1)


def _set_l1(output: PackedSet, target: PackedSet, per_pass: int, count: int) -> Term:
    """Mean difference over the picture's 3 channels and its ``per_pass`` mask channels jointly.

    A channel without an instance counts 0, so an instance weighs the same in any company.
    """
    images = (output.images - target.images).abs().sum((1, 2, 3))
    masks = (output.masks - target.masks).abs().sum((1, 2, 3))
    per_image = images + sum_by_owner(masks, target.owner, len(target))
    height, width = target.images.shape[-2:]
    return Term(per_image.sum() / ((3 + per_pass) * height * width), count)


def _squared(scores: Tensor, goal: float, count: int, times: Tensor | None = None) -> Term:
    """LSGAN's square per picture (eq. 3), each counted ``times`` (once if None)."""
    squares = (scores - goal).square().mean((1, 2, 3))
    return Term((squares if times is None else squares * times).sum(), count)


class InstaGAN(CycleTranslator):
    """Set generators and set discriminators for both directions."""

    title = "InstaGAN"
    Config = InstaGANConfig
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "no-ctx": {"lambda_ctx": 0.0},
        "one-step": {"one_step": True, "ins_max": 2},
        "random-order": {"order": "random"},
    }
    measured: ClassVar[Mapping[str, Any]] = {"ins_max": None}
    source = "Mo et al., ICLR 2019"
    config: InstaGANConfig
    D_A: SetDiscriminator
    D_B: SetDiscriminator

    def __init__(self, config: InstaGANConfig) -> None:
        super().__init__(
            config,
            lambda: SetGenerator(config.ngf, config.blocks, config.upsample, config.border),
            lambda: SetDiscriminator(config.ndf, config.spectral_norm),
        )

    def weights(self) -> dict[str, float]:
        return {**super().weights(), "context": self.config.lambda_ctx}

    # ---- training ----------------------------------------------------------------------------

    def step(self, pair: TrainingPair) -> Iterator[Update]:
        """Sequential mini-batch training (Sec. 2.3, eq. 10), detached between mini-batches."""
        config = self.config
        full = {"A": pack(pair.A), "B": pack(pair.B)}
        walks = {name: self._walk(scene) for name, scene in full.items()}
        real = full if config.real_set == "full" else {k: w.scene for k, w in walks.items()}
        passes = most_of_all_processes(max(walks["A"].passes, walks["B"].passes, 1))
        fakes = list[dict[str, PackedSet]]()
        for number in range(passes):
            now = {name: walk.group(number) for name, walk in walks.items()}
            made = dict[str, PackedSet]()
            for domain, target in (("A", "B"), ("B", "A")):  # two graphs, one at a time in memory
                with frozen((self.D_A, self.D_B)):
                    terms, made[target] = self._generator_terms(walks, now, domain, target)
                    over = domain == "B" and (config.step_per_pass or number == passes - 1)
                    yield Update("G", terms, step=over)
            if config.step_per_pass:
                yield Update("D", self._discriminator_terms(made, real, [made]))
            else:
                fakes.append(made)
        if not config.step_per_pass:
            for number, made in enumerate(fakes):
                last = number == passes - 1
                # the real samples are the same in every pass: seen once, with the passes' weight
                terms = self._discriminator_terms(made, real, fakes if last else [])
                yield Update("D", terms, step=last)

    def _walk(self, scene: PackedSet) -> _Walk:
        """The instances that take part, at most ``ins_max`` per picture, the largest ones."""
        place = ranks(scene.masks, scene.owner)
        if self.config.ins_max is not None:
            keep = torch.nonzero(place < self.config.ins_max)[:, 0]
            scene, place = scene.select(keep), place[keep]
        if self.config.order == "random":
            place = ranks(scene.masks, scene.owner, torch.rand(len(place)))
        at_once = max(len(place), 1) if self.config.one_step else self.config.ins_per
        return _Walk(scene, place, at_once)

    def _generator_terms(
        self, walks: Mapping[str, _Walk], now: Mapping[str, PackedSet], domain: str, target: str
    ) -> tuple[dict[str, Term], PackedSet]:
        """Terms of ``domain``'s translation in a pass, and of ``target``'s identity: one graph.

        A picture that has no instance left in this pass is left out; all sums are divided by the
        number of pictures of the batch, so a batch is the mean of its pictures.

        Returns:
            The terms, and the fakes without their graph, with all masks made so far.
        """
        there, back = (self.G_AB, self.G_BA) if domain == "A" else (self.G_BA, self.G_AB)
        D = self.D_B if target == "B" else self.D_A
        own, walk, per_pass = now[domain], walks[domain], self.config.ins_per
        count, others = len(walk.scene), len(walks[target].scene)
        fake, same = _jointly(there, [own, now[target]])
        (again,) = _jointly(back, [fake])
        past = walk.past(own.pictures)
        weight = context_weight(own.masks, fake.masks, own.owner, len(own))
        moved = (weight * (own.images - fake.images).abs()).mean((1, 2, 3)).sum()
        terms = {
            "adv": _squared(_judged(D, fake, past), 1.0, count),  # eq. 3
            "cycle": _set_l1(again, own, per_pass, count),  # eq. 4
            "identity": _set_l1(same, now[target], per_pass, others),  # eq. 5
            "context": Term(moved, count),  # eq. 6
        }
        return terms, walk.advance(own, fake.detach(), past)

    def _discriminator_terms(
        self,
        made: Mapping[str, PackedSet],
        real: Mapping[str, PackedSet],
        passes: Sequence[Mapping[str, PackedSet]],
    ) -> dict[str, Term]:
        """Terms of both discriminators for the fakes of one pass.

        Args:
            made: fakes of this pass, by the domain they are in.
            real: real sets by domain.
            passes: the passes whose share of the real side is counted now: each real picture
                counts once for every pass in which its partner in the pair made a fake.
        """
        terms = {}
        for name, D in (("A", self.D_A), ("B", self.D_B)):
            count = len(real[name])
            old = _unpool(self.pools[name].query(_poolable(made[name])), made[name])
            times = real[name].images.new_zeros(count)
            for step in passes:
                times[step[name].pictures] += 1
            true = real[name].of(torch.nonzero(times)[:, 0])
            scores = _joint_scores(D, old, true)
            fake_term = _squared(scores[: len(old)], 0.0, count)
            real_term = _squared(scores[len(old) :], 1.0, count, times[true.pictures])
            terms[f"D_{name}"] = add_terms(fake_term, real_term)
        return terms

    # ---- translation -------------------------------------------------------------------------

    def translate(
        self, batch: SceneBatch, direction: Direction, variant: str | None = None
    ) -> Translation:
        scene, present = pack(batch), batch.masks.flatten(1).any(1)
        keys = _random_keys(batch)[present.cpu()] if self.config.order == "random" else None
        place = ranks(scene.masks, scene.owner, keys)
        per_pass = None if self.config.one_step else self.config.ins_per
        height, width = scene.images.shape[-2:]
        margin = (0, -width % 4, 0, -height % 4)
        padded = replace(
            scene,
            images=pad(scene.images, margin, mode="replicate"),
            masks=pad(scene.masks, margin, mode="replicate") if len(scene.masks) else scene.masks,
        )
        done = translate_set(self.generator(direction), padded, place, per_pass)
        masks = torch.zeros_like(batch.masks, dtype=torch.bool)
        masks[present] = done.masks[..., :height, :width] > 0
        return Translation(done.images[..., :height, :width], masks, batch.owner)


class _Walk:
    """One domain's way through its mini-batches: current pictures, and masks made so far."""

    def __init__(self, scene: PackedSet, place: Tensor, per_pass: int) -> None:
        self.scene, self.place, self.per_pass = scene, place, per_pass
        self.images = scene.images
        self.done = scene.select(scene.owner[:0])  # translated masks so far, detached
        longest = int(place.max()) + 1 if len(place) else 0
        self.passes = -(-longest // per_pass)

    def group(self, number: int) -> PackedSet:
        """Mini-batch ``number`` of the pictures that have one, on their current pictures."""
        first = number * self.per_pass
        now = torch.nonzero((self.place >= first) & (self.place < first + self.per_pass))[:, 0]
        return replace(self.scene, images=self.images).select(now).active()

    def past(self, pictures: Tensor) -> PackedSet:
        """The masks made before, of these pictures, owners renumbered to them."""
        number = torch.full((len(self.images),), -1, device=pictures.device)
        number[pictures] = torch.arange(len(pictures), device=pictures.device)
        owner = number[self.done.owner]
        keep = owner >= 0
        return PackedSet(self.images[pictures], self.done.masks[keep], owner[keep], pictures)

    def advance(self, now: PackedSet, fake: PackedSet, past: PackedSet) -> PackedSet:
        """Take a pass's (detached) output as the next input; returns it with all masks so far."""
        self.images = self.images.index_copy(0, now.pictures, fake.images)
        self.done = replace(
            self.done,
            masks=torch.cat([self.done.masks, fake.masks]),
            owner=torch.cat([self.done.owner, now.pictures[now.owner]]),
        )
        return replace(
            fake,
            masks=torch.cat([past.masks, fake.masks]),
            owner=torch.cat([past.owner, fake.owner]),
        )


def _jointly(generator: torch.nn.Module, sets: Sequence[PackedSet]) -> list[PackedSet]:
    """Send several sets through a generator in one pass; empty ones come back as they are."""
    busy = [scene for scene in sets if len(scene)]
    if not busy:
        return list(sets)
    images = torch.cat([scene.images for scene in busy])
    offsets = [sum(len(scene) for scene in busy[:k]) for k in range(len(busy))]
    owner = torch.cat([scene.owner + first for scene, first in zip(busy, offsets, strict=True)])
    masks = torch.cat([scene.masks for scene in busy])
    out_images, out_masks = generator(images, masks, owner)
    out_images, out_masks = out_images.to(images.dtype), out_masks.to(masks.dtype)  # autocast
    images_of = out_images.split([len(scene) for scene in busy])
    masks_of = out_masks.split([len(scene.masks) for scene in busy])
    done = iter(zip(busy, images_of, masks_of, strict=True))
    results = []
    for scene in sets:
        if len(scene):
            _, out_image, out_mask = next(done)
            scene = replace(scene, images=out_image, masks=out_mask)
        results.append(scene)
    return results


def _judged(D: SetDiscriminator, fake: PackedSet, past: PackedSet) -> Tensor:
    """Scores of pictures with all masks made so far (eq. 9); the past ones are without a graph."""
    if len(fake) == 0:
        return fake.images.new_zeros((0, 1, 1, 1))
    before = None
    if len(past.masks):
        with torch.no_grad():
            before = sum_by_owner(D.feature_seg(past.masks), past.owner, len(fake))
    scores: Tensor = D(fake.images, fake.masks, fake.owner, before)
    return scores


def _joint_scores(D: SetDiscriminator, first: PackedSet, second: PackedSet) -> Tensor:
    images = torch.cat([first.images, second.images])
    if len(images) == 0:
        return images.new_zeros((0, 1, 1, 1))
    owner = torch.cat([first.owner, second.owner + len(first)])
    scores: Tensor = D(images, torch.cat([first.masks, second.masks]), owner)
    return scores


def _poolable(scene: PackedSet) -> list[Tensor]:
    """One ``(3 + n, H, W)`` tensor per picture: the picture and its n masks."""
    return [
        torch.cat([scene.images[k], scene.masks[scene.owner == k][:, 0]]) for k in range(len(scene))
    ]


def _unpool(samples: Sequence[Tensor], like: PackedSet) -> PackedSet:
    if not samples:
        return like
    counts = torch.tensor([len(sample) - 3 for sample in samples], device=like.owner.device)
    return replace(
        like,
        images=torch.stack([sample[:3] for sample in samples]),
        masks=torch.cat([sample[3:] for sample in samples])[:, None],
        owner=torch.repeat_interleave(torch.arange(len(samples), device=counts.device), counts),
    )


def _random_keys(batch: SceneBatch) -> Tensor:
    """A random number per instance that depends on the scene's name alone, not on the batch."""
    keys = torch.zeros(len(batch.owner))
    for index, count in enumerate(batch.counts().tolist()):
        name = batch.ids[index] if batch.ids else str(index)
        generator = torch.Generator().manual_seed(stable_key("order", name))
        keys[batch.owner.cpu() == index] = torch.rand(count, generator=generator)
    return keys


def load_official(state: Mapping[str, Tensor]) -> SetGenerator | SetDiscriminator:
    """A network with the weights of the authors' implementation, of any width and depth.

    Args:
        state: their ``state_dict``: of a generator (``encoder_img.1.weight`` ...) or of a
            discriminator (``feature_img.0.module.weight_bar`` ...).

    Returns:
        A ``SetGenerator`` or ``SetDiscriminator`` in the dtype of the weights, in eval mode.

    Raises:
        DataError: a key is missing, left over or of another shape (names the first one).
    """
    if "encoder_img.1.weight" in state:
        network: SetGenerator | SetDiscriminator = SetGenerator(
            len(state["encoder_img.1.weight"]),
            len({key.split(".")[1] for key in state if ".conv_block." in key and "_img." in key}),
        )
    elif "feature_img.0.module.weight_bar" in state:
        network = SetDiscriminator(len(state["feature_img.0.module.weight_bar"]), spectral=True)
    else:
        first = next(iter(state), "nothing")
        raise DataError(
            f"no network of InstaGAN: neither encoder_img.1.weight nor "
            f"feature_img.0.module.weight_bar is there (the first key is {first})."
        )
    network.to(next(iter(state.values())).dtype)
    own, rest = network.state_dict(), dict(state)
    for name, tensor in own.items():
        key = _official_name(name)
        if key not in rest:
            raise DataError(f"the weights lack '{key}'.")
        if rest[key].shape != tensor.shape:
            raise DataError(
                f"'{key}' is {tuple(rest[key].shape)}, this network needs {tuple(tensor.shape)}."
            )
        own[name] = rest.pop(key)
    if rest:
        raise DataError(f"the weights have '{next(iter(rest))}', which this network has not.")
    network.load_state_dict(own)
    return network.eval()


def _official_name(name: str) -> str:
    """Our parameter's name in the authors' state; their padding layers shift the numbers."""
    part, _, rest = name.partition(".")
    index, _, rest = rest.partition(".")
    place = int(index)
    if part.startswith("encoder"):
        if rest.startswith("body"):
            _, inner, leaf = rest.split(".")
            return f"{part}.{place + 1}.conv_block.{1 if inner == '0' else 5}.{leaf}"
        return f"{part}.{place + 1}.{rest}"
    if part.startswith("decoder"):
        return f"{part}.{place + (1 if place == 6 else 0)}.{rest}"
    leaf = {
        "bias": "bias",
        "parametrizations.weight.original": "weight_bar",
        "parametrizations.weight.0._u": "weight_u",
        "parametrizations.weight.0._v": "weight_v",
    }[rest]
    return f"{part}.{place}.module.{leaf}"
