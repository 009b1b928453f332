"""InstaGAN: the authors' test vectors, sets, sequential mini-batches against a plain rewrite."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from udit_bench.baselines.instagan import (
    InstaGAN,
    InstaGANConfig,
    context_weight,
    load_official,
    pack,
    ranks,
    translate_set,
)
from udit_bench.errors import DataError
from udit_bench.nn.gan import frozen
from udit_bench.nn.setgan import SetDiscriminator, SetGenerator
from udit_bench.scene import Scene, SceneBatch
from udit_bench.translator import TrainingPair, linear_decay

TINY = {
    "size": 32, "ngf": 4, "ndf": 4, "blocks": 1, "batch_size": 1, "pool": 0,
    "spectral_norm": False,
}  # fmt: skip


def tiny(**changes):
    torch.manual_seed(0)
    return InstaGAN(InstaGANConfig.build("paper", {**TINY, **changes}))


def exact(method):
    """Double precision with weights large enough that every loss has a gradient to speak of."""
    torch.manual_seed(3)
    for parameter in method.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, 0.0, 0.1)
    return method.double()


def scene_with(count, seed, size=32):
    """Noise with ``count`` rectangles of different areas, the smallest first."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, size, size), bool)
    for k, mask in enumerate(masks):
        top, left = rng.integers(0, size - 16, 2)
        mask[top : top + 6 + k, left : left + 6 + k] = True
    return Scene(rng.integers(0, 256, (size, size, 3), np.uint8), masks, "thing", f"s{seed}")


def batch_with(*counts, seed=0):
    batch = SceneBatch.from_scenes([scene_with(n, seed + k) for k, n in enumerate(counts)])
    return SceneBatch(
        batch.images.double(), batch.masks.double(), batch.owner, batch.ids, batch.label
    )


def pair_with(counts_A, counts_B):
    return TrainingPair(batch_with(*counts_A), batch_with(*counts_B, seed=50))


def size_of(network):
    return sum(p.numel() for p in network.parameters())


# ---- networks --------------------------------------------------------------------------------


def test_full_size_has_the_authors_parameter_counts():
    with torch.device("meta"):
        G, D = SetGenerator(64, 9), SetDiscriminator(64, True)
    assert size_of(G) == 26_815_108
    assert size_of(G.encoder_img) == 10_999_936
    assert size_of(G.encoder_seg) == 10_993_664
    assert size_of(G.decoder_img) == 1_493_763
    assert size_of(G.decoder_seg) == 3_327_745
    assert size_of(D) == 9_721_729
    assert size_of(D.feature_img) == 658_880
    assert size_of(D.feature_seg) == 656_832
    assert size_of(D.classifier) == 8_406_017


@pytest.mark.parametrize(
    ("size", "patches"),
    [((200, 200), (23, 23)), ((240, 160), (28, 18)), ((300, 200), (35, 23)), ((32, 32), (2, 2))],
)
def test_the_papers_sizes_give_the_papers_patches(size, patches):
    D = SetDiscriminator(1, False)
    with torch.no_grad():
        scores = D(torch.zeros(1, 3, *size), torch.zeros(2, 1, *size), torch.zeros(2).long())
    assert scores.shape == (1, 1, *patches)


@pytest.fixture(scope="module")
def golden(real_data):
    with np.load(real_data("golden") / "instagan_forward.npz") as archive:
        return dict(archive)


def official_state(golden, part, dtype=torch.float64):
    """The authors' state_dict as it lies in the vectors."""
    return OrderedDict(
        (key.split("/", 2)[2], torch.from_numpy(value).to(dtype))
        for key, value in golden.items()
        if key.startswith(f"{part}/") and key.split("/")[1].isdigit()
    )


def relative(output, expected):
    expected = torch.from_numpy(expected)
    return ((output - expected).norm() / expected.norm()).item()


def channels(array, dtype):
    x = torch.from_numpy(array).to(dtype)
    masks = x[0, 3:, None]
    return x[:, :3], masks, torch.zeros(len(masks), dtype=torch.int64)


precisions = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-4)]
)


@precisions
@pytest.mark.parametrize("case", ["two", "one", "rect"])
def test_generator_equals_the_authors(golden, case, dtype, tolerance):
    G = load_official(official_state(golden, "G", dtype))
    with torch.no_grad():
        image, masks = G(*channels(golden[f"G/in/{case}"], dtype))
    output = torch.cat([image, masks[None, :, 0]], 1)
    assert relative(output, golden[f"G/out/{case}"]) < tolerance


