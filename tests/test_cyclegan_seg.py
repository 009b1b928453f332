"""CycleGAN+seg: sizes of the papers, whose gradients go where, and losses by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from udit_bench.baselines.cyclegan_seg import CycleGANSeg, CycleGANSegConfig
from udit_bench.errors import UsageError
from udit_bench.nn.patchgan import PatchDiscriminator
from udit_bench.nn.resnet import ResnetGenerator
from udit_bench.scene import Scene, SceneBatch
from udit_bench.translator import TrainingPair

TINY = {"size": 32, "ngf": 4, "ndf": 4, "blocks": 1, "batch_size": 2, "pool": 0}


def tiny(**changes):
    torch.manual_seed(0)
    return CycleGANSeg(CycleGANSegConfig.build("paper", {**TINY, **changes}))


def pair_of(source, count=2):
    return TrainingPair(
        *(SceneBatch.from_scenes(source.scenes("train", domain)[:count]) for domain in "AB")
    )


def size_of(network, *arguments):
    with torch.device("meta"):
        return sum(p.numel() for p in network(*arguments).parameters())


def loss_of(update):
    return sum(term.total for term in update.terms.values())


def reached(*networks):
    """Whether all (True), none (False) or some (None) of the parameters have a gradient."""
    parameters = [p for network in networks for p in network.parameters()]
    got = {p.grad is not None and bool(p.grad.isfinite().all()) for p in parameters}
    return got.pop() if len(got) == 1 else None


def test_width_64_has_the_published_sizes_of_cyclegan():
    assert size_of(ResnetGenerator, 3, 64, 9) == 11_378_179
    assert size_of(PatchDiscriminator, 3, 64, False) == 2_764_737


def test_the_paper_preset_has_twice_the_parameters():
    config = CycleGANSegConfig.build("paper", {})
    generator = size_of(ResnetGenerator, 4, config.ngf, config.blocks, config.upsample)
    assert generator == 22_495_864  # added up layer by layer
    assert 22.4e6 < generator < 22.6e6
    assert size_of(PatchDiscriminator, 4, config.ndf, False) == 5_461_831


def test_the_paper_preset_compares_as_instagan_does():
    config = CycleGANSegConfig.build("paper", {})
    assert (config.size, config.load_size) == ((200, 200), (220, 220))
    assert (config.batch_size, config.epochs) == (4, 200)
    assert (config.lr, config.lr_d, config.beta1, config.beta2) == (2e-4, 1e-4, 0.5, 0.999)
    assert (config.lambda_cyc, config.lambda_idt, config.spectral_norm) == (10, 10, True)


@pytest.mark.parametrize("preset", CycleGANSegConfig.PRESETS)
def test_presets_resolve(preset):
    assert CycleGANSegConfig.build(preset, {"epochs": 3}).epochs == 3


@pytest.mark.parametrize(("key", "value"), [("ngff", 4), ("ngf", 1), ("upsample", "x")])
def test_a_wrong_setting_is_named(key, value):
    with pytest.raises(UsageError, match=f"--set {key}"):
        CycleGANSegConfig.build("quick", {key: value})


def test_every_convolution_of_d_has_spectral_norm():
    method = tiny()
    for _ in range(60):
        method.D_A(torch.rand(1, 4, 32, 32))
    convolutions = [m for m in method.D_A.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 5
    for conv in convolutions:
        largest = torch.linalg.matrix_norm(conv.weight.flatten(1), 2).item()
        assert largest == pytest.approx(1, abs=0.05)


def test_spectral_norm_can_be_turned_off():
    names = [name for name, _ in tiny(spectral_norm=False).D_A.named_parameters()]
    assert not any("parametrizations" in name for name in names)


def test_each_update_reaches_its_own_networks_only(toy_source):
    method = tiny()
    generators, discriminators = (method.G_AB, method.G_BA), (method.D_A, method.D_B)
    updates = method.phases()[0].step(pair_of(toy_source))
    first = next(updates)
    loss_of(first).backward()
    assert first.optimizer == "G"
    assert reached(*generators) is True
    assert reached(*discriminators) is False
    method.zero_grad(set_to_none=True)
    second = next(updates)
    loss_of(second).backward()
    assert second.optimizer == "D"
    assert reached(*generators) is False
    assert reached(*discriminators) is True
    assert next(updates, None) is None


def test_the_optimizers_share_out_all_trained_parameters():
    method = tiny(ema=0.9)
    (phase,) = method.phases()
    held = [p for o in phase.optimizers.values() for g in o.param_groups for p in g["params"]]
    trained = [p for p in method.parameters() if p.requires_grad]
    assert len(held) == len(set(held)) == len(trained)
    assert set(held) == set(trained)
    assert sum(p.numel() for p in held) == method.trainable_parameters()


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


class Verdict(nn.Module):
    """Scores every sample with one number."""

    def __init__(self, score):
        super().__init__()
        self.score = score

    def forward(self, x):
        return torch.full((len(x), 1, 2, 2), self.score)


def terms_with(pair, **networks):
    method = tiny()
    (phase,) = method.phases()
    for name, network in networks.items():
        setattr(method, name, network)
    terms = {}
    for update in phase.step(pair):
        terms |= {name: t.total.item() / t.count for name, t in update.terms.items()}
    return terms, phase.weights


def test_losses_of_identity_generators(toy_source):
    terms, _ = terms_with(
        pair_of(toy_source),
        G_AB=Scaled(1.0), G_BA=Scaled(1.0), D_A=Verdict(0.0), D_B=Verdict(0.5),
    )  # fmt: skip
    assert terms == {
        "adv": 0.25 + 1.0,  # (0.5 - 1)^2 of D_B and (0 - 1)^2 of D_A
        "cycle": 0.0,
        "identity": 0.0,
        "D_A": 1.0,  # (0 - 1)^2 for real, 0^2 for fake
        "D_B": 0.5,  # 0.25 for each
    }


def test_losses_of_a_generator_that_negates():
    # everywhere |x| = 1: a white picture, an empty union at -1
    white = Scene(np.full((32, 32, 3), 255, np.uint8), np.zeros((0, 32, 32), bool), "sheep", "w")
    batch = SceneBatch.from_scenes([white])
    terms, _ = terms_with(
        TrainingPair(batch, batch),
        G_AB=Scaled(-1.0), G_BA=Scaled(1.0), D_A=Verdict(1.0), D_B=Verdict(1.0),
    )  # fmt: skip
    assert terms["cycle"] == 2.0 + 2.0
    assert terms["identity"] == 0.0 + 2.0  # G_BA keeps a, G_AB turns b
    assert terms["adv"] == 0.0
    assert terms["D_A"] == 1.0


def test_the_weights_are_those_of_the_papers(toy_source):
    (phase,) = tiny().phases()
    expected = {"adv": 1.0, "cycle": 10.0, "identity": 10.0, "D_A": 0.5, "D_B": 0.5}
    assert phase.weights == expected


def test_the_average_follows_after_both_updates(toy_source):
    method = tiny(ema=0.5)
    before = [p.clone() for p in method.ema_AB.module.parameters()]
    list(method.phases()[0].step(pair_of(toy_source)))
    assert method.ema_AB.n_averaged == 1
    after = list(method.ema_AB.module.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_translation_uses_the_average_where_there_is_one(toy_source):
    method = tiny(ema=0.5).eval()
    batch = pair_of(toy_source).A
    method.ema_AB.module = Scaled(0.0)
    with torch.inference_mode():
        assert method.translate(batch, "AtoB").images.abs().max() == 0
        assert method.translate(batch, "BtoA").images.abs().max() > 0


def test_identity_generators_give_every_source_its_own_mask_back(toy_source):
    method = tiny().eval()
    method.G_AB = Scaled(1.0)
    batch = SceneBatch.from_scenes(toy_source.scenes("train", "A")[:4])
    for variant in method.variants:
        translation = method.translate(batch, "AtoB", variant)
        assert torch.equal(translation.masks, batch.masks > 0.5)
        assert torch.equal(translation.images, batch.images)
