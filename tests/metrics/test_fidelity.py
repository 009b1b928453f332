"""KID and FID against formulas of our own, on features that need no download."""

import pickle
import sys
import urllib.error

import numpy as np
import pytest
import torch
import torch_fidelity
from scipy.linalg import sqrtm
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from udit_bench.errors import DataError, MissingPartError
from udit_bench.metrics.fidelity import fid, fid_warning, kid, measure, subset_size

NAME = "udit-test-colours"


class Colours(torch_fidelity.FeatureExtractorBase):
    """Mean and deviation of each channel, and the mean of its upper half: nine numbers."""

    def __init__(self, name, features_list, **kwargs):
        super().__init__(name, features_list)

    @staticmethod
    def get_provided_features_list():
        return ("nine",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "nine"

    def forward(self, images):
        x = images.double() / 255
        top = x[:, :, : x.shape[2] // 2].mean((2, 3))
        return (torch.cat([x.mean((2, 3)), x.std((2, 3)), top], 1),)


@pytest.fixture(scope="module", autouse=True)
def _registered():
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    torch_fidelity.register_feature_extractor(NAME, Colours)
    yield
    del FEATURE_EXTRACTORS_REGISTRY[NAME]


def pictures(count, seed=0, light=0, size=(12, 10)):
    rng = np.random.default_rng(seed)
    base = rng.integers(20, 180, (count, 1, 1, 3))
    noise = rng.integers(0, 40, (count, *size, 3))
    return list(np.clip(base + noise + light, 0, 255).astype(np.uint8))


def features(images):
    rows = []
    for image in images:
        x = image.astype(np.float64) / 255
        flat = x.reshape(-1, 3)
        rows.append([*flat.mean(0), *flat.std(0, ddof=1), *x[: len(x) // 2].mean((0, 1))])
    return np.array(rows)


def mmd(x, y):
    """Unbiased squared MMD of the cubic kernel, by the definition's double sums."""

    def kernel(a, b):
        return (a @ b / x.shape[1] + 1) ** 3

    def within(z):
        pairs = [(i, j) for i in range(len(z)) for j in range(len(z)) if i != j]
        return np.mean([kernel(z[i], z[j]) for i, j in pairs])

    return within(x) + within(y) - 2 * np.mean([kernel(a, b) for a in x for b in y])


def frechet(x, y):
    cx, cy = np.cov(x.T), np.cov(y.T)
    cross = np.trace(np.real(sqrtm(cx @ cy)))
    return np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(cx) + np.trace(cy) - 2 * cross


# --- empty cases ------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [kid, fid])
@pytest.mark.parametrize(
    ("generated", "real", "word"), [(0, 5, "generated"), (1, 5, "generated"), (5, 1, "real")]
)
def test_fewer_than_two_pictures(metric, generated, real, word):
    with pytest.raises(DataError, match=f"2 or more pictures of each kind: {word} ones"):
        metric(pictures(generated), pictures(real), extractor=NAME)


def test_two_pictures_are_enough():
    value, spread = kid(pictures(2), pictures(2, seed=1), extractor=NAME)
    assert value == pytest.approx(mmd(features(pictures(2)), features(pictures(2, seed=1))))
    assert spread == pytest.approx(0, abs=1e-12)  # there is only one subset
    assert np.isfinite(fid(pictures(2), pictures(2, seed=1), extractor=NAME))


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4, 3)), np.zeros((3, 4, 4), np.uint8), np.zeros((4, 4), np.uint8)]
)
def test_arrays_of_another_kind(bad):
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\) uint8"):
        kid([bad, bad], pictures(2), extractor=NAME)


# --- the reference ------------------------------------------------------------------------------


