"""``udit-bench bench``: its table, its JSON, and what it refuses."""

import json

import pytest

TINY = ("--size", "32", "--set", "ngf=4", "--set", "ndf=4", "--set", "blocks=1", "--steps", "1")


def test_bench_prints_json_with_its_circumstances(run_cli):
    code, out, err = run_cli(
        "bench", "train", "--method", "instagan", "--instances", "1,5", *TINY, "--json"
    )
    assert code == 0, err
    assert "ins_max=null" in err
    document = json.loads(out)
    assert {"what", "options", "commit", "hardware", "versions", "costs"} <= document.keys()
    assert [cost["instances"] for cost in document["costs"]] == [1, 5]
    assert {cost["phase"] for cost in document["costs"]} == {"train"}


def test_bench_translate_prints_ratios_to_the_first_count(run_cli):
    code, out, err = run_cli(
        "bench", "translate", "--method", "cyclegan_seg", "--instances", "1,2", *TINY
    )
    assert code == 0, err
    assert "cyclegan_seg" in out
    assert "x 1.00" in out
    assert "measured with" not in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--method", "instagam"), "instagan"),
        (("--instances", "two"), "1,2,4"),
        (("--size", "50"), "divide by 4"),
        (("--set", "ngff=3"), "ngff"),
        (("--ablation", "no-such"), "no-such"),
        (("--preset", "slow"), "quick"),
    ],
)
def test_bench_refuses_what_makes_no_sense(run_cli, words, told):
    method = () if "--method" in words else ("--method", "instagan")
    code, _, err = run_cli("bench", "train", *method, *words)
    assert code == 2
    assert told in err
    assert "Traceback" not in err
