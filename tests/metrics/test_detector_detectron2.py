"""The detectron2 judge: the real library on tiny random networks, and what happens without it."""

import hashlib
import importlib.util
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from udit_bench.errors import DataError, MissingPartError, RunError, UsageError
from udit_bench.metrics.detectors import detectron2_compat as compat
from udit_bench.metrics.detectors import detectron2_weights as weights_module
from udit_bench.metrics.detectors import open_detector
from udit_bench.metrics.detectors.detectron2 import Detectron2Detector, network_input
from udit_bench.metrics.detectors.detectron2_weights import read_pickle
from udit_bench.metrics.detectors.slim_detectron2 import (
    ARCHITECTURE,
    SlimDetectron2Config,
    save_slim_detectron2,
    slim_settings,
    train_slim_detectron2,
)
from udit_bench.metrics.detectors.train import DetectorTraining

needs_detectron2 = pytest.mark.skipif(
    importlib.util.find_spec("detectron2") is None,
    reason="detectron2 is not installed: udit-bench detector install detectron2",
)
NAMES = ("sheep", "giraffe")
CONFIG = SlimDetectron2Config(
    categories=NAMES, stem=4, bottleneck=4, width=8, fpn=8, box_head=16, min_size=64,
    anchors=(8, 16, 32, 56),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def network():
    """The tiny network with scores far apart, in half precision and back."""
    cfg = slim_settings(CONFIG)
    cfg.MODEL.DEVICE = "cpu"
    from detectron2.modeling import build_model

    torch.manual_seed(0)
    model = build_model(cfg).eval()
    for parameter in model.roi_heads.box_predictor.parameters():
        parameter.data.mul_(100)
    state = model.state_dict()
    model.load_state_dict({k: v.half() if v.is_floating_point() else v for k, v in state.items()})
    return model


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_slim_detectron2(network, CONFIG, path, {})
    return path


@pytest.fixture(scope="module")
def detector(weights):
    return Detectron2Detector(weights)


def pictures(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def look(detector, images):
    return detector.detect(images, [str(k) for k in range(len(images))], "A")


def same(one, other, tolerance=1e-4):
    return (
        one.categories == other.categories
        and np.abs(one.scores - other.scores).max(initial=0) < tolerance
        and (one.masks != other.masks).mean() < 1e-3
    )


# --- the contract -------------------------------------------------------------------------------


@needs_detectron2
def test_no_pictures_no_detections(detector):
    assert detector.detect([], [], "A") == []


@needs_detectron2
def test_detections_keep_the_contract(detector):
    images = pictures((48, 48), (40, 56))
    for image, found in zip(images, look(detector, images), strict=True):
        assert 0 < len(found.scores) <= 100
        assert set(found.categories) <= set(NAMES)
        assert found.scores.dtype == np.float64
        assert (np.diff(found.scores) <= 0).all()
        assert (found.scores.min() >= 0.05) & (found.scores.max() <= 1)
        assert found.masks.dtype == bool
        assert found.masks.shape[1:] == image.shape[:2]


@needs_detectron2
def test_identity_says_everything_that_makes_the_judge(detector, weights):
    assert detector.identity.as_dict() == {
        "backend": "detectron2",
        "architecture": ARCHITECTURE,
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "score_floor": 0.05,
        "max_detections": 100,
        "input_size": 64,
        "nms": 0.5,
    }
    assert detector.categories == set(NAMES)
    heads = detector._model.roi_heads.box_predictor
    assert (heads.test_score_thresh, heads.test_topk_per_image) == (0.05, 100)
    assert heads.test_nms_thresh == 0.5


@needs_detectron2
def test_neither_batch_size_nor_neighbours_change_a_result(weights, detector):
    images = pictures((48, 48), (40, 56), (48, 48), (48, 48), (40, 56), (64, 48))
    alone = [look(detector, [image])[0] for image in images]
    for batch_size in (1, 2, 8):
        together = look(Detectron2Detector(weights, batch_size=batch_size), images)
        assert all(same(a, b) for a, b in zip(alone, together, strict=True))
    assert not same(alone[0], alone[2])  # the comparison can tell pictures apart


@needs_detectron2
def test_it_agrees_with_the_network_itself(detector, network):
    """BGR in [0, 255], enlarged by Pillow: what detectron2's own predictor feeds its network."""
    from PIL import Image

    (image,) = pictures((48, 48), seed=5)
    large = Image.fromarray(image[:, :, ::-1]).resize((64, 64), Image.Resampling.BILINEAR)
    fed = torch.from_numpy(np.array(large)).permute(2, 0, 1).float()
    with torch.no_grad():
        raw = network([{"image": fed, "height": 48, "width": 48}])[0]["instances"]
    (found,) = look(detector, [image])
    assert len(raw) > 0
    assert np.abs(found.scores - raw.scores.numpy()).max() < 1e-5
    assert list(found.categories) == [NAMES[k] for k in raw.pred_classes.tolist()]
    assert (found.masks != raw.pred_masks.numpy()).mean() < 1e-3
    (swapped,) = look(detector, [image[:, :, ::-1]])
    assert not same(found, swapped)  # the order of channels matters


@needs_detectron2
def test_channels_follow_the_configuration():
    cfg = slim_settings(CONFIG)
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[..., 0] = 255
    assert network_input(image, cfg)[:, 0, 0].tolist() == [0.0, 0.0, 255.0]
    cfg.INPUT.FORMAT = "RGB"
    assert network_input(image, cfg)[:, 0, 0].tolist() == [255.0, 0.0, 0.0]


@needs_detectron2
def test_weights_are_single_precision_in_memory(detector):
    assert {p.dtype for p in detector._model.parameters()} == {torch.float32}
    assert not detector._model.training


@needs_detectron2
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_sees_the_same(weights, detector):
    images = pictures((48, 48), (48, 48))
    there = look(Detectron2Detector(weights, device="cuda"), images)
    for here, other in zip(look(detector, images), there, strict=True):
        assert abs(here.scores.max() - other.scores.max()) < 1e-2


# --- configurations and weights of one's own -----------------------------------------------------


@pytest.fixture
def own(tmp_path, network):
    """``own(ending, **more)``: the tiny network as a yaml, and its weights in another form."""
    config = tmp_path / "tiny.yaml"
    config.write_text(slim_settings(CONFIG).dump())

    def write(ending, names=NAMES):
        path = tmp_path / f"own{ending}"
        state = network.state_dict()
        if ending == ".pth":
            torch.save({"model": state, "iteration": 3, "optimizer": {"state": {}}}, path)
        elif ending == ".pkl":
            arrays = {name: tensor.numpy() for name, tensor in state.items()}
            arrays["proposal_generator.anchor_generator.cell_anchors.0"] = np.zeros((3, 4))
            path.write_bytes(pickle.dumps({"model": arrays, "__author__": "a test"}))
        else:
            save_file(state, path)
        path.with_suffix(".names").write_text("\n".join(names) + "\n")
        return path, config

    return write


@needs_detectron2
@pytest.mark.parametrize("ending", [".pth", ".pkl", ".safetensors"])
def test_own_configuration_and_weights_give_the_same_judge(own, detector, ending):
    path, config = own(ending)
    opened = open_detector("detectron2", dataset="photos", weights=path, config=config)
    images = pictures((48, 48))
    assert same(look(opened, images)[0], look(detector, images)[0])
    assert opened.identity.architecture.startswith("tiny@")
    assert opened.identity.input_size == 64


@needs_detectron2
def test_another_configuration_is_another_judge(own):
    path, config = own(".pth")
    one = Detectron2Detector(path, config=config).identity
    text = config.read_text()
    assert "NMS_THRESH_TEST: 0.5" in text
    config.write_text(text.replace("NMS_THRESH_TEST: 0.5", "NMS_THRESH_TEST: 0.3"))
    other = Detectron2Detector(path, config=config).identity
    assert (one.nms, other.nms) == (0.5, 0.3)
    assert one.architecture != other.architecture
    assert one.weights == other.weights


@needs_detectron2
@pytest.mark.parametrize("names", [("sheep",), ("sheep", "giraffe", "cow"), ()])
def test_classes_without_names_are_asked_for(own, names):
    path, config = own(".pth", names)
    with pytest.raises(DataError, match=r"2 classes without names; .*own\.names"):
        Detectron2Detector(path, config=config)


@needs_detectron2
def test_weights_of_another_network_are_refused(own, tmp_path):
    path, config = own(".pth")
    state = torch.load(path, weights_only=True)["model"]
    state.pop("roi_heads.box_predictor.cls_score.bias")
    torch.save(state, path)
    with pytest.raises(DataError, match=r"own\.pth: not the weights of tiny@\w+ .*lacks"):
        Detectron2Detector(path, config=config)
    path, config = own(".pth")
    config.write_text(config.read_text().replace("FC_DIM: 16", "FC_DIM: 17"))
    with pytest.raises(DataError, match=r"not the weights of tiny@\w+ .*size mismatch"):
        Detectron2Detector(path, config=config)


@needs_detectron2
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("MODEL: [", "not a detectron2 configuration"),
        ("MODEL:\n  MASK: true\n", "not a detectron2 configuration .*MODEL.MASK"),
        ("VERSION: 2\nMODEL:\n  MASK_ON: false\n", "predicts no masks"),
        ("_BASE_: gone.yaml\n", "not a detectron2 configuration"),
    ],
)
def test_faulty_configurations_are_named(own, text, said):
    path, config = own(".pth")
    config.write_text(text)
    with pytest.raises(DataError, match=rf"tiny\.yaml: .*{said}"):
        Detectron2Detector(path, config=config)


