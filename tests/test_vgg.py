"""VGG19 features: cut anywhere, named either way, and what is refused."""

import pytest
import torch
from torchvision.models import vgg19

from udit_bench.errors import DataError
from udit_bench.nn.vgg import MEAN, STD, VGGFeatures, load_vgg


@pytest.fixture(scope="module")
def whole():
    torch.manual_seed(0)
    return vgg19(weights=None).eval()


def test_a_whole_vgg_gives_five_layers_equal_to_torchvisions(whole):
    features = VGGFeatures(whole.state_dict())
    assert features.depth == 5
    image = torch.rand(1, 3, 32, 32)
    x = (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    expected = []
    with torch.no_grad():
        for number, layer in enumerate(whole.features):
            x = layer(x)
            if number in (1, 6, 11, 20, 29):  # relu1_1, 2_1, 3_1, 4_1, 5_1
                expected.append(x.clone())
        found = features(2 * image - 1)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("convolutions", "depth"), [(1, 1), (3, 2), (5, 3), (9, 4), (13, 5)])
def test_a_cut_vgg_gives_what_it_reaches(whole, convolutions, depth):
    names = [n for n, v in whole.features.state_dict().items() if v.ndim == 4][:convolutions]
    state = whole.features.state_dict()
    cut = {n: state[n] for w in names for n in (w, w.replace("weight", "bias"))}
    assert VGGFeatures(cut).depth == depth


def test_nothing_of_it_is_trained(whole):
    assert not any(p.requires_grad for p in VGGFeatures(whole.state_dict()).parameters())


def test_a_preprocessing_convolution_replaces_imagenets_numbers(real_data):
    path = real_data("weights") / "vgg19_normalised_conv3_1.pth"
    features = load_vgg(str(path))
    assert features.depth == 3
    with torch.no_grad():
        assert all(f.isfinite().all() for f in features(torch.rand(1, 3, 64, 64) * 2 - 1))


def test_other_weights_are_refused(whole, tmp_path):
    state = dict(whole.features.state_dict())
    state["5.weight"] = state["5.weight"][:, :3]
    with pytest.raises(DataError, match="layer 4 is"):
        VGGFeatures(state)
    with pytest.raises(DataError, match="no convolution"):
        VGGFeatures({"fc.weight": torch.zeros(3, 3)})
    path = tmp_path / "bad.pth"
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"bad\.pth"):
        load_vgg(str(path))
    with pytest.raises(DataError, match="cannot read"):
        load_vgg(str(tmp_path / "none.pth"))
