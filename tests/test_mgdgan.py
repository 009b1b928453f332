"""MGD-GAN: its phases, whose gradients go where, its ablations, and awkward scenes."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from udit_bench.errors import DataError, UsageError
from udit_bench.mgdgan.backgrounds import Inpainting, WithBackgrounds, with_background
from udit_bench.mgdgan.batches import Both, crop_at_instances, join
from udit_bench.mgdgan.config import MGDGANConfig
from udit_bench.mgdgan.method import MGDGAN
from udit_bench.scene import Scene, SceneBatch
from udit_bench.translator import TrainingPair

TINY = {
    "size": 32, "batch_size": 2, "mask_width": 8, "mask_encoder": 4, "mask_blocks": 1,
    "mask_fine": [8, 8], "mask_ndf": 4, "ngf": 4, "hidden": 4, "levels": 2, "ndf": 4, "vgg": "off",
}  # fmt: skip
NETWORKS = ("G_mask", "D_mask", "G_img", "D_img")


def tiny(**changes):
    torch.manual_seed(0)
    return MGDGAN(MGDGANConfig.build("paper", {**TINY, **changes}))


def ablated(name):
    return tiny(**MGDGAN.ablations[name])


def pair_of(method, source, count=3):
    A, B = (source.scenes("train", domain)[:count] for domain in "AB")
    return TrainingPair(
        SceneBatch.from_scenes(method.prepare(A, "trainA", others=B)),
        SceneBatch.from_scenes(method.prepare(B, "trainB", others=A)),
    )


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UDIT_BENCH_CACHE", str(tmp_path / "cache"))


def phase_of(method, name):
    return next(phase for phase in method.phases() if phase.name == name)


# ---- settings --------------------------------------------------------------------------------


def test_the_paper_preset_is_section_3_1():
    config = MGDGANConfig.build("paper", {})
    assert (config.epochs_mask, config.epochs_image, config.epochs_finetune) == (100, 200, 50)
    assert (config.lr, config.beta1, config.beta2) == (2e-3, 0.5, 0.999)
    assert (config.lambda_penalty, config.lambda_const, config.lambda_reg) == (0.1, 1, 1)
    assert {config.lambda_pc, config.lambda_com, config.lambda_fmap} == {10}
    assert {config.lambda_vgg, config.lambda_feat} == {10}
    assert 2 * config.batch_size == 2  # N = 2, one of each domain


def test_one_number_of_epochs_is_for_all_phases():
    config = MGDGANConfig.build("paper", {"epochs": 3})
    assert (config.epochs_mask, config.epochs_image, config.epochs_finetune) == (3, 3, 3)
    without = MGDGANConfig.build("paper", {"epochs": 3, "epochs_finetune": 0})
    assert without.epochs_finetune == 0
    again = MGDGANConfig.build("paper", without.model_dump(mode="json"))
    assert again == without


# ---- phases and gradients --------------------------------------------------------------------


def test_the_phases_are_those_of_the_paper():
    assert [phase.name for phase in tiny().phases()] == ["masks", "images", "finetune"]


def reached(method):
    return {
        name
        for name in NETWORKS
        if any(p.grad is not None and p.grad.any() for p in getattr(method, name).parameters())
    }


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        ("masks", [("G_mask", {"G_mask"}), ("D_mask", {"D_mask"})]),
        ("images", [("G_img", {"G_img"}), ("D_img", {"D_img"})]),
        ("finetune", [("G_mask", {"G_mask"}), ("D_mask", {"D_mask"})]),
    ],
)
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_each_update_reaches_its_own_network_only(toy_source, phase, expected, ema):
    method = tiny(ema=ema)
    found = []
    for update in phase_of(method, phase).step(pair_of(method, toy_source)):
        method.zero_grad(set_to_none=True)
        torch.stack([t.total for t in update.terms.values()]).sum().backward()
        found.append((update.optimizer, reached(method)))
    assert found == expected


def test_a_window_shows_a_part_of_an_instance_and_all_planes_of_it_alike():
    pictures = torch.arange(2 * 12 * 20.0).reshape(2, 1, 12, 20).repeat(1, 3, 1, 1)
    masks = torch.zeros(3, 1, 12, 20)
    masks[0, 0, 0, 0] = masks[1, 0, 5:7, 10:12] = masks[2, 0, 11, 19] = 1
    owner = torch.tensor([0, 1, 1])
    whole = Both(pictures, -pictures, pictures[:, :1] % 2, torch.tensor([0, 1]), masks, owner)
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        part = crop_at_instances(whole, 8)
        assert part.images.shape == (2, 3, 8, 8)
        assert part.masks.shape == (3, 1, 8, 8)
        assert torch.equal(part.backgrounds, -part.images)
        assert torch.equal(part.holes, part.images[:, :1] % 2)
        first = part.images[:, 0, 0, 0].long() - torch.tensor([0, 12 * 20])
        assert first[0] == 0  # the only instance is in the corner
        assert part.masks[0, 0, 0, 0] == part.masks[0].sum() == 1
        seen.add(int(first[1]))
        top, left = divmod(int(first[1]), 20)
        assert torch.equal(part.images[1], pictures[1, :, top : top + 8, left : left + 8])
        assert torch.equal(part.masks[1:], masks[1:, :, top : top + 8, left : left + 8])
        assert part.masks[1:].any()
    assert len(seen) > 1  # sometimes at one instance, sometimes at the other


def test_a_window_stays_whole_where_the_picture_is_small_and_needs_no_instance():
    pictures = torch.rand(2, 3, 12, 20)
    nothing = torch.zeros(0, dtype=torch.int64)
    whole = Both(
        pictures,
        pictures,
        pictures[:, :1],
        torch.tensor([0, 1]),
        torch.zeros(0, 1, 12, 20),
        nothing,
    )
    part = crop_at_instances(whole, 16)
    assert part.images.shape == (2, 3, 12, 16)
    assert part.masks.shape == (0, 1, 12, 16)
    assert torch.equal(crop_at_instances(whole, 99).images, pictures)


def test_windows_are_for_image_generation_only(toy_source):
    method = tiny(image_crop=16)
    pair = pair_of(method, toy_source)
    sizes = {}
    for name in NETWORKS:
        getattr(method, name).register_forward_pre_hook(
            lambda _, given, name=name: sizes.setdefault(name, set()).add(given[0].shape[-1])
        )
    list(phase_of(method, "images").step(pair))
    assert sizes == {"G_img": {16}, "D_img": {16}}
    sizes.clear()
    for phase in ("masks", "finetune"):
        list(phase_of(method, phase).step(pair))
    assert sizes == {name: {32} for name in NETWORKS}


def test_the_reversal_loss_alone_reaches_the_mask_generator(toy_source):
    method = tiny()
    update = next(phase_of(method, "finetune").step(pair_of(method, toy_source)))
    update.terms["reversal"].total.backward()
    assert reached(method) == {"G_mask"}


def test_fine_tuning_leaves_the_image_networks_as_they_are(toy_source):
    method = tiny().train()
    before = {k: v.clone() for k, v in method.state_dict().items() if "_img" in k}
    phase = phase_of(method, "finetune")
    for update in phase.step(pair_of(method, toy_source)):
        torch.stack([t.total for t in update.terms.values()]).sum().backward()
        phase.optimizers[update.optimizer].step()
    after = method.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def terms_of(method, source):
    """Names of the loss terms of every phase."""
    found = {}
    for phase in method.phases():
        found[phase.name] = set()
        for update in phase.step(pair_of(method, source)):
            found[phase.name] |= set(update.terms)
            assert set(update.terms) <= set(phase.weights)
    return found


FULL = {
    "masks": {"mask_adv", "pc", "const", "com", "penalty", "D_mask_fake", "D_mask_real"},
    "images": {"img_adv", "fmap", "feat", "D_img_fake", "D_img_real"},
}
FULL["finetune"] = FULL["masks"] | {"reversal"}


def test_the_full_method_has_all_terms(toy_source):
    assert terms_of(tiny(), toy_source) == FULL


@pytest.mark.parametrize(
    ("name", "gone"), [("no-reg", {"com", "penalty"}), ("no-const", {"const"})]
)
def test_an_ablation_takes_away_its_terms_and_nothing_else(toy_source, name, gone):
    found = terms_of(ablated(name), toy_source)
    assert found == {phase: terms - gone for phase, terms in FULL.items()}


def test_no_finetune_takes_away_its_phase_and_nothing_else(toy_source):
    found = terms_of(ablated("no-finetune"), toy_source)
    assert found == {phase: FULL[phase] for phase in ("masks", "images")}


def test_e2e_trains_both_generators_together_without_designed_supervision(toy_source):
    method = ablated("e2e")
    assert terms_of(method, toy_source) == {
        "e2e": FULL["masks"] | {"img_adv", "fmap", "D_img_fake", "D_img_real"}
    }
    update = next(method.phases()[0].step(pair_of(method, toy_source)))
    update.terms["img_adv"].total.backward()
    assert reached(method) == {"G_mask", "G_img"}


@pytest.mark.parametrize("name", [None, *MGDGAN.ablations])
def test_an_ablation_changes_only_its_own_settings(name):
    changes = MGDGAN.ablations[name] if name else {}
    full = MGDGANConfig.build("quick", {}).model_dump()
    other = MGDGANConfig.build("quick", changes).model_dump()
    assert {key for key in full if full[key] != other[key]} == set(changes)


def test_the_warm_up_leaves_out_the_adversarial_term_alone(toy_source):
    method = tiny(warmup=2)
    phase, seen = phase_of(method, "masks"), []
    for _ in range(3):
        seen.append(set().union(*(u.terms for u in phase.step(pair_of(method, toy_source)))))
    assert seen == [FULL["masks"] - {"mask_adv"}] * 2 + [FULL["masks"]]


def test_the_vgg_loss_runs_with_a_cut_vgg(toy_source, tmp_path):
    path = tmp_path / "vgg.pth"
    torch.save({"0.weight": torch.randn(64, 3, 3, 3) / 5, "0.bias": torch.zeros(64)}, path)
    method = tiny(vgg=str(path))
    found = terms_of(method, toy_source)
    assert found["images"] == FULL["images"] | {"vgg"}
    assert not any("vgg" in key for key in method.state_dict())
    note = method.notes()[0]
    assert "sha256:" in note
    assert "1 of 5 layers" in note
    assert tiny().notes()[0] == "VGG loss: off"


# ---- one model, all instances at once --------------------------------------------------------


def test_both_directions_come_from_one_pass(toy_source):
    method, seen = tiny(), []
    method.G_mask.encoder.register_forward_hook(lambda m, x, y: seen.append(len(x[0])))
    next(phase_of(method, "masks").step(pair_of(method, toy_source)))
    assert seen == [6]  # three pictures of each domain, encoded once for both labels


def test_the_image_networks_run_once_whatever_the_instances():
    method = tiny().eval()
    for count in (1, 7):
        seen = []
        handle = method.G_img.register_forward_hook(lambda m, x, y, s=seen: s.append(len(x[0])))
        with torch.no_grad():
            method.translate(SceneBatch.from_scenes([scene_with(count)]), "AtoB")
        handle.remove()
        assert seen == [1]


def test_pictures_are_joined_with_their_labels(toy_source):
    both = join(pair_of(tiny(), toy_source))
    assert both.label.tolist() == [0, 0, 0, 1, 1, 1]
    assert both.instance_label.tolist() == [0] * 4 + [1] * 4
    assert both.owner.tolist() == [1, 2, 2, 2, 3, 4, 4, 4]


# ---- awkward scenes --------------------------------------------------------------------------


def scene_with(count, size=(32, 32), label="sheep", whole=False):
    rng = np.random.default_rng(count)
    masks = np.zeros((count, *size), bool)
    for mask in masks:
        top, left = rng.integers(-4, size[0] - 6), rng.integers(-4, size[1] - 6)
        mask[max(top, 0) : top + 8, max(left, 0) : left + 8] = True
    if whole:
        masks[:] = True
    return Scene(rng.integers(0, 256, (*size, 3), np.uint8), masks, label, f"s{count}")


@pytest.mark.parametrize(
    "scene",
    [
        scene_with(0), scene_with(1, whole=True), scene_with(30), scene_with(3, (48, 32)),
        scene_with(2, (33, 47)),
    ],
    ids=["none", "whole", "thirty", "tall", "odd"],
)  # fmt: skip
@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_awkward_scenes_translate(scene, direction):
    batch = SceneBatch.from_scenes([scene])
    with torch.inference_mode():
        done = tiny().eval().translate(batch, direction)
    assert done.images.shape == batch.images.shape
    assert done.masks.shape == batch.masks.shape
    assert done.images.isfinite().all()


@pytest.mark.parametrize(
    ("A", "B"),
    [
        (scene_with(0), scene_with(0)), (scene_with(0), scene_with(2)),
        (scene_with(1, whole=True), scene_with(30)),
    ],
    ids=["none", "one side", "whole and thirty"],
)  # fmt: skip
@pytest.mark.parametrize("phase", ["masks", "images", "finetune"])
def test_awkward_scenes_train(A, B, phase):
    method = tiny()
    pair = TrainingPair(*(SceneBatch.from_scenes(method.prepare([s])) for s in (A, B)))
    for update in phase_of(method, phase).step(pair):
        for term in update.terms.values():
            assert torch.as_tensor(term.total).isfinite()


def test_what_is_outside_of_hole_and_masks_hardly_changes():
    """The fusion map decides; a network that has learned nothing blends, but cannot shift."""
    method = tiny().eval()
    with torch.no_grad():
        method.G_img.paint.weight.zero_()
        method.G_img.paint.bias.copy_(torch.tensor([0.0, 0.0, 0.0, -20.0]))
    scene = scene_with(2)
    with torch.inference_mode():
        done = method.translate(SceneBatch.from_scenes([scene]), "AtoB")
    outside = ~method.config.inpainting.hole(scene.masks)
    before = SceneBatch.from_scenes([scene]).images[0][:, outside]
    torch.testing.assert_close(done.images[0][:, outside], before, atol=1e-5, rtol=0)


def test_a_picture_without_instances_stays_as_it_is():
    batch = SceneBatch.from_scenes([scene_with(0), scene_with(2)])
    with torch.inference_mode():
        done = tiny().eval().translate(batch, "AtoB")
    assert torch.equal(done.images[0], batch.images[0])


# ---- backgrounds -----------------------------------------------------------------------------


def test_the_hole_covers_the_instances_and_a_margin():
    scene = scene_with(1, (100, 100))
    hole = Inpainting(dilate=0.03).hole(scene.masks)
    assert (hole & scene.masks[0]).sum() == scene.masks[0].sum()
    rows = np.flatnonzero(hole.any(1)), np.flatnonzero(scene.masks[0].any(1))
    assert rows[0][-1] == min(rows[1][-1] + 3, 99)


@pytest.mark.parametrize("method", ["telea", "ns"])
def test_inpainting_takes_the_instances_away_and_leaves_the_rest(method):
    image = np.full((40, 40, 3), (30, 160, 40), np.uint8)
    mask = np.zeros((1, 40, 40), bool)
    mask[0, 10:20, 10:20] = True
    image[mask[0]] = 255
    done = with_background(Scene(image, mask, "sheep", "s"), Inpainting(method))
    assert np.abs(done.background.astype(int) - (30, 160, 40)).max() <= 8
    assert np.array_equal(done.background[~done.hole], image[~done.hole])


def test_backgrounds_are_cached_by_content(tmp_path, monkeypatch):
    scene, how = scene_with(2), Inpainting()
    first = with_background(scene, how)
    (file,) = (tmp_path / "cache").rglob("*.png")
    monkeypatch.setattr(Inpainting, "fill", lambda *a: pytest.fail("made again"))
    assert np.array_equal(with_background(scene, how).background, first.background)
    monkeypatch.undo()
    file.write_bytes(b"damaged")
    monkeypatch.setenv("UDIT_BENCH_CACHE", str(tmp_path / "cache"))
    assert np.array_equal(with_background(scene, how).background, first.background)


def test_holes_of_the_other_domain_add_to_the_own():
    own, other = [scene_with(1)], [scene_with(5, (64, 64))]
    (alone,) = WithBackgrounds(own, Inpainting())
    (both,) = WithBackgrounds(own, Inpainting(), others=other)
    assert both.hole.sum() > alone.hole.sum()
    assert both.hole[alone.hole].all()
    assert both.count == 1


def test_a_folder_of_backgrounds_takes_their_place(tmp_path):
    scene = scene_with(2)
    folder = tmp_path / "lama" / "trainA"
    folder.mkdir(parents=True)
    Image.new("RGB", (64, 64), (9, 8, 7)).save(folder / "s2.png")
    how = Inpainting(folder=tmp_path / "lama")
    (done,) = WithBackgrounds([scene], how, "trainA")
    assert done.background.shape == scene.image.shape
    assert (done.background == (9, 8, 7)).all()
    with pytest.raises(DataError, match="s1"):
        WithBackgrounds([scene_with(1)], how, "trainA")[0]
    with pytest.raises(DataError, match="testA"):
        WithBackgrounds([scene], how, "testA")
    unprepared = SceneBatch.from_scenes([scene])
    with pytest.raises(DataError, match="prepare"):
        tiny(backgrounds=str(tmp_path / "lama")).translate(unprepared, "AtoB")


def test_training_without_backgrounds_says_what_to_do():
    batch = SceneBatch.from_scenes([scene_with(1)])
    with pytest.raises(DataError, match="prepare"):
        join(TrainingPair(batch, batch))


def test_prepared_and_unprepared_scenes_translate_alike():
    method, scene = tiny().eval(), scene_with(3)
    with torch.inference_mode():
        one = method.translate(SceneBatch.from_scenes([scene]), "AtoB")
        other = method.translate(SceneBatch.from_scenes(method.prepare([scene])), "AtoB")
    assert torch.equal(one.images, other.images)


def test_background_and_hole_move_with_the_picture():
    from udit_bench.datasets.transforms import augment

    image = np.zeros((40, 40, 3), np.uint8)
    image[:, :20] = 200
    mask = np.zeros((1, 40, 40), bool)
    mask[0, 5:15, 5:15] = True
    scene = dataclasses.replace(
        Scene(image, mask, "sheep", "s"), background=image.copy(), hole=mask[0].copy()
    )
    for key in range(8):
        moved = augment(scene, load_size=(48, 48), size=(32, 32), flip=True, key=key)
        assert np.array_equal(moved.image, moved.background)
        assert np.array_equal(moved.masks.any(0), moved.hole)
        plain = augment(scene, load_size=(40, 40), size=(40, 40), flip=True, key=key)
        assert np.array_equal(plain.image, plain.background)


def test_an_instance_without_a_pixel_is_not_painted():
    scene = scene_with(2)
    masks = np.concatenate([scene.masks[:1], np.zeros((1, 32, 32), bool), scene.masks[1:]])
    method = tiny().eval()
    with torch.inference_mode():
        plain = method.translate(SceneBatch.from_scenes([scene]), "AtoB")
        filled = method.translate(
            SceneBatch.from_scenes([dataclasses.replace(scene, masks=masks, indices=(0, 1, 2))]),
            "AtoB",
        )
    assert not filled.masks[1].any()
    assert torch.equal(filled.masks[[0, 2]], plain.masks)
    torch.testing.assert_close(filled.images, plain.images, atol=1e-5, rtol=0)


def test_off_is_off_although_yaml_reads_it_as_false():
    from udit_bench.cli.options import parse_settings

    settings = parse_settings(("vgg=off",))
    assert MGDGANConfig.build("paper", settings).vgg == "off"


def test_epochs_and_a_phase_that_disagree_are_refused():
    with pytest.raises(UsageError, match="disagree"):
        MGDGANConfig.build("paper", {"epochs": 3, "epochs_mask": 10})


@pytest.mark.parametrize(
    ("key", "value"), [("mask_fine", [0, 16]), ("mask_layers", 5), ("mask_scales", 1)]
)
def test_settings_that_cannot_work_are_refused(key, value):
    with pytest.raises(UsageError, match=key):
        MGDGANConfig.build("quick", {key: value})


def test_widths_that_no_eight_groups_divide_work(toy_source):
    method = tiny(mask_width=50, mask_fine=[20, 14])
    list(phase_of(method, "masks").step(pair_of(method, toy_source)))
