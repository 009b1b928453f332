"""``train``: what a run leaves behind, what it refuses, and that it can be repeated."""

import json
import logging

import pytest
import torch
import yaml
from safetensors.torch import load_file


def weights(run):
    return load_file(run / "checkpoints/last/tensors.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_dry_run_prints_the_plan_and_writes_nothing(run_cli, kit, photos, tmp_path):
    runs = tmp_path / "runs"
    code, out, err = run_cli(
        *kit.train_arguments(photos, "--epochs", "3", "--runs", runs, "--dry-run")
    )
    assert code == 0, err
    plan = yaml.safe_load(out)
    assert plan["steps"] == 18
    assert plan["scenes"] == {"split": "train", "sheep": 6, "giraffe": 6}
    assert plan["config"]["settings"]["size"] == [32, 32]
    assert plan["config"]["preset"] == "paper"
    assert plan["parameters"] > 0
    assert kit.tree(tmp_path) == []


def test_dry_run_with_no_other_flag_plans_pasture_at_quick(run_cli, kit, tmp_path):
    code, out, err = run_cli("train", "--method", "cyclegan_seg", "--dry-run")
    assert code == 0, err
    plan = yaml.safe_load(out)
    assert plan["run"] == "runs/pasture/cyclegan_seg/seed0"
    assert plan["config"]["preset"] == "quick"
    assert kit.tree(tmp_path) == []


def test_finished_run_holds_config_state_log_samples_and_checkpoints(finished, read_lines, kit):
    assert [name for name in kit.tree(finished) if name.startswith("checkpoints/last/")] == [
        "checkpoints/last/state.json",
        "checkpoints/last/tensors.safetensors",
    ]
    assert (finished / "checkpoints/epoch-0001/tensors.safetensors").is_file()
    assert (finished / "samples/train-0001.png").is_file()
    assert not [name for name in kit.tree(finished) if name.endswith((".tmp", ".old"))]
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert config["method"] == "cyclegan_seg"
    assert config["settings"]["epochs"] == 1
    info = json.loads((finished / "run.json").read_text())
    assert info["state"] == "finished"
    assert info["steps"] == 6
    assert (info["dataset"], info["split"]) == ("shp2gir_tiny", "train")
    assert info["labels"] == ["sheep", "giraffe"]
    assert info["started"] <= info["ended"]
    assert info["parameters"] > 0
    assert info["versions"]["torch"] == torch.__version__.partition("+")[0]
    lines = read_lines(finished / "log.jsonl")
    assert lines[0]["step"] == 1
    assert {"adv", "cycle", "identity", "D_A", "D_B"} <= set(lines[0]["losses"])


def test_plain_lines_instead_of_a_bar_where_there_is_no_terminal(run_cli, kit, photos, tmp_path):
    code, out, err = run_cli(*kit.train_arguments(photos, "--epochs", "1", "--runs", tmp_path))
    assert code == 0, err
    assert "step 6/6" in out
    assert "it/s" in out
    assert "\x1b" not in out + err
    assert out.splitlines()[-1].startswith(f"trained {tmp_path}")


def test_existing_run_is_never_overwritten(run_cli, kit, photos, finished):
    runs = finished.parents[2]
    before = {name: (finished / name).stat().st_mtime_ns for name in kit.tree(finished)}
    code, _, err = run_cli(*kit.train_arguments(photos, "--epochs", "1", "--runs", runs))
    assert code == 2
    line = kit.only_error(err)
    assert "--resume" in line
    assert "--name" in line
    assert {name: (finished / name).stat().st_mtime_ns for name in kit.tree(finished)} == before


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (("--set", "lr=0.01"), "lr"),
        (("--epochs", "2"), "epochs"),
        (("--precision", "bf16"), "precision"),
        (("--labels", "cow,llama"), "labels"),
    ],
)
def test_resume_refuses_other_settings(run_cli, kit, photos, finished, change, key):
    runs = finished.parents[2]
    words = kit.train_arguments(photos, "--runs", runs, "--resume", *change)
    code, _, err = run_cli(*words)
    assert code == 2
    assert f"{key} differs" in kit.only_error(err)


@pytest.mark.parametrize("said", ["the same words", "only the method and the data"])
def test_resume_of_a_finished_run_changes_no_weight(run_cli, kit, photos, tmp_path, said):
    whole = kit.train_arguments(photos, "--epochs", "1", "--runs", tmp_path)
    assert run_cli(*whole)[0] == 0
    run = tmp_path / "shp2gir_tiny/cyclegan_seg/seed0"
    before, log = weights(run), (run / "log.jsonl").read_text()
    short = ("train", "--method", "cyclegan_seg", "--data", photos, "--runs", tmp_path)
    words = whole if said == "the same words" else (*short, "--device", "cpu")
    code, out, err = run_cli(*words, "--resume")
    assert code == 0, err
    assert "6 steps" in out
    assert same(weights(run), before)
    assert (run / "log.jsonl").read_text() == log
    assert json.loads((run / "run.json").read_text())["state"] == "finished"


