"""The torchvision judge on tiny random networks: no download, no trained weights."""

import hashlib
import os
import pickle
import sys
import urllib.error

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from udit_bench.errors import DataError, MissingPartError, UsageError
from udit_bench.metrics.detectors import open_detector
from udit_bench.metrics.detectors import torchvision as module
from udit_bench.metrics.detectors.slim import SlimConfig, build_slim
from udit_bench.metrics.detectors.torchvision import TorchvisionDetector
from udit_bench.metrics.detectors.train import save_slim

CONFIG = SlimConfig(categories=("sheep", "giraffe"), width=4, fpn=8, box_head=16, min_size=64)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(0)
    model = build_slim(CONFIG)
    for parameter in model.roi_heads.box_predictor.parameters():
        parameter.data.mul_(10)  # scores far apart
    save_slim(model, CONFIG, path, {})
    return path


@pytest.fixture(scope="module")
def detector(weights):
    return TorchvisionDetector(weights)


def pictures(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def look(detector, images):
    return detector.detect(images, [str(k) for k in range(len(images))], "A")


def same(one, other, tolerance=1e-5):
    return (
        one.categories == other.categories
        and np.abs(one.scores - other.scores).max(initial=0) < tolerance
        and (one.masks != other.masks).mean() < 1e-3
    )


def test_no_pictures_no_detections(detector):
    assert detector.detect([], [], "A") == []


def test_detections_keep_the_contract(detector):
    for image, found in zip(
        images := pictures((48, 48), (40, 56)), look(detector, images), strict=True
    ):
        assert 0 < len(found.scores) <= 100
        assert set(found.categories) <= {"sheep", "giraffe"}
        assert found.scores.dtype == np.float64
        assert (np.diff(found.scores) <= 0).all()
        assert (found.scores.min() >= 0.05) & (found.scores.max() <= 1)
        assert found.masks.dtype == bool
        assert found.masks.shape[1:] == image.shape[:2]


def test_identity_and_names(detector, weights):
    assert detector.identity.as_dict() == {
        "backend": "torchvision",
        "architecture": "slim_maskrcnn",
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "score_floor": 0.05,
        "max_detections": 100,
        "input_size": 64,
    }
    assert detector.categories == {"sheep", "giraffe"}


def test_neither_batch_size_nor_neighbours_change_a_result(weights, detector):
    images = pictures((48, 48), (40, 56), (48, 48), (48, 48), (40, 56), (64, 48))
    alone = [look(detector, [image])[0] for image in images]
    for batch_size in (1, 2, 8):
        together = look(TorchvisionDetector(weights, batch_size=batch_size), images)
        assert all(same(a, b) for a, b in zip(alone, together, strict=True))
    assert not same(alone[0], alone[2])  # the comparison can tell pictures apart


def test_it_agrees_with_the_network_itself(detector, weights):
    """Half-precision weights in a network built here, colours in [0, 1], RGB."""
    (image,) = pictures((48, 48), seed=5)
    torch.manual_seed(0)
    model = build_slim(CONFIG)
    for parameter in model.roi_heads.box_predictor.parameters():
        parameter.data.mul_(10)
    model = model.half().float().eval()
    with torch.no_grad():
        (raw,) = model([torch.tensor(image / 255.0, dtype=torch.float32).permute(2, 0, 1)])
    (found,) = look(detector, [image])
    assert np.abs(found.scores - raw["scores"].numpy()).max() < 1e-5
    names = [("background", "sheep", "giraffe")[k] for k in raw["labels"].tolist()]
    assert list(found.categories) == names
    assert (found.masks != (raw["masks"][:, 0] >= 0.5).numpy()).mean() < 1e-3


def test_weights_are_single_precision_in_memory(detector):
    kinds = {p.dtype for p in detector._model.parameters()}
    assert kinds == {torch.float32}
    assert not detector._model.training


# --- files that are not weights ---------------------------------------------------------------


def test_missing_file_and_unknown_ending(tmp_path):
    with pytest.raises(DataError, match=r"no detector weights at .*gone\.pth"):
        TorchvisionDetector(tmp_path / "gone.pth")
    with pytest.raises(UsageError, match=r"\.safetensors, \.pth or \.pt, got 'model\.pkl'"):
        TorchvisionDetector(tmp_path / "model.pkl")


@pytest.mark.parametrize("size", [0, 4, 100, 5000])
def test_truncated_safetensors(tmp_path, weights, size):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(weights.read_bytes()[:size])
    with pytest.raises(DataError, match=r"cut\.safetensors: damaged"):
        TorchvisionDetector(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, "architecture ''"),
        ({"architecture": "yolo"}, "architecture 'yolo'"),
        ({"architecture": "slim_maskrcnn"}, "no valid configuration"),
        ({"architecture": "slim_maskrcnn", "config": "{}"}, "no valid configuration"),
        (
            {"architecture": "slim_maskrcnn", "config": CONFIG.model_dump_json()},
            "not the weights of slim_maskrcnn with 3 classes",
        ),
    ],
)
def test_foreign_safetensors(tmp_path, header, message):
    path = tmp_path / "foreign.safetensors"
    save_file({"w": torch.zeros(2)}, path, metadata=header)
    with pytest.raises(DataError, match=rf"foreign\.safetensors: .*{message}"):
        TorchvisionDetector(path)


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("writer", [torch.save, lambda x, p: p.write_bytes(pickle.dumps(x))])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, writer):
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    writer({"weight": Attack(trace)}, path)
    with pytest.raises(DataError, match=r"evil\.pth: refused.*run code"):
        TorchvisionDetector(path)
    assert not trace.exists()