@needs_detectron2
def test_a_configuration_cannot_run_code(own, tmp_path):
    path, config = own(".pth")
    trace = tmp_path / "trace"
    config.write_text(f"MODEL: !!python/object/apply:os.system ['touch {trace}']\n")
    with pytest.raises(DataError, match=r"tiny\.yaml: not a detectron2 configuration"):
        Detectron2Detector(path, config=config)
    assert not trace.exists()


@needs_detectron2
def test_options_that_do_not_go_together(own, weights, tmp_path):
    path, config = own(".pth")
    with pytest.raises(UsageError, match="leave --detector-config out"):
        Detectron2Detector(weights, config=config)
    with pytest.raises(UsageError, match=r"no weights for .*tiny\.yaml.*--detector-weights"):
        Detectron2Detector(config=config)
    with pytest.raises(UsageError, match=r"must be \.yaml, got 'lazy\.py'"):
        Detectron2Detector(path, config=tmp_path / "lazy.py")
    with pytest.raises(DataError, match="neither a file nor a name in detectron2's model zoo"):
        Detectron2Detector(path, config=tmp_path / "gone.yaml")
    with pytest.raises(UsageError, match=r"\.pkl, \.pth or \.safetensors, got 'model\.onnx'"):
        Detectron2Detector(tmp_path / "model.onnx")
    with pytest.raises(DataError, match=r"no detector weights at .*gone\.pth"):
        Detectron2Detector(tmp_path / "gone.pth")
    with pytest.raises(UsageError, match="--detector-config is for the detector 'detectron2'"):
        open_detector("torchvision", dataset="photos", config=config)


