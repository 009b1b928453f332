"""Classifiers: what they learn, how they are stored, and that the stored one is the same."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from udit_bench.datasets.catalogue import open_source
from udit_bench.errors import DataError, MissingPartError, UsageError
from udit_bench.metrics.classifiers import backbones as backbones_module
from udit_bench.metrics.classifiers import open_classifier, shipped_weights
from udit_bench.metrics.classifiers.backbones import Backbone, open_backbone
from udit_bench.metrics.classifiers.base import as_input
from udit_bench.metrics.classifiers.store import TwoClasses, load_classifier, save_classifier
from udit_bench.metrics.classifiers.train import (
    ClassifierTraining,
    accuracy,
    forms,
    train_classifier,
)
from udit_bench.metrics.weights import digest_of, read_state
from udit_bench.scene import Scene

LABELS = ("sheep", "giraffe")


def scenes(label, count, seed=0, side=32):
    """Noise with a light (sheep) or an orange (giraffe) square; every fourth without."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        image = rng.integers(0, 120, (side, side, 3), dtype=np.uint8)
        masks = np.zeros((int(number % 4 > 0), side, side), dtype=bool)
        top, left = rng.integers(0, side - 12, 2)
        masks[:, top : top + 12, left : left + 12] = True
        image[masks.any(axis=0)] = (235, 235, 235) if label == "sheep" else (220, 150, 40)
        made.append(Scene(image, masks, label, f"{label}{number}"))
    return made


@pytest.fixture(scope="module")
def trained():
    backbone = open_backbone("small", input_size=32)
    network = train_classifier(
        [scenes("sheep", 24), scenes("giraffe", 16)], LABELS, backbone,
        ClassifierTraining(epochs=6, batch_size=8),
    )  # fmt: skip
    return network, backbone


@pytest.fixture
def stored(trained, tmp_path):
    path = tmp_path / "c.safetensors"
    save_classifier(trained[0], trained[1], LABELS, path, {"data": "toy"})
    return path


# ------------------------------------------------------------------------------------- training


def test_it_tells_the_classes_apart_whole_and_masked(stored):
    held = [scenes("sheep", 16, seed=5), scenes("giraffe", 16, seed=6)]
    found = accuracy(load_classifier(stored), held)
    assert found.pictures == 24  # those without instances show neither class
    assert found.whole >= 90
    assert found.masked >= 90
    swapped = accuracy(load_classifier(stored), held[::-1])
    assert swapped.whole <= 10


def test_equal_seeds_give_equal_weights():
    def once(seed):
        torch.manual_seed(99)
        backbone = open_backbone("small", input_size=32)
        network = train_classifier(
            [scenes("sheep", 6), scenes("giraffe", 6)], LABELS, backbone,
            ClassifierTraining(epochs=1, seed=seed),
        )  # fmt: skip
        return digest_of(network.state_dict())

    assert once(1) == once(1) != once(2)


def test_without_an_instance_there_is_nothing_to_learn():
    empty = [Scene(np.zeros((8, 8, 3), np.uint8), np.zeros((0, 8, 8), bool), "giraffe", "x")]
    with pytest.raises(DataError, match="no picture with an instance of 'giraffe'"):
        train_classifier(
            [scenes("sheep", 4), empty], LABELS, open_backbone("small", input_size=32),
            ClassifierTraining(epochs=1),
        )  # fmt: skip
    assert forms(empty[0]) is None


def frozen(width=48, seed=0):
    """A backbone of its own: fixed random features of mean colours."""
    torch.manual_seed(seed)
    network = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, width)
    ).requires_grad_(False)
    return Backbone("mine", network, 32, width, digest_of(network.state_dict()))


def test_a_frozen_backbone_is_left_as_it_is_and_its_head_fits():
    backbone = frozen()
    before = digest_of(backbone.network.state_dict())
    network = train_classifier(
        [scenes("sheep", 24), scenes("giraffe", 24)], LABELS, backbone,
        ClassifierTraining(epochs=60),
    )  # fmt: skip
    assert digest_of(network.backbone.state_dict()) == before
    right = 0
    for label, column in (("sheep", 0), ("giraffe", 1)):
        for scene in scenes(label, 12, seed=9):
            if scene.count:
                logits = network(as_input(scene.image, 32)[None])
                right += int(logits.argmax() == column)
    assert right >= 15  # of 18


# -------------------------------------------------------------------------------------- predict


def test_probabilities_are_those_of_the_contract(stored):
    classifier = load_classifier(stored)
    images = [scene.image for scene in scenes("sheep", 20)]
    found = classifier.predict(images)
    assert found.shape == (20, 2)
    assert found.dtype == np.float64
    assert found.sum(axis=1) == pytest.approx(1)
    assert classifier.predict([]).shape == (0, 2)


def test_no_picture_depends_on_its_neighbours(stored):
    classifier = load_classifier(stored)
    images = [scene.image for scene in scenes("giraffe", 20)]
    images[3] = np.zeros((40, 20, 3), np.uint8)  # another size
    together = classifier.predict(images)
    alone = np.concatenate([classifier.predict([image]) for image in images])
    assert together == pytest.approx(alone, abs=1e-5)


# -------------------------------------------------------------------------------------- storage