def test_kid_is_the_mean_over_subsets_of_the_unbiased_mmd():
    """Relative error < 1e-9 (double sums in the reference); the subsets are drawn alike."""
    one, other = pictures(9), pictures(12, seed=1, light=30)
    x, y = features(one), features(other)
    rng = np.random.RandomState(3)  # as torch-fidelity draws
    draws = [
        mmd(x[rng.choice(9, 4, replace=False)], y[rng.choice(12, 4, replace=False)])
        for _ in range(20)
    ]
    value, spread = kid(one, other, extractor=NAME, seed=3, subsets=20)
    assert value == pytest.approx(np.mean(draws), rel=1e-9)
    assert spread == pytest.approx(np.std(draws), rel=1e-9)


def test_kid_of_many_subsets_is_that_of_all_pictures():
    """And its spread says how far off it may be: within 4 standard errors of the subsets' mean."""
    one, other = pictures(30), pictures(30, seed=1, light=25)
    value, spread = kid(one, other, extractor=NAME, subsets=400)
    assert abs(value - mmd(features(one), features(other))) < 4 * spread / 400**0.5


def test_kid_is_unbiased():
    """Two sets of one kind: 0 on average, so negative as often as not; a biased one never is."""
    values = [
        kid(pictures(8, seed=k), pictures(8, seed=100 + k), extractor=NAME, subsets=20)[0]
        for k in range(40)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / 40**0.5
    assert min(values) < 0 < max(values)


def test_fid_is_the_frechet_distance():
    """Relative error < 1e-6 against scipy's matrix square root."""
    one, other = pictures(40), pictures(30, seed=1, light=30)
    expected = frechet(features(one), features(other))
    assert fid(one, other, extractor=NAME) == pytest.approx(expected, rel=1e-6)


def test_a_fid_that_can_be_counted_by_hand():
    """Flat pictures of two levels: means 0.4 and 0.6 apart by 0.2 in six of the nine features."""
    low, high = (
        [np.full((8, 8, 3), v, np.uint8) for v in values] for values in ((51, 153), (102, 204))
    )
    assert fid(low, high, extractor=NAME) == pytest.approx(6 * 0.2**2, rel=1e-6)


# --- properties -----------------------------------------------------------------------------------


def test_the_same_pictures_are_best():
    one = pictures(30)
    assert fid(one, one, extractor=NAME) == pytest.approx(0, abs=1e-6)
    far = kid(one, pictures(30, seed=1, light=60), extractor=NAME)[0]
    assert kid(one, one, extractor=NAME)[0] < 0.02 * far


@pytest.mark.parametrize(
    "metric", [lambda *a: kid(*a, extractor=NAME)[0], lambda *a: fid(*a, extractor=NAME)]
)
def test_worse_pictures_are_worse(metric):
    real = pictures(30)
    values = [metric(pictures(30, seed=1, light=light), real) for light in (0, 20, 40, 60)]
    assert values == sorted(values)
    assert values[0] < values[-1] / 10


def test_order_of_the_sets_does_not_matter_to_fid_and_little_to_kid():
    one, other = pictures(30), pictures(20, seed=1, light=40)
    assert fid(one, other, extractor=NAME) == pytest.approx(
        fid(other, one, extractor=NAME), rel=1e-6
    )
    forth, spread = kid(one, other, extractor=NAME)
    assert kid(other, one, extractor=NAME)[0] == pytest.approx(forth, abs=spread)


def test_order_of_the_pictures_does_not_matter():
    one, other = pictures(30), pictures(30, seed=1, light=40)
    assert fid(one[::-1], other, extractor=NAME) == pytest.approx(
        fid(one, other, extractor=NAME), rel=1e-6
    )
    value, spread = kid(one, other, extractor=NAME)
    assert kid(one[::-1], other, extractor=NAME)[0] == pytest.approx(value, abs=spread)


def test_equal_seeds_give_equal_numbers():
    one, other = pictures(30), pictures(30, seed=1)
    assert kid(one, other, extractor=NAME, seed=5) == kid(one, other, extractor=NAME, seed=5)
    assert kid(one, other, extractor=NAME, seed=5) != kid(one, other, extractor=NAME, seed=6)


def test_sizes_may_differ_within_a_set():
    mixed = pictures(6) + pictures(6, seed=2, size=(9, 14))
    other = pictures(12, seed=1)
    assert fid(mixed, other, extractor=NAME) == pytest.approx(
        frechet(features(mixed), features(other)), rel=1e-6
    )


def test_both_at_once_are_what_each_is_alone(capfd):
    one, other = pictures(20), pictures(20, seed=1, light=10)
    found = measure(one, other, extractor=NAME)
    assert (found.kid, found.kid_sd) == kid(one, other, extractor=NAME)
    assert found.fid == fid(one, other, extractor=NAME)
    assert measure(one, other, want=("fid",), extractor=NAME).kid is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("generated", "real", "size"),
    [(2, 9, 2), (3, 3, 2), (100, 100, 50), (65, 400, 32), (9000, 5000, 1000)],
)
def test_size_of_subsets(generated, real, size):
    assert subset_size(generated, real) == size