@needs_detectron2
@pytest.mark.parametrize("size", [0, 4, 100, 5000])
def test_truncated_safetensors(tmp_path, weights, size):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(weights.read_bytes()[:size])
    with pytest.raises(DataError, match=r"cut\.safetensors: damaged"):
        Detectron2Detector(path)


@needs_detectron2
def test_a_slim_header_must_be_valid(tmp_path, weights):
    path = tmp_path / "odd.safetensors"
    save_file(load_file(weights), path, {"architecture": ARCHITECTURE, "config": "{}"})
    with pytest.raises(DataError, match=r"odd\.safetensors: its header has no valid config"):
        Detectron2Detector(path)


# --- pickles ------------------------------------------------------------------------------------


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_a_pickle_of_arrays_is_read_in_every_protocol(tmp_path):
    path = tmp_path / "zoo.pkl"
    content = {
        "model": {"w": np.arange(6.0, dtype=np.float32).reshape(2, 3), "n": np.int64(3)},
        "__author__": "Detectron2 Model Zoo",
    }
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(content, protocol)
        for written in {data, data.replace(b"numpy._core.", b"numpy.core.")}:
            if protocol > 3 and written is not data:
                continue  # its names carry their lengths
            path.write_bytes(written)
            found = read_pickle(path)
            assert found["__author__"] == content["__author__"]
            assert (found["model"]["w"] == content["model"]["w"]).all()
            assert found["model"]["n"] == 3


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    "attack",
    [
        lambda trace: Attack(os.system, f"touch {trace}"),
        lambda trace: Attack(eval, f"open({str(trace)!r}, 'w')"),
        lambda trace: Attack(exec, f"open({str(trace)!r}, 'w')"),
        lambda trace: Attack(open, str(trace), "w"),
        lambda trace: Attack(np.savetxt, str(trace), [0.0]),
        lambda trace: Attack(getattr, trace, "touch"),
    ],
    ids=["system", "eval", "exec", "open", "numpy", "getattr"],
)
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, attack, protocol):
    path, trace = tmp_path / "evil.pkl", tmp_path / "trace"
    path.write_bytes(pickle.dumps({"model": {"w": attack(trace)}}, protocol))
    with pytest.raises(DataError, match=r"evil\.pkl: refused.*run code"):
        read_pickle(path)
    assert not trace.exists()