def test_the_stored_classifier_is_the_trained_one(trained, stored):
    images = [scene.image for scene in scenes("sheep", 6)]
    expected = trained[0](torch.stack([as_input(image, 32) for image in images])).softmax(dim=1)
    assert load_classifier(stored).predict(images) == pytest.approx(
        expected.detach().numpy(), abs=5e-3
    )  # half precision
    identity = load_classifier(stored).identity
    assert identity.as_dict() == {
        "backbone": "small", "weights": identity.weights, "input_size": 32, "labels": list(LABELS),
    }  # fmt: skip
    assert len(identity.weights) == 64


def test_a_frozen_backbone_is_not_in_the_file(tmp_path):
    path = tmp_path / "head.safetensors"
    save_classifier(TwoClasses(frozen()), frozen(), LABELS, path, {})
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == {"weight", "bias"}
        assert json.loads(file.metadata()["config"])["backbone_weights"] == frozen().weights


def test_another_backbone_under_the_head_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "head.safetensors"
    save_classifier(TwoClasses(frozen()), frozen(), LABELS, path, {})
    from udit_bench.metrics.classifiers import store

    monkeypatch.setattr(store, "open_backbone", lambda name, **k: frozen(seed=1))
    with pytest.raises(DataError, match="fitted to other weights of mine"):
        load_classifier(path)
    monkeypatch.setattr(store, "open_backbone", lambda name, **k: frozen())
    assert load_classifier(path).identity.backbone == "mine"


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "damaged"), (b"garbage" * 9, "damaged"), (None, "no classifier weights at")],
)
def test_files_that_are_none_are_refused(tmp_path, content, message):
    path = tmp_path / "c.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_classifier(path)


def test_foreign_weights_are_refused(tmp_path):
    path = tmp_path / "c.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(DataError, match="not 'classifier'"):
        load_classifier(path)
    save_file({"x": torch.zeros(1)}, path, {"architecture": "classifier", "config": "{}"})
    with pytest.raises(DataError, match="no valid configuration"):
        load_classifier(path)


class Code:
    def __reduce__(self):
        return print, ("run",)


def test_weights_that_could_run_code_are_refused(tmp_path, capsys):
    path = tmp_path / "w.pth"
    torch.save({"weight": Code()}, path)
    with pytest.raises(DataError, match="can run code"):
        read_state(path)
    assert capsys.readouterr().out == ""
    torch.save([1, 2], path)
    with pytest.raises(DataError, match="not a state_dict"):
        read_state(path)


# ------------------------------------------------------------------------------------ backbones


def test_unknown_backbones_list_the_known_ones():
    with pytest.raises(UsageError, match=r"unknown backbone 'vgg16'.*torchvision:NAME"):
        open_backbone("vgg16")
    with pytest.raises(UsageError, match="vgg16"):
        open_backbone("torchvision:vgg61")


def test_a_missing_package_names_the_command(monkeypatch):
    def absent(module):
        raise ModuleNotFoundError(f"No module named '{module}'", name=module)

    monkeypatch.setattr(backbones_module.importlib, "import_module", absent)
    with pytest.raises(MissingPartError, match=r"pip install 'udit-bench\[backbones\]'"):
        open_backbone("timm:resnet18")
    with pytest.raises(MissingPartError, match="pip install efficientnet-lite-pytorch"):
        open_backbone("efficientnet_lite0")


def test_backbone_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(DataError, match="not the weights of torchvision:resnet18"):
        open_backbone("torchvision:resnet18", weights=path)
    with pytest.raises(UsageError, match="trained from nothing"):
        open_backbone("small", weights=path)


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet10t"])
def test_local_weights_make_a_frozen_backbone(name, tmp_path):
    family, _, rest = name.partition(":")
    if family == "timm":
        whole = pytest.importorskip("timm").create_model(rest)
    else:
        from torchvision.models import get_model

        whole = get_model(rest)
    path = tmp_path / "w.pth"
    torch.save(whole.state_dict(), path)
    backbone = open_backbone(name, weights=path, input_size=64)
    assert backbone.frozen
    assert backbone.width == 512
    assert backbone.weights == digest_of(whole.state_dict())
    assert not any(parameter.requires_grad for parameter in backbone.network.parameters())
    images = torch.rand(2, 3, 64, 64)
    assert backbone.network(images).shape == (2, 512)


# --------------------------------------------------------------------------------- shipped, real


def test_no_weights_are_shipped_for_other_data():
    with pytest.raises(UsageError, match="classifier train"):
        open_classifier(dataset="photos")


def test_the_shipped_classifier_knows_pasture():
    """Measured on the whole test split: 100 % in both forms."""
    assert shipped_weights("pasture").stat().st_size <= 2**20
    source = open_source("pasture", size=(64, 64))
    held = [list(source.scenes("test", domain)[:20]) for domain in "AB"]
    found = accuracy(open_classifier(dataset="pasture"), held)
    assert found.whole >= 97
    assert found.masked >= 97


@pytest.mark.slow
def test_imagenet_features_tell_horses_from_zebras(real_data):
    pytest.importorskip("efficientnet_lite_pytorch")
    source = open_source(str(real_data("horse2zebra")), size=None)
    backbone = open_backbone("efficientnet_lite0", input_size=128)
    train = [source.scenes("train", domain)[:24] for domain in "AB"]
    network = train_classifier(train, ("horse", "zebra"), backbone, ClassifierTraining(epochs=60))
    right = []
    for column, domain in enumerate("AB"):
        for scene in source.scenes("test", domain)[:20]:
            with torch.no_grad():
                right.append(int(network(as_input(scene.image, 128)[None]).argmax()) == column)
    assert np.mean(right) >= 0.9
