"""What every registered method must keep to, ours and plug-ins alike."""

import pytest
import torch

from udit_bench.methods import build, load_run, settings_of
from udit_bench.registry import METHODS
from udit_bench.runs import RunConfig, RunDirectory
from udit_bench.scene import DIRECTIONS, SceneBatch, source_domain

TINY = {
    "ngf": 4, "ndf": 4, "blocks": 1, "pool": 2, "vgg": "off", "hidden": 4, "levels": 2,
    "mask_width": 8, "mask_encoder": 4, "mask_blocks": 1, "mask_fine": [8, 8], "mask_ndf": 4,
}  # fmt: skip


def tiny_config(name):
    """The run configuration of a method at its smallest: one short epoch per phase."""
    fields = METHODS.load(name).Config.model_fields
    settings = {"size": [32, 32], "load_scale": 1.0, "batch_size": 2}
    settings |= {key: value for key, value in TINY.items() if key in fields}
    settings |= {key: 1 for key in fields if "epochs" in key}
    return RunConfig(method=name, data="toy", settings=settings)


class Trained:
    """A method after two steps of every phase, and the folder it was saved in."""

    def __init__(self, name, folder, make_trainer):
        self.config = tiny_config(name)
        self.settings = settings_of(self.config)
        self.run = RunDirectory(folder)
        self.run.write_config(self.config)
        self.method = build(self.config, self.settings)
        trainer = make_trainer(self.method, self.settings, folder, split="val")
        trainer.fit()
        self.steps = trainer.position.total
        self.method.eval()

    def translate(self, batch, direction, variant=None):
        with torch.inference_mode():
            return self.method.translate(batch, direction, variant)


@pytest.fixture(scope="module", params=METHODS.names())
def trained(request, tmp_path_factory, make_trainer):
    return Trained(request.param, tmp_path_factory.mktemp("run"), make_trainer)


@pytest.fixture
def batch(toy_source):
    """A function from a direction to a batch with 0, 1, 3 and 1 (or 3, 0, 1, 2) instances."""

    def make(direction, *, only=slice(None)):
        return SceneBatch.from_scenes(toy_source.scenes("val", source_domain(direction))[only])

    return make


directions = pytest.mark.parametrize("direction", DIRECTIONS)


def test_it_trains_every_phase(trained):
    assert trained.steps == 2 * len(trained.method.phases())


def test_it_says_what_it_is(trained):
    assert trained.method.title
    assert trained.method.source
    for preset in trained.method.Config.PRESETS:
        trained.method.Config.build(preset, {})
    for changes in trained.method.ablations.values():
        trained.method.Config.build("paper", changes)


@directions
def test_every_variant_gives_a_mask_per_instance(trained, batch, direction):
    given = batch(direction)
    for variant in (None, *trained.method.variants):
        translation = trained.translate(given, direction, variant)
        assert translation.images.shape == given.images.shape
        assert translation.images.dtype == torch.float32
        assert translation.images.abs().max() <= 1
        assert translation.masks.shape == given.masks.shape
        assert translation.masks.dtype == torch.bool
        assert torch.equal(translation.owner, given.owner)


@directions
def test_no_variant_is_the_first_variant(trained, batch, direction):
    first = next(iter(trained.method.variants))
    one = trained.translate(batch(direction), direction)
    other = trained.translate(batch(direction), direction, first)
    assert torch.equal(one.masks, other.masks)


@directions
def test_a_batch_without_any_instance_is_fine(trained, batch, direction):
    only = slice(0, 1) if direction == "AtoB" else slice(1, 2)
    given = batch(direction, only=only)
    assert len(given.masks) == 0
    assert trained.translate(given, direction).masks.shape == (0, 1, 32, 32)


@directions
def test_a_batch_translates_like_its_scenes_alone(trained, batch, direction):
    whole = trained.translate(batch(direction), direction)
    parts = [trained.translate(batch(direction, only=slice(k, k + 1)), direction) for k in range(4)]
    images = torch.cat([part.images for part in parts])
    torch.testing.assert_close(whole.images, images, atol=1e-5, rtol=0)
    assert torch.equal(whole.masks, torch.cat([part.masks for part in parts]))


def test_the_same_seed_gives_the_same_weights(trained, tmp_path, make_trainer):
    torch.rand(3)
    again = Trained(trained.config.method, tmp_path, make_trainer).method.state_dict()
    assert all(torch.equal(value, again[key]) for key, value in trained.method.state_dict().items())


def test_training_changes_every_network(trained):
    fresh = dict(build(trained.config, trained.settings).named_parameters())
    still = [
        name
        for name, parameter in trained.method.named_parameters()
        if parameter.requires_grad and parameter.ndim > 1 and torch.equal(parameter, fresh[name])
    ]
    assert still == []


@directions
def test_its_checkpoint_translates_the_same(trained, batch, direction):
    loaded, _, _ = load_run(trained.run)
    given = batch(direction)
    with torch.inference_mode():
        after = loaded.translate(given, direction)
    before = trained.translate(given, direction)
    assert torch.equal(before.images, after.images)
    assert torch.equal(before.masks, after.masks)