def test_resume_without_a_run_starts_one(run_cli, kit, photos, tmp_path):
    words = kit.train_arguments(photos, "--epochs", "1", "--runs", tmp_path, "--resume")
    assert run_cli(*words)[0] == 0
    assert (tmp_path / "shp2gir_tiny/cyclegan_seg/seed0/run.json").is_file()


def test_config_of_a_run_repeats_it_bit_for_bit(run_cli, kit, finished, tmp_path):
    code, _, err = run_cli(
        "train", "--config", finished / "config.yaml", "--name", "again", "--runs", tmp_path,
        "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    again = tmp_path / "shp2gir_tiny/again/seed0"
    assert same(weights(again), weights(finished))
    assert (again / "config.yaml").read_text() == (finished / "config.yaml").read_text()


def test_another_seed_gives_other_weights_beside_the_first(run_cli, kit, photos, finished):
    runs = finished.parents[2]
    words = kit.train_arguments(photos, "--epochs", "1", "--runs", runs, "--name", "other")
    assert run_cli(*words, "--seed", "1")[0] == 0
    assert not same(weights(runs / "shp2gir_tiny/other/seed1"), weights(finished))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--method", "cyclegan_sgg"), ["cyclegan_sgg", "Did you mean 'cyclegan_seg'?"]),
        (("--method", "cyclegan_seg", "--preset", "qick"), ["qick", "paper", "quick"]),
        (("--method", "cyclegan_seg", "--ablation", "no_cycle"), ["no_cycle"]),
        (("--method", "cyclegan_seg", "--set", "ngff=4"), ["ngff", "ngf"]),
        (("--method", "cyclegan_seg", "--set", "ngf=wide"), ["ngf", "wide"]),
        (("--method", "cyclegan_seg", "--set", "size=8"), ["size", "32"]),
        (("--method", "cyclegan_seg", "--set", "lr=-1"), ["lr", "-1"]),
        (("--method", "cyclegan_seg", "--set", "ngf"), ["ngf", "key=value"]),
        (("--method", "cyclegan_seg", "--set", "ngf=[4"), ["ngf=[4"]),
        (("--method", "cyclegan_seg", "--epochs", "2", "--set", "epochs=3"), ["--epochs"]),
        (("--method", "cyclegan_seg", "--config", "absent.yaml"), ["absent.yaml"]),
        (("--method", "cyclegan_seg", "--labels", "a,b", "--data", "pasture"), ["labels"]),
        (("--method", "cyclegan_seg", "--data", "pastur"), ["pastur", "Did you mean 'pasture'?"]),
        (("--method", "cyclegan_seg", "--data", "no/such/folder"), ["no/such/folder"]),
        ((), ["--method", "cyclegan_seg"]),
    ],
)
def test_wrong_words_are_usage_errors_that_name_them(run_cli, kit, tmp_path, words, expected):
    code, _, err = run_cli("train", *words, "--device", "cpu", "--runs", tmp_path / "runs")
    assert code == 2
    line = kit.only_error(err)
    assert all(part in line for part in expected), line
    assert kit.tree(tmp_path) == []


@pytest.mark.parametrize(
    "words", [("--epochs", "0"), ("--seed", "-1"), ("--precision", "fp8"), ("--device", "tpu")]
)
def test_values_out_of_range_are_usage_errors(run_cli, kit, photos, words):
    code, _, err = run_cli("train", "--method", "cyclegan_seg", "--data", photos, *words)
    assert code == 2
    assert words[0] in kit.only_error(err)


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_cuda_without_a_gpu_is_a_usage_error(run_cli, kit, photos, tmp_path, monkeypatch, dry):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    runs = tmp_path / "runs"
    words = ("train", "--method", "cyclegan_seg", "--data", photos, *kit.tiny, "--runs", runs)
    code, _, err = run_cli(*words, "--device", "cuda", *dry)
    assert code == 2
    assert "--device cuda" in kit.only_error(err)
    assert kit.tree(tmp_path) == []


@pytest.fixture
def samples_only(kit, tmp_path):
    return kit.draw_folder(tmp_path / "shp2gir_samples", splits=("sample",), scenes=3)


def test_folder_of_samples_trains_with_a_warning_and_has_no_test_split(
    run_cli, kit, samples_only, tmp_path, caplog
):
    runs = tmp_path / "runs"
    with caplog.at_level(logging.WARNING):
        code, _, err = run_cli(*kit.train_arguments(samples_only, "--epochs", "1", "--runs", runs))
    assert code == 0, err
    assert [r for r in caplog.records if "only sample pictures" in r.getMessage()]
    run = runs / "shp2gir_samples/cyclegan_seg/seed0"
    assert json.loads((run / "run.json").read_text())["split"] == "sample"
    for words in (("translate", run), ("eval", run, "--results", tmp_path / "results")):
        code, _, err = run_cli(*words, "--split", "test", "--device", "cpu")
        assert code == 3
        assert "no split 'test'" in kit.only_error(err)
        assert not (run / "translations").exists()
        assert not (tmp_path / "results").exists()
    code, _, err = run_cli("translate", run, "--split", "sample", "--device", "cpu")
    assert code == 0, err
    assert (run / "translations/sample-32x32/nearest/AtoB/images/s0.png").is_file()