def test_the_attack_would_work_on_plain_pickle(tmp_path):
    trace = tmp_path / "trace"
    pickle.loads(pickle.dumps(Attack(open, str(trace), "w"))).close()
    assert trace.exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps({"a": np.zeros(9)})[:40]])
def test_damaged_pickles(tmp_path, content):
    path = tmp_path / "cut.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cut\.pkl: .*damaged"):
        read_pickle(path)


@needs_detectron2
@pytest.mark.parametrize("ending", [".pkl", ".pth"])
def test_the_judge_refuses_such_files(tmp_path, ending):
    path, trace = tmp_path / f"evil{ending}", tmp_path / "trace"
    path.write_bytes(pickle.dumps({"model": {"w": Attack(open, str(trace), "w")}}))
    with pytest.raises(DataError, match="refused"):
        Detectron2Detector(path)
    assert not trace.exists()


@needs_detectron2
@pytest.mark.parametrize("content", [[1, 2], {"model": {"w": "text"}}, {"w": np.array(["text"])}])
def test_a_pickle_that_holds_no_weights(tmp_path, content):
    path = tmp_path / "other.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=r"other\.pkl: .*(no dict of weights|not an array)"):
        Detectron2Detector(path)


# --- the model zoo ------------------------------------------------------------------------------


@needs_detectron2
def test_the_default_is_the_papers_evaluator():
    compat.import_detectron2()
    cfg, architecture = weights_module.read_config(weights_module.DEFAULT_CONFIG)
    assert architecture == "mask_rcnn_R_50_FPN_3x"
    assert (cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.INPUT.MIN_SIZE_TEST) == (80, 800)
    assert (cfg.INPUT.FORMAT, cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST) == ("BGR", 0.5)


@needs_detectron2
def test_coco_names_agree_with_torchvisions(tmp_path):
    from udit_bench.metrics.detectors.torchvision import COCO_WEIGHTS

    compat.import_detectron2()
    cfg, _ = weights_module.read_config(weights_module.DEFAULT_CONFIG)
    names = weights_module._names(cfg, {}, tmp_path / "w.pkl")
    theirs = [n for n in COCO_WEIGHTS.meta["categories"] if n not in ("__background__", "N/A")]
    assert list(names) == theirs
    assert (names[18], names[23], names[41]) == ("sheep", "giraffe", "cup")


@needs_detectron2
def test_zoo_weights_in_the_cache_are_used(tmp_path, monkeypatch):
    compat.import_detectron2()
    from detectron2.utils.file_io import PathManager

    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    monkeypatch.setattr(PathManager, "get_local_path", lambda url: pytest.fail("would download"))
    place = tmp_path / (
        "detectron2/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217.pkl"
    )
    place.parent.mkdir(parents=True)
    place.write_bytes(b"")
    assert weights_module.zoo_weights(weights_module.DEFAULT_CONFIG) == place


@needs_detectron2
def test_a_failing_download_says_where_the_file_belongs(tmp_path, monkeypatch, capsys):
    compat.import_detectron2()
    from detectron2.utils.file_io import PathManager

    def fail(url):
        sys.stdout.write("Downloading")
        raise OSError("no route")

    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    monkeypatch.setattr(PathManager, "get_local_path", fail)
    with pytest.raises(MissingPartError) as caught:
        Detectron2Detector()
    for part in ("model_final_f10217.pkl", str(tmp_path), "--detector-weights", "no route"):
        assert part in str(caught.value)
    assert capsys.readouterr().out == ""