@precisions
@pytest.mark.parametrize("case", ["two", "rect"])
def test_discriminator_equals_the_authors(golden, case, dtype, tolerance):
    D = load_official(official_state(golden, "Dconv", dtype))
    with torch.no_grad():
        scores = D(*channels(golden[f"Dconv/in/{case}"], dtype))
    assert relative(scores, golden[f"Dconv/out/{case}"]) < tolerance


def test_encoders_equal_the_authors(golden):
    G = load_official(official_state(golden, "G"))
    image, masks, _ = channels(golden["G/in/two"], torch.float64)
    with torch.no_grad():
        assert relative(G.encoder_img(image), golden["G/feat/two/enc_img"]) < 1e-6
        for k in range(2):
            h = G.encoder_seg(masks[k : k + 1])
            assert relative(h, golden[f"G/feat/two/enc_seg{k}"]) < 1e-6


def test_context_weight_and_loss_equal_the_authors(golden):
    source, output = (torch.from_numpy(golden[f"misc/ctxw/{k}"])[0, :, None].double() for k in "ab")
    # theirs sums over all channels of both sets, however many each has
    both = torch.cat([source, output])
    empty = torch.full_like(both, -1.0)
    weight = context_weight(both, empty, torch.zeros(len(both), dtype=torch.int64), 1)
    assert np.allclose(weight.numpy(), golden["misc/ctxw/w"], atol=1e-6)


def test_selection_equals_the_authors(golden):
    masks = torch.from_numpy(golden["misc/select/in"])[0, :, None]
    present = masks.flatten(1).max(1).values > -1
    kept = masks[present]
    place = ranks(kept, torch.zeros(len(kept), dtype=torch.int64))
    chosen = torch.stack([kept[(place == k).nonzero().item()] for k in range(4)])
    assert torch.equal(chosen[:, 0], torch.from_numpy(golden["misc/select/out_max4"])[0])


def test_schedule_equals_the_authors(golden):
    factor = linear_decay(200, 0.5, "epoch")
    ours = [factor(epoch) for epoch in range(200)]
    assert np.allclose(ours, golden["misc/lr_multiplier_epoch1_to_200"], atol=1e-12)


def test_a_foreign_checkpoint_is_refused_by_its_first_wrong_key(golden):
    state = official_state(golden, "G")
    with pytest.raises(DataError, match=r"'encoder_seg\.4\.bias'"):
        load_official({k: v for k, v in state.items() if k != "encoder_seg.4.bias"})
    with pytest.raises(DataError, match=r"'decoder_img\.0\.weight' is \(64, 31, 3, 3\)"):
        load_official({**state, "decoder_img.0.weight": state["decoder_img.0.weight"][:, :31]})
    with pytest.raises(DataError, match="'surplus'"):
        load_official({**state, "surplus": torch.zeros(1)})
    with pytest.raises(DataError, match="no network of InstaGAN"):
        load_official({"conv.weight": torch.zeros(1)})


# ---- sets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 2, 0), (2, 1, 0)])
def test_the_order_of_masks_changes_neither_picture_nor_scores(order):
    torch.manual_seed(1)
    G, D = SetGenerator(4, 1).double(), SetDiscriminator(4, False).double()
    image, masks = torch.randn(1, 3, 32, 32).double(), torch.randn(3, 1, 32, 32).double()
    owner, order = torch.zeros(3, dtype=torch.int64), list(order)
    picture, made = G(image, masks, owner)
    picture_2, made_2 = G(image, masks[order], owner)
    torch.testing.assert_close(picture_2, picture)
    torch.testing.assert_close(made_2, made[order])
    torch.testing.assert_close(D(image, masks[order], owner), D(image, masks, owner))


@pytest.mark.parametrize("order", [(1, 0, 3, 2), (3, 1, 0, 2)])
def test_translation_follows_the_masks_wherever_they_stand(order):
    method = exact(tiny())
    batch = batch_with(4)
    moved = SceneBatch(batch.images, batch.masks[list(order)], batch.owner, batch.ids)
    with torch.no_grad():
        straight, other = method.translate(batch, "AtoB"), method.translate(moved, "AtoB")
    torch.testing.assert_close(other.images, straight.images)
    assert torch.equal(other.masks, straight.masks[list(order)])


def test_ranks_are_by_area_within_each_picture():
    batch = batch_with(3, 0, 2)  # areas grow with the number
    assert ranks(batch.masks, batch.owner).tolist() == [2, 1, 0, 1, 0]
    equal = torch.ones(3, 1, 4, 4)
    assert ranks(equal, torch.zeros(3, dtype=torch.int64)).tolist() == [0, 1, 2]
    keys = torch.tensor([0.1, 0.9, 0.5])
    assert ranks(equal, torch.zeros(3, dtype=torch.int64), keys).tolist() == [2, 0, 1]