def test_fid_of_few_pictures_comes_with_a_warning():
    assert fid_warning(2048, 5000) is None
    assert "100 generated and 5000 real" in fid_warning(100, 5000)
    assert "use KID" in fid_warning(5000, 2047)


# --- Inception's weights ----------------------------------------------------------------------


@pytest.fixture
def inception(tmp_path, monkeypatch):
    """Random weights of torch-fidelity's Inception network, as a file."""
    path = tmp_path / "inception.pth"
    with monkeypatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        patch.setattr(
            "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url",
            lambda *args, **kwargs: {},
        )
        torch.manual_seed(0)
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save(network.state_dict(), path)
    return path


def test_weights_of_a_file_are_used(inception):
    """The numbers are those of the network's own features; relative error < 1e-4 (float32)."""
    one, other = pictures(3), pictures(3, seed=1, light=40)
    network = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=inception
    )
    x, y = (
        network(torch.from_numpy(np.stack(p)).permute(0, 3, 1, 2))[0].double().numpy()
        for p in (one, other)
    )
    rng = np.random.RandomState(0)
    draws = [
        mmd(x[rng.choice(3, 2, replace=False)], y[rng.choice(3, 2, replace=False)])
        for _ in range(5)
    ]
    value, _ = kid(one, other, weights=inception, subsets=5)
    assert value == pytest.approx(np.mean(draws), rel=1e-4)


def test_weights_of_another_network(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"w": torch.zeros(2)}, path)
    with pytest.raises(DataError, match=r"other\.pth: not the weights of .*Inception"):
        kid(pictures(2), pictures(2), weights=path)


def test_weights_that_are_missing(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.pth"):
        kid(pictures(2), pictures(2), weights=tmp_path / "nowhere.pth")


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("download", [False, True])
def test_a_pickle_with_code_is_not_run(tmp_path, monkeypatch, download):
    trace, folder = tmp_path / "trace", tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    name = "weights-inception-2015-12-05-6726825d.pth"
    path = folder / name
    path.write_bytes(pickle.dumps({"w": Attack(trace)}, protocol=2))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    expected = (MissingPartError, "--inception-weights") if download else (DataError, name)
    with pytest.raises(expected[0], match=expected[1]):
        kid(pictures(2), pictures(2), weights=None if download else path)
    assert not trace.exists()
    pickle.loads(path.read_bytes())["w"].close()
    assert trace.exists()  # the attack would have worked


def test_a_failing_download_says_what_to_do(tmp_path, monkeypatch, capfd):
    def fail(*args, **kwargs):
        raise urllib.error.URLError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(MissingPartError, match=r"no route.*--inception-weights PATH"):
        fid(pictures(2), pictures(2))
    assert capfd.readouterr().out == ""


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(MissingPartError, match=r"pip install 'udit-bench\[fidelity\]'"):
        kid(pictures(2), pictures(2))