@needs_detectron2
@pytest.mark.slow
def test_the_zoos_network_from_a_pickle(tmp_path):
    """The full Mask R-CNN R50-FPN: its random weights as the zoo writes them."""
    compat.import_detectron2()
    cfg, _ = weights_module.read_config(weights_module.DEFAULT_CONFIG)
    cfg.MODEL.DEVICE = "cpu"
    from detectron2.modeling import build_model

    torch.manual_seed(0)
    state = {k: v.numpy() for k, v in build_model(cfg).state_dict().items()}
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": state, "__author__": "a test"}))
    detector = Detectron2Detector(path)
    assert detector.identity.architecture == "mask_rcnn_R_50_FPN_3x"
    assert {"sheep", "giraffe", "cup"} <= detector.categories
    (found,) = look(detector, pictures((60, 80)))
    assert found.masks.shape[1:] == (60, 80)


# --- the slim network ---------------------------------------------------------------------------


@needs_detectron2
def test_training_lowers_the_loss_and_is_repeatable(toy_source, tmp_path):
    domains = [toy_source.scenes("train", d) for d in "AB"]  # some without instances
    training = DetectorTraining(iterations=24, batch_size=4, warmup=2)
    seen, states = [], []
    for _ in range(2):
        model = train_slim_detectron2(
            domains, CONFIG, training, report=lambda *told: seen.append(told)
        )
        states.append(model.state_dict())
    assert [told[0] for told in seen] == [20, 24, 20, 24]
    first, last = (sum(seen[k][1].values()) for k in (0, 1))
    assert last < first
    assert not model.training
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    path = tmp_path / "trained.safetensors"
    save_slim_detectron2(model, CONFIG, path, {"data": "toy"})
    assert {t.dtype for t in load_file(path).values() if t.is_floating_point()} == {torch.float16}
    assert Detectron2Detector(path).categories == set(NAMES)


@needs_detectron2
def test_a_training_example_has_the_masks_of_its_scene(toy_source):
    from udit_bench.metrics.detectors.slim_detectron2 import _example

    scene = next(s for s in toy_source.scenes("train", "A") if len(s.masks) == 3)
    cfg = slim_settings(CONFIG)  # 32 -> 64 pixels
    for flip in (False, True):
        example = _example(scene, 1, flip, cfg)
        found = example["instances"]
        assert example["image"].shape == (3, 64, 64)
        assert found.gt_classes.tolist() == [1, 1, 1]
        masks = scene.masks[:, :, ::-1] if flip else scene.masks
        assert (found.gt_masks.tensor.numpy()[:, ::2, ::2] == masks).all()
        ys, xs = np.nonzero(masks[0])
        box = [2 * xs.min(), 2 * ys.min(), 2 * xs.max() + 2, 2 * ys.max() + 2]
        assert found.gt_boxes.tensor[0].tolist() == box


@needs_detectron2
def test_training_needs_scenes_of_every_category(toy_source):
    with pytest.raises(DataError, match="no scenes of 'giraffe'"):
        train_slim_detectron2(
            [toy_source.scenes("train", "A"), []], CONFIG, DetectorTraining(iterations=1)
        )


@needs_detectron2
def test_training_that_diverges_names_the_term(toy_source):
    domains = [toy_source.scenes("train", d) for d in "AB"]
    training = DetectorTraining(iterations=8, batch_size=2, warmup=0, lr=1e30)
    with pytest.raises(RunError, match=r"not finite at iteration \d"):
        train_slim_detectron2(domains, CONFIG, training)


@needs_detectron2
def test_the_shipped_weights_are_the_default_for_pasture_only(monkeypatch):
    opened = open_detector("detectron2", dataset="pasture")
    assert opened.identity.architecture == ARCHITECTURE
    assert opened.categories == set(NAMES)
    monkeypatch.setattr(weights_module, "zoo_weights", lambda config: pytest.fail("would download"))
    with pytest.raises(pytest.fail.Exception):
        open_detector("detectron2", dataset="sheep_giraffe")
    with pytest.raises(MissingPartError, match=r"d2_nowhere\.safetensors"):
        Detectron2Detector(shipped="nowhere")


@needs_detectron2
@pytest.mark.slow
def test_the_shipped_judge_finds_real_animals_and_no_copied_source():
    from udit_bench.datasets.catalogue import open_source
    from udit_bench.evaluation import Benchmark
    from udit_bench.judging import Judgement

    benchmark = Benchmark(open_source("pasture", size=(64, 64)), "test", (64, 64))
    judgement = Judgement(open_detector("detectron2", dataset="pasture"))
    for direction in ("AtoB", "BtoA"):
        judgement.add_all(benchmark.bounds(direction), benchmark)
    mmr = {
        (r.row, r.target): r.metrics["mmr"].value
        for r in judgement.records
        if r.protocol["name"] == "retrieval"
    }
    assert set(mmr) == {(row, label) for row in ("real", "source_copy") for label in NAMES}
    for label in NAMES:
        assert mmr["real", label] >= 88
        assert mmr["source_copy", label] < 5