def test_pictures_of_a_batch_do_not_see_each_other():
    G = SetGenerator(4, 1)
    batch = pack(batch_with(2, 1, 3))
    images, masks = batch.images.float(), batch.masks.float()
    images.requires_grad_(True)
    masks.requires_grad_(True)
    picture, made = G(images, masks, batch.owner)
    (picture[1].square().sum() + made[2].square().sum()).backward()
    assert images.grad[1].abs().sum() > 0
    assert images.grad[[0, 2]].abs().sum() == 0
    assert masks.grad[2].abs().sum() > 0
    assert masks.grad[[0, 1, 3, 4, 5]].abs().sum() == 0


def test_empty_masks_are_left_out():
    method = exact(tiny())
    batch = batch_with(2)
    with_empty = SceneBatch(
        batch.images, torch.cat([batch.masks[:1], batch.masks[:1] * 0, batch.masks[1:]]),
        torch.zeros(3, dtype=torch.int64), batch.ids,
    )  # fmt: skip
    with torch.no_grad():
        plain, filled = method.translate(batch, "AtoB"), method.translate(with_empty, "AtoB")
    torch.testing.assert_close(filled.images, plain.images)
    assert torch.equal(filled.masks[[0, 2]], plain.masks)
    assert not filled.masks[1].any()


@pytest.mark.parametrize("count", [0, 1, 20])
def test_any_number_of_instances_and_odd_sizes_translate(count):
    method = tiny()
    batch = SceneBatch.from_scenes([scene_with(count, 0, size=39)])
    with torch.inference_mode():
        done = method.translate(batch, "BtoA")
    assert done.images.shape == (1, 3, 39, 39)
    assert done.masks.shape == (count, 1, 39, 39)
    if count == 0:
        assert torch.equal(done.images, batch.images)


def test_sequential_inference_hands_each_picture_on():
    """Eq. 8 and 9 with two instances a pass, written as a loop."""
    method = exact(tiny())
    batch = batch_with(5)
    scene = pack(batch)
    order = [4, 3, 2, 1, 0]  # decreasing area
    image, made = scene.images, {}
    with torch.no_grad():
        for group in (order[0:2], order[2:4], order[4:]):
            owner = torch.zeros(len(group), dtype=torch.int64)
            image, masks = method.G_AB(image, scene.masks[group], owner)
            made |= dict(zip(group, masks, strict=True))
        done = translate_set(method.G_AB, scene, ranks(scene.masks, scene.owner), 2)
    torch.testing.assert_close(done.images, image)
    torch.testing.assert_close(done.masks, torch.stack([made[k] for k in range(5)]))


# ---- training --------------------------------------------------------------------------------


def gradients(method, pair):
    """Summed gradients of all updates of one step, with the trainer's weighting; nothing moves."""
    (phase,) = method.phases()
    method.zero_grad(set_to_none=True)
    for update in phase.step(pair):
        parts = [phase.weights[k] * t.total / max(t.count, 1) for k, t in update.terms.items()]
        loss = torch.stack(parts).sum()
        if loss.requires_grad:
            loss.backward()
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in method.named_parameters()
    }


