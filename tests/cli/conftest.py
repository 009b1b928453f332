"""The command line in this process, a small data set, and tiny runs trained on it."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from udit_bench.cli import main
from udit_bench.metrics.detectors.slim import SlimConfig, build_slim
from udit_bench.metrics.detectors.train import save_slim
from udit_bench.registry import METHODS

torch.set_num_threads(1)
REPOSITORY = Path(__file__).resolve().parents[2]
LABELS = ("sheep", "giraffe")
SMALLEST = {
    "size": 32, "ngf": 4, "ndf": 4, "blocks": 1, "batch_size": 1, "ema": 0.9, "vgg": "off",
    "hidden": 4, "levels": 2, "mask_width": 8, "mask_encoder": 4, "mask_blocks": 1,
    "mask_fine": [8, 8], "mask_ndf": 4,
}  # fmt: skip
MACHINE = ("--threads", "1", "--device", "cpu")


def command(*arguments):
    """Run a command here; its exit code, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            return stop.code, out.getvalue(), err.getvalue()
    raise AssertionError("the command line did not exit")


def tiny_settings(method, **changes):
    """Settings that make a method as small as it gets."""
    fields = METHODS.load(method).Config.model_fields
    return {key: value for key, value in SMALLEST.items() if key in fields} | changes


def tiny_words(method, **changes):
    """The same as ``--set`` words."""
    settings = tiny_settings(method, **changes)
    return tuple(word for key, value in settings.items() for word in ("--set", f"{key}={value}"))


TINY = tiny_words("cyclegan_seg")


def train_arguments(data, *more, method="cyclegan_seg"):
    """The words of a tiny training run on ``data``."""
    return ("train", "--method", method, "--data", data, *tiny_words(method), *MACHINE, *more)


def draw_scene(seed, count, size=32):
    """A picture with ``count`` bright rectangles, and the mask of each."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 90, (size, size, 3), dtype=np.uint8)
    masks = []
    for _ in range(count):
        top, left = rng.integers(1, size // 2, 2)
        height, width = rng.integers(6, size // 2, 2)
        mask = np.zeros((size, size), dtype=bool)
        mask[top : top + height, left : left + width] = True
        image[mask] = rng.integers(120, 256, 3)
        masks.append(mask)
    return image, masks


def save_picture(path, array):
    """Write an array as a picture; booleans as 0 / 255; creates the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = array.astype(np.uint8) * 255 if array.dtype == bool else array
    Image.fromarray(array).save(path)


def draw_folder(root, splits=("train", "test"), scenes=6):
    """A folder in InstaGAN's form: ``s0`` without instances, then 1, 2, 1, 2 ...; k from 0."""
    for place, name in enumerate(f"{split}{domain}" for split in splits for domain in "AB"):
        for number in range(scenes):
            count = 0 if number == 0 else 1 + (number + 1) % 2
            image, masks = draw_scene(100 * place + number, count)
            save_picture(root / name / f"s{number}.png", image)
            (root / f"{name}_seg").mkdir(exist_ok=True)
            for k, mask in enumerate(masks):
                save_picture(root / f"{name}_seg" / f"s{number}_{k}.png", mask)
    return root


def masks_in(root, name):
    """Per scene of ``root/name`` the numbers of its masks."""
    found = {path.stem: [] for path in (root / name).glob("*.png")}
    for path in sorted((root / f"{name}_seg").glob("*.png")):
        scene, _, number = path.stem.rpartition("_")
        found[scene].append(int(number))
    return found


def tree(root):
    """Every file below ``root``, hidden ones included, as sorted relative paths."""
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


def only_error(err):
    """The one ``error:`` line on standard error; fails on two, none, or a traceback."""
    assert "Traceback" not in err, err
    lines = [line for line in err.splitlines() if line.lower().startswith("error:")]
    assert len(lines) == 1, err
    assert err.rstrip().splitlines()[-1] == lines[0], err  # nothing after it: it is one line
    return lines[0]


class Helpers:
    """Hands the functions above to the tests of this folder."""

    labels, tiny, machine = LABELS, TINY, MACHINE
    train_arguments, tiny_words = staticmethod(train_arguments), staticmethod(tiny_words)
    tiny_settings = staticmethod(tiny_settings)
    draw_scene, save_picture = staticmethod(draw_scene), staticmethod(save_picture)
    draw_folder, masks_in = staticmethod(draw_folder), staticmethod(masks_in)
    tree, only_error = staticmethod(tree), staticmethod(only_error)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Every test starts in an empty folder, so that default places are empty too."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)


@pytest.fixture(scope="session")
def kit():
    return Helpers


@pytest.fixture(scope="session")
def run_cli():
    """``run_cli("methods", "--json") -> (code, out, err)``."""
    return command


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Six 32 x 32 scenes a domain and split; the name gives the labels sheep and giraffe."""
    return draw_folder(tmp_path_factory.mktemp("photos") / "shp2gir_tiny")


@pytest.fixture(scope="session")
def finished(photos, tmp_path_factory):
    """A finished run of one epoch (six steps); tests must not change it."""
    runs = tmp_path_factory.mktemp("finished") / "runs"
    code, _, err = command(*train_arguments(photos, "--epochs", "1", "--runs", runs))
    assert code == 0, err
    return runs / "shp2gir_tiny" / "cyclegan_seg" / "seed0"


@pytest.fixture(scope="session")
def judge(tmp_path_factory):
    """Weights of a tiny untrained detector that knows sheep and giraffe."""
    return save_judge(tmp_path_factory.mktemp("judge") / "judge.safetensors", LABELS)


@pytest.fixture(scope="session")
def stranger(tmp_path_factory):
    """Weights of a tiny untrained detector that knows neither."""
    return save_judge(tmp_path_factory.mktemp("stranger") / "cars.safetensors", ("car", "bus"))


def save_judge(path, categories):
    config = SlimConfig(
        categories=categories, width=4, fpn=8, box_head=16, min_size=32, anchors=(4, 8, 16, 28)
    )
    torch.manual_seed(0)
    model = build_slim(config)
    for parameter in model.roi_heads.box_predictor.parameters():
        parameter.data.mul_(10)  # scores far apart
    save_slim(model, config, path, {})
    return path


@pytest.fixture(scope="session")
def read_lines():
    """A function that reads a file of one JSON object a line."""
    return lambda path: [json.loads(line) for line in path.read_text().splitlines()]
