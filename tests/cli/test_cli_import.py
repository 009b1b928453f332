"""``udit-bench import instagan``: the authors' files, old and new, and what is refused."""

import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from udit_bench.baselines.instagan import load_official, pack, ranks, translate_set
from udit_bench.scene import Scene, SceneBatch, tensor_to_image


@pytest.fixture(scope="module")
def state(real_data):
    with np.load(real_data("golden") / "instagan_forward.npz") as archive:
        return OrderedDict(
            (key.split("/", 2)[2], torch.from_numpy(value))
            for key, value in archive.items()
            if key.startswith("G/") and key.split("/")[1].isdigit()
        )


@pytest.fixture
def files(state, tmp_path):
    """Two checkpoints: A in today's form, B in the form before torch 1.6, its sign turned."""
    paths = tmp_path / "latest_net_G_A.pth", tmp_path / "latest_net_G_B.pth"
    torch.save(state, paths[0])
    turned = OrderedDict(state)
    turned["decoder_img.7.weight"] = -turned["decoder_img.7.weight"]
    torch.save(turned, paths[1], _use_new_zipfile_serialization=False)
    return paths


def expected_picture(state, folder, name, direction, source):
    """The translation by the authors' rules in double precision, to 8 bits."""
    image = np.array(Image.open(source / f"{name}.png").convert("RGB"))
    paths = sorted((source.parent / f"{source.name}_seg").glob(f"{name}_*.png"))
    masks = np.stack([np.asarray(Image.open(path)) > 127 for path in paths])
    batch = SceneBatch.from_scenes([Scene(image, masks, "thing", name)])
    weights = OrderedDict((k, v.double()) for k, v in state.items())
    if direction == "BtoA":
        weights["decoder_img.7.weight"] = -weights["decoder_img.7.weight"]
    scene = pack(SceneBatch(batch.images.double(), batch.masks.double(), batch.owner, batch.ids))
    with torch.no_grad():
        done = translate_set(load_official(weights), scene, ranks(scene.masks, scene.owner), 2)
    return tensor_to_image(done.images)[0], done.masks[:, 0] > 0


@pytest.mark.parametrize(("direction", "domain"), [("AtoB", "A"), ("BtoA", "B")])
def test_import_and_translate_give_the_authors_pictures(
    run_cli, kit, state, files, tmp_path, direction, domain
):
    data = kit.draw_folder(tmp_path / "data")
    code, out, err = run_cli(
        "import", "instagan", *files, "--out", tmp_path / "run", "--data", data, "--size", 32,
        "--labels", "sheep,giraffe",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "udit-bench eval" in out
    assert run_cli("translate", tmp_path / "run", "--out", tmp_path / "out")[0] == 0
    for number in range(1, 6):
        picture, masks = expected_picture(
            state, tmp_path, f"s{number}", direction, data / f"test{domain}"
        )
        folder = tmp_path / "out" / direction
        given = np.asarray(Image.open(folder / "images" / f"s{number}.png"))
        assert np.abs(given.astype(int) - picture).max() <= 1
        for k, mask in enumerate(masks):
            saved = np.asarray(Image.open(folder / "masks" / f"s{number}_{k}.png")) > 127
            assert (saved != mask.numpy()).mean() < 0.002


def test_an_imported_run_is_judged_and_says_that_it_is_imported(
    run_cli, kit, files, tmp_path, judge, read_lines
):
    data = kit.draw_folder(tmp_path / "data", splits=("test",))
    run = tmp_path / "runs" / "theirs"
    labels = ("--labels", "sheep,giraffe")
    run_cli("import", "instagan", *files, "--out", run, "--data", data, "--size", 32, *labels)
    code, _, err = run_cli("eval", run, "--detector-weights", judge)
    assert code == 0, err
    records = [r for r in read_lines(Path("results/records.jsonl")) if r["kind"] == "method"]
    assert {(r["title"], r["variant"]) for r in records} == {("InstaGAN (imported)", "imported")}
    assert {r["cost"]["train_seconds"] for r in records} == {None}


def test_resuming_an_imported_run_finds_nothing_to_do(run_cli, kit, files, tmp_path):
    data = kit.draw_folder(tmp_path / "data")
    run = tmp_path / "runs" / "data" / "theirs" / "seed0"
    words = ("--data", data, "--labels", "sheep,giraffe")
    run_cli("import", "instagan", *files, "--out", run, *words, "--size", 32)
    before = (run / "checkpoints/last/tensors.safetensors").read_bytes()
    code, _, err = run_cli(
        "train", "--method", "instagan", "--name", "theirs", "--runs", tmp_path / "runs",
        "--resume", *words,
    )  # fmt: skip
    assert code == 0, err
    assert (run / "checkpoints/last/tensors.safetensors").read_bytes() == before


def refused(run_cli, kit, *files, out):
    code, _, err = run_cli("import", "instagan", *files, "--out", out)
    assert code == 3
    assert not out.exists()
    return kit.only_error(err)


def test_the_first_key_that_does_not_fit_is_named(run_cli, kit, state, files, tmp_path):
    broken = OrderedDict(state)
    del broken["encoder_seg.7.weight"]
    torch.save(broken, files[1])
    told = refused(run_cli, kit, *files, out=tmp_path / "run")
    assert "latest_net_G_B.pth" in told
    assert "encoder_seg.7.weight" in told


def test_a_discriminator_is_no_generator(run_cli, kit, real_data, files, tmp_path):
    with np.load(real_data("golden") / "instagan_forward.npz") as archive:
        state = {
            key.split("/", 2)[2]: torch.from_numpy(value)
            for key, value in archive.items()
            if key.startswith("Dconv/") and key.split("/")[1].isdigit()
        }
    torch.save(state, files[0])
    assert "discriminator" in refused(run_cli, kit, *files, out=tmp_path / "run")


def test_two_depths_are_not_of_one_model(run_cli, kit, state, files, tmp_path):
    shallow = {k: v for k, v in state.items() if k.split(".")[1] != "11"}
    torch.save(shallow, files[1])
    assert "not of one model" in refused(run_cli, kit, *files, out=tmp_path / "run")


class Harmful:
    ran = False

    def __reduce__(self):
        return (setattr, (Harmful, "ran", True))


def test_code_in_a_checkpoint_is_not_run(run_cli, kit, files, tmp_path):
    files[0].write_bytes(pickle.dumps({"encoder_img.1.weight": Harmful()}, 2))
    told = refused(run_cli, kit, *files, out=tmp_path / "run")
    assert "latest_net_G_A.pth" in told
    assert not Harmful.ran


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04cut"])
def test_a_damaged_file_is_one_message(run_cli, kit, files, tmp_path, content):
    files[0].write_bytes(content)
    assert "latest_net_G_A.pth" in refused(run_cli, kit, *files, out=tmp_path / "run")


def test_a_missing_file_is_named(run_cli, kit, files, tmp_path):
    told = refused(run_cli, kit, tmp_path / "none.pth", files[1], out=tmp_path / "run")
    assert "none.pth" in told


def test_an_existing_run_is_left_alone(run_cli, kit, files, tmp_path):
    (tmp_path / "run").mkdir()
    code, _, err = run_cli("import", "instagan", *files, "--out", tmp_path / "run")
    assert code == 2
    assert "--out" in kit.only_error(err)
    assert list((tmp_path / "run").iterdir()) == []