def plain_step(method, pair, per_pass=2, cap=4):
    """The losses of one picture of each domain, straight from the paper: a loop, no packing."""

    def sets(batch):
        masks = batch.masks * 2 - 1
        order = sorted(range(len(masks)), key=lambda k: -masks[k].sum().item())
        return masks, [masks[order[i : i + per_pass]] for i in range(0, min(len(order), cap), 2)]

    def own(n):
        return torch.zeros(n, dtype=torch.int64)

    def distance(x, masks, y, others):
        area = x.shape[-1] * x.shape[-2]
        total = (x - y).abs().sum() + (masks - others).abs().sum()
        return total / ((3 + per_pass) * area)

    loss_G, loss_D = 0.0, 0.0
    for batch, other, G, back, D in (
        (pair.A, pair.B, method.G_AB, method.G_BA, method.D_B),
        (pair.B, pair.A, method.G_BA, method.G_AB, method.D_A),
    ):
        _, groups = sets(batch)
        real, real_groups = sets(other)
        x, past = batch.images, []
        for group in groups:
            n = len(group)
            y, b = G(x, group, own(n))
            judged = torch.cat([*past, b])
            with frozen((D,)):
                loss_G = loss_G + (D(y, judged, own(len(judged))) - 1).square().mean()  # eq. 3
            again, masks = back(y, b, own(n))
            loss_G = loss_G + 10 * distance(again, masks, x, group)  # eq. 4
            same, kept = back(x, group, own(n))
            loss_G = loss_G + 10 * distance(same, kept, x, group)  # eq. 5
            covered = ((group + 1) / 2 + (b + 1) / 2).sum(0, keepdim=True).clamp(0, 1)
            loss_G = loss_G + 10 * ((1 - covered) * (x - y).abs()).mean()  # eq. 6
            fake = D(y.detach(), judged.detach(), own(len(judged)))
            loss_D = loss_D + 0.5 * fake.square().mean()
            true = D(other.images, real, own(len(real)))
            loss_D = loss_D + 0.5 * (true - 1).square().mean()
            x, past = y.detach(), [*past, b.detach()]
        assert real_groups or len(real) == 0
    generators = [*method.G_AB.named_parameters("G_AB"), *method.G_BA.named_parameters("G_BA")]
    generators = dict(generators)
    discriminators = {
        name: p for name, p in method.named_parameters() if name.startswith(("D_A", "D_B"))
    }
    return {
        **dict(zip(generators, torch.autograd.grad(loss_G, generators.values()), strict=True)),
        **dict(
            zip(discriminators, torch.autograd.grad(loss_D, discriminators.values()), strict=True)
        ),
    }


@pytest.mark.parametrize(("of_A", "of_B"), [(4, 4), (3, 1), (1, 6), (2, 2)])
def test_a_step_is_equation_10(of_A, of_B):
    """Gradients of all passes add up, each pass on the detached picture of the one before."""
    method = exact(tiny())
    pair = pair_with([of_A], [of_B])
    ours, expected = gradients(method, pair), plain_step(method, pair)
    assert ours.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-7, atol=1e-10, msg=name)


@pytest.mark.parametrize("counts", [((1, 3, 4), (2, 5, 1)), ((0, 2), (3, 0)), ((0, 0), (1, 2))])
def test_a_batch_is_the_mean_of_its_pictures(counts):
    method = exact(tiny())
    of_A, of_B = counts
    whole = pair_with(of_A, of_B)

    def alone(k):
        def pick(batch):
            mine = batch.owner == k
            return SceneBatch(
                batch.images[k : k + 1], batch.masks[mine], batch.owner[mine] * 0, batch.ids
            )

        return TrainingPair(pick(whole.A), pick(whole.B))

    together = gradients(method, whole)
    apart = [gradients(method, alone(k)) for k in range(len(of_A))]
    for name, gradient in together.items():
        mean = torch.stack([one[name] for one in apart]).mean(0)
        torch.testing.assert_close(gradient, mean, rtol=1e-7, atol=1e-10, msg=name)


def test_only_the_asked_networks_get_gradients():
    method, pair = exact(tiny()), pair_with([2], [2])
    (phase,) = method.phases()
    for update in phase.step(pair):
        method.zero_grad(set_to_none=True)
        torch.stack([t.total for t in update.terms.values()]).sum().backward()
        reached = {n.partition(".")[0] for n, p in method.named_parameters() if p.grad is not None}
        assert reached == ({"G_AB", "G_BA"} if update.optimizer == "G" else {"D_A", "D_B"})


def updates_of(method, pair):
    (phase,) = method.phases()
    return [(u.optimizer, u.step) for u in phase.step(pair)]


def test_gradients_accumulate_over_the_passes_by_default():
    assert updates_of(exact(tiny()), pair_with([4], [1])) == [
        ("G", False), ("G", False), ("G", False), ("G", True), ("D", False), ("D", True),
    ]  # fmt: skip


def test_the_authors_way_steps_in_every_pass():
    method = exact(tiny(compat="official"))
    assert updates_of(method, pair_with([4], [1])) == [("G", False), ("G", True), ("D", True)] * 2


def test_official_sets_what_the_code_does_and_gives_way_to_the_user():
    config = InstaGANConfig.build("paper", {"compat": "official"})
    assert (config.lr, config.lr_d, config.batch_size) == (2e-4, 2e-4, 1)
    assert config.step_per_pass
    assert config.real_set == "top"
    mine = InstaGANConfig.build("paper", {"compat": "official", "lr_d": 3e-4})
    assert (mine.lr_d, mine.step_per_pass) == (3e-4, True)
    ours = InstaGANConfig.build("paper", {})
    assert (ours.lr, ours.lr_d, ours.batch_size, ours.step_per_pass) == (2e-4, 1e-4, 4, False)