# --- without it, or with half of it ---------------------------------------------------------------


def test_without_detectron2_the_answer_is_the_command(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "detectron2" else find(name)
    )
    with pytest.raises(MissingPartError) as caught:
        open_detector("detectron2", dataset="pasture")
    assert str(caught.value).endswith(": udit-bench detector install detectron2")
    assert caught.value.exit_code == 4


def isolated(folder, code):
    """Run code in a process where ``folder`` comes first on the path."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )


def fake_detectron2(folder, body):
    package = folder / "detectron2"
    for name in compat.MODULES:
        place = package.joinpath(*name.split("."))
        place.mkdir(parents=True, exist_ok=True)
        (place / "__init__.py").write_text("")
    (package / "utils/__init__.py").write_text("")
    (package / "__init__.py").write_text("__version__ = '0.6'\n")
    (package / "model_zoo/__init__.py").write_text(body)


@pytest.mark.parametrize(
    "body",
    ["import no_such_library", "raise RuntimeError('operator does not exist')", "1 / 0", "def ("],
)
def test_half_an_installation_is_reported_and_forgotten(tmp_path, body):
    fake_detectron2(tmp_path, body)
    done = isolated(
        tmp_path,
        "import sys\n"
        "from udit_bench.metrics.detectors.detectron2_compat import import_detectron2\n"
        "try:\n"
        "    import_detectron2()\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
        "print([name for name in sys.modules if name.startswith('detectron2')])\n",
    )
    told, left = done.stdout.splitlines()
    assert told.startswith("MissingPartError detectron2 is installed but does not load"), (
        done.stderr
    )
    assert told.endswith(": udit-bench detector install detectron2")
    assert left == "[]"


def test_stand_ins_are_there_only_while_it_is_imported(tmp_path):
    fake_detectron2(
        tmp_path,
        "from PIL import Image\n"
        "import pkg_resources\n"
        "from detectron2 import _C\n"
        "LINEAR = Image.LINEAR\n"
        "FILE = pkg_resources.resource_filename('detectron2.model_zoo', 'configs/x.yaml')\n",
    )
    done = isolated(
        tmp_path,
        "import sys\n"
        "from PIL import Image\n"
        "from udit_bench.errors import MissingPartError\n"
        "from udit_bench.metrics.detectors import detectron2_compat as compat\n"
        "before = hasattr(Image, 'LINEAR'), 'pkg_resources' in sys.modules\n"
        "assert not compat.compiled()\n"
        "zoo = sys.modules[compat.import_detectron2().__name__ + '.model_zoo']\n"
        "assert zoo.LINEAR == Image.Resampling.BILINEAR\n"
        "assert zoo.FILE.endswith('detectron2/model_zoo/configs/x.yaml')\n"
        "try:\n"
        "    zoo._C.deform_conv_forward\n"
        "except MissingPartError as error:\n"
        "    assert 'deform_conv_forward' in str(error) and '--source git' in str(error)\n"
        "else:\n"
        "    raise AssertionError\n"
        "assert 'detectron2._C' not in sys.modules\n"
        "assert (hasattr(Image, 'LINEAR'), 'pkg_resources' in sys.modules) == before\n"
        "print('done')\n",
    )
    assert done.stdout == "done\n", done.stderr


def test_what_is_there_is_not_replaced(tmp_path):
    fake_detectron2(tmp_path, "import pkg_resources\nfrom detectron2 import _C\n")
    (tmp_path / "detectron2/_C.py").write_text("real = True\n")
    (tmp_path / "pkg_resources.py").write_text("real = True\n")
    done = isolated(
        tmp_path,
        "import sys\n"
        "from udit_bench.metrics.detectors import detectron2_compat as compat\n"
        "compat.import_detectron2()\n"
        "zoo = sys.modules['detectron2.model_zoo']\n"
        "assert compat.compiled() and zoo._C.real and zoo.pkg_resources.real\n"
        "assert sys.modules['detectron2._C'] is zoo._C\n"
        "print('done')\n",
    )
    assert done.stdout == "done\n", done.stderr