@pytest.mark.parametrize("size", [0, 10, 600])
def test_truncated_pth(tmp_path, size):
    path = tmp_path / "cut.pth"
    torch.save({"w": torch.zeros(200)}, path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DataError, match=r"cut\.pth: .*damaged"):
        TorchvisionDetector(path)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.zeros(2)])
def test_a_pth_that_is_no_state_dict(tmp_path, content):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(DataError, match=r"other\.pth: not a state_dict"):
        TorchvisionDetector(path)


def test_a_pth_of_another_network(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"w": torch.zeros(2)}, path)
    with pytest.raises(DataError, match="not the weights of maskrcnn_resnet50_fpn with 91 classes"):
        TorchvisionDetector(path)


# --- COCO weights -----------------------------------------------------------------------------


def test_coco_weights_given_as_a_file(tmp_path):
    """The same layers and settings as torchvision's own constructor gives."""
    path = tmp_path / "coco.pth"
    torch.manual_seed(0)
    torch.save(module._build_coco().state_dict(), path)
    detector = TorchvisionDetector(path)
    assert detector.identity.architecture == "maskrcnn_resnet50_fpn"
    assert detector.identity.input_size == 800
    assert {"sheep", "giraffe", "cup"} <= detector.categories
    assert not {"__background__", "N/A"} & detector.categories
    assert (detector._names[20], detector._names[25]) == ("sheep", "giraffe")
    heads = detector._model.roi_heads
    assert (heads.score_thresh, heads.detections_per_img) == (0.05, 100)
    norm = detector._model.backbone.body.bn1
    assert (type(norm).__name__, norm.eps) == ("FrozenBatchNorm2d", 0.0)


@pytest.mark.parametrize("error", [urllib.error.URLError("no route"), RuntimeError("invalid hash")])
def test_a_failing_download_says_what_to_do(tmp_path, monkeypatch, capsys, error):
    def fail(*args, **kwargs):
        sys.stdout.write("Downloading")
        raise error

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(MissingPartError) as caught:
        TorchvisionDetector()
    message = str(caught.value)
    for part in ("maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", str(tmp_path), "--detector-weights"):
        assert part in message
    assert capsys.readouterr().out == ""


def test_the_shipped_weights_are_the_default_for_pasture_only(monkeypatch, weights):
    monkeypatch.setattr(module, "shipped_weights", lambda name: weights)
    monkeypatch.setattr(module, "_download", lambda: pytest.fail("would download"))
    opened = open_detector("torchvision", dataset="pasture")
    assert opened.identity.architecture == "slim_maskrcnn"
    with pytest.raises(pytest.fail.Exception):
        open_detector("torchvision", dataset="sheep_giraffe")
    own = open_detector("torchvision", dataset="sheep_giraffe", weights=weights)
    assert own.identity == opened.identity


def test_weights_that_are_not_shipped():
    with pytest.raises(MissingPartError, match=r"maskrcnn_nowhere\.safetensors"):
        TorchvisionDetector(shipped="nowhere")