class Recorder(nn.Module):
    """Passes everything on and notes how many masks of each picture came."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images, masks, owner):
        self.seen.append(torch.bincount(owner, minlength=len(images)).tolist())
        return images, masks


def masks_seen(method, pair):
    (phase,) = method.phases()
    method.G_AB = Recorder()
    method.G_BA = Recorder()
    list(phase.step(pair))
    return method.G_AB.seen


def test_training_takes_four_instances_two_at_a_time():
    seen = masks_seen(exact(tiny()), pair_with([6], [6]))
    # G_AB: a's pair and b's identity together, then the way back; two passes
    assert seen == [[2, 2], [2]] * 2


def test_one_step_takes_two_at_once_and_translates_all_at_once():
    config = InstaGANConfig.build("paper", {**TINY, **InstaGAN.ablations["one-step"]})
    torch.manual_seed(0)
    method = exact(InstaGAN(config))
    assert masks_seen(method, pair_with([6], [6])) == [[2, 2], [2]]
    with torch.no_grad():
        method.translate(batch_with(7), "AtoB")
    assert method.G_AB.seen[-1] == [7]


def test_translation_takes_two_at_a_time():
    method = exact(tiny())
    method.G_AB = Recorder()
    with torch.no_grad():
        method.translate(batch_with(5, 0, 3), "AtoB")
    assert method.G_AB.seen == [[2, 2], [2, 1], [1]]


def test_no_context_takes_its_weight_away():
    (phase,) = tiny(**InstaGAN.ablations["no-ctx"]).phases()
    assert phase.weights["context"] == 0
    assert tiny().phases()[0].weights == {
        "adv": 1, "cycle": 10, "identity": 10, "context": 10, "D_A": 0.5, "D_B": 0.5,
    }  # fmt: skip


def test_random_order_is_of_the_scene_not_of_the_batch():
    method = exact(tiny(**InstaGAN.ablations["random-order"]))
    two = batch_with(4, 4)
    second = SceneBatch(two.images[1:], two.masks[4:], two.owner[4:] - 1, two.ids[1:])
    with torch.no_grad():
        together, alone = method.translate(two, "AtoB"), method.translate(second, "AtoB")
        by_size = exact(tiny()).translate(two, "AtoB")
    torch.testing.assert_close(together.images[1:], alone.images)
    assert not torch.allclose(together.images, by_size.images)


def test_losses_of_networks_that_change_nothing():
    method, pair = exact(tiny()), pair_with([1], [1])
    (phase,) = method.phases()
    method.G_AB, method.G_BA = Recorder(), Recorder()
    (update, *_) = list(phase.step(pair))
    assert update.terms["cycle"].total == 0
    assert update.terms["identity"].total == 0
    assert update.terms["context"].total == 0


def test_context_weight_is_one_where_both_are_background():
    source = torch.tensor([[[[1.0, -1.0, -1.0, -1.0]]]])
    output = torch.tensor([[[[-1.0, 1.0, -0.5, -1.0]]]])
    weight = context_weight(source, output, torch.zeros(1, dtype=torch.int64), 2)
    assert weight[0].flatten().tolist() == [0, 0, 0.75, 1]
    assert weight[1].flatten().tolist() == [1, 1, 1, 1]  # a picture without instances


def test_real_samples_carry_their_full_set_unless_told_otherwise():
    for real_set, expected in (("full", 6), ("top", 4)):
        method, counts = exact(tiny(real_set=real_set)), []
        method.D_B.feature_seg.register_forward_pre_hook(
            lambda _, given, counts=counts: counts.append(len(given[0]))
        )
        list(method.phases()[0].step(pair_with([2], [6])))
        assert max(counts) == expected  # in the last pass, where A has no fakes left


def test_pools_hold_pictures_with_any_number_of_masks():
    method = tiny(pool=3)
    for k in range(4):
        pair = TrainingPair(*(SceneBatch.from_scenes([scene_with(1 + k, k)]) for _ in range(2)))
        list(method.phases()[0].step(pair))
    assert len(method.pools["A"].kept) == 3
    assert {len(sample) for sample in method.pools["A"].kept} <= {4, 5, 6, 7}


@pytest.mark.parametrize("preset", InstaGANConfig.PRESETS)
def test_presets_resolve(preset):
    config = InstaGANConfig.build(preset, {})
    sizes = {
        "paper": ((200, 200), (220, 220)), "paper-mhp": ((240, 160), (270, 180)),
        "paper-ccp": ((300, 200), (330, 220)), "quick": ((64, 64), (64, 64)),
    }  # fmt: skip
    assert (config.size, config.load_size) == sizes[preset]
