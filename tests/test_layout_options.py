"""``channels_last`` and ``compile``: other ways to run the same networks."""

import shutil

import pytest
import torch

from udit_bench.methods import build, settings_of
from udit_bench.registry import METHODS
from udit_bench.runs import RunConfig
from udit_bench.scene import SceneBatch

SMALL = {
    "size": [32, 32], "load_scale": 1.0, "batch_size": 1, "ngf": 4, "ndf": 4, "blocks": 1,
    "pool": 2, "vgg": "off", "hidden": 4, "levels": 2, "mask_width": 8, "mask_encoder": 4,
    "mask_blocks": 1, "mask_fine": [8, 8], "mask_ndf": 4, "ema": 0.9,
}  # fmt: skip


def built(name, **changes):
    fields = METHODS.load(name).Config.model_fields
    given = {key: value for key, value in {**SMALL, **changes}.items() if key in fields}
    config = RunConfig(method=name, data="toy", settings=given)
    return build(config, settings_of(config))


@pytest.fixture
def batch(toy_source):
    return SceneBatch.from_scenes(toy_source.scenes("val", "A")[:4])


def translated(method, batch):
    with torch.no_grad():
        return method.eval().translate(batch, "AtoB").images


@pytest.mark.parametrize("name", METHODS.names())
def test_channels_last_translates_the_same(name, batch):
    plain, other = built(name), built(name, channels_last=True)
    convolutions = [m for m in other.modules() if isinstance(m, torch.nn.Conv2d)]
    assert any(
        c.weight.is_contiguous(memory_format=torch.channels_last) and not c.weight.is_contiguous()
        for c in convolutions
    )
    torch.testing.assert_close(
        translated(other, batch), translated(plain, batch), atol=1e-4, rtol=1e-4
    )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("name", METHODS.names())
def test_compiled_networks_translate_the_same_and_keep_their_names(name, batch):
    plain, other = built(name), built(name, compile=True)
    assert list(plain.state_dict()) == list(other.state_dict())
    torch.testing.assert_close(
        translated(other, batch), translated(plain, batch), atol=1e-4, rtol=1e-4
    )
