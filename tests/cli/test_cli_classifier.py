"""``udit-bench classifier train``, and ``eval`` with what it wrote."""

import pytest


@pytest.fixture
def train(run_cli):
    def run(data, out, *more):
        return run_cli(*words(data, out, *more))

    return run


def words(data, out, *more):
    return (
        "classifier", "train", "--data", data, "--backbone", "small", "--input-size", 32,
        "--epochs", 1, "--device", "cpu", "--out", out, *more,
    )  # fmt: skip


def test_training_tells_accuracy_and_writes_one_file(train, photos, tmp_path):
    code, out, err = train(photos, tmp_path / "c.safetensors")
    assert code == 0, err
    assert "accuracy on" in out
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["c.safetensors"]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--backbone", "smal"), 2, "Did you mean 'small'"),
        (
            ("--backbone-weights", "absent.pth", "--backbone", "torchvision:resnet18"),
            3,
            "absent.pth",
        ),
        (("--epochs", "0"), 2, "--epochs"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(train, photos, tmp_path, more, code, message):
    got, _, err = train(photos, tmp_path / "c.safetensors", *more)
    assert got == code
    assert message in err
    assert not list(tmp_path.rglob("*.safetensors"))


def test_data_that_is_absent_is_named(train, tmp_path):
    code, _, err = train(tmp_path / "absent", tmp_path / "c.safetensors")
    assert code == 2
    assert "absent" in err
