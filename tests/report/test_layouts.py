"""Classification, quality, cost, sensitivity, agreement, differences, and published figures."""

import io
import shutil
import subprocess

import pandas as pd
import pytest

from udit_bench.errors import DataError, RecordsError, UsageError
from udit_bench.instance_lines import INSTANCE_COLUMNS, instance_columns, merge_instances
from udit_bench.records import Cost, GridValue, Record, Value, merge_records
from udit_bench.report.html import standalone_html
from udit_bench.report.published import read_published
from udit_bench.report.render import standalone_document, to_csv, to_latex
from udit_bench.report.tables import LAYOUTS, build_table

SHA = "1a2b3c4d" + "0" * 56
TORCHVISION = {
    "backend": "torchvision", "architecture": "slim", "weights": SHA, "score_floor": 0.05,
    "input_size": 128,
}  # fmt: skip
DETECTRON2 = {**TORCHVISION, "backend": "detectron2", "architecture": "slim2"}
CLASSIFIER = {"backbone": "small", "weights": SHA, "labels": ["sheep", "giraffe"]}
MACHINE = {"hardware": {"processor": "a processor", "gpu": None}, "threads": 1, "device": "cpu"}


def record(row="instagan", direction="AtoB", values=None, **fields):
    source, target = ("sheep", "giraffe") if direction == "AtoB" else ("giraffe", "sheep")
    held = {
        "kind": "method",
        "row": row,
        "title": {"instagan": "InstaGAN", "mgdgan": "MGD-GAN"}.get(row, row),
        "dataset": "farm",
        "direction": direction,
        "source": source,
        "target": target,
        "split": "test",
        "size": (64, 64),
        "manifest": {"A": "a", "B": "b"},
        "protocol": {"name": "retrieval", "iou_threshold": 0.5},
        "detector": TORCHVISION,
        "seed": 0,
        "images": 2,
        "instances": 4,
        "metrics": {name: Value(value=v) for name, v in (values or {"mmr": 50.0}).items()},
        "context": {"commit": "c0ffee", "train": MACHINE},
    }
    return Record(**{**held, **fields})


def cells(table, title):
    (row,) = (row for row in table.rows if row.title == title)
    return ["/".join(part.text for part in cell) for cell in row.cells]


def bold(table, title):
    (row,) = (row for row in table.rows if row.title == title)
    return ["/".join("*" if part.bold else "-" for part in cell) for cell in row.cells]


def frame(table):
    return pd.read_csv(io.StringIO(to_csv(table)))


# ------------------------------------------------------------------------------ classification


def classified(row, whole, masked, direction, **fields):
    values = {"mmr": 1.0, "cls": whole, "cls_masked": masked}
    return record(row, direction, values, classifier=CLASSIFIER, **fields)


def test_classification_has_whole_and_masked_scores_by_generated_class():
    records = [
        classified("instagan", 40.0, 30.0, "AtoB"), classified("instagan", 60.0, 20.0, "BtoA"),
        classified("mgdgan", 50.0, 30.0, "AtoB"), classified("mgdgan", 10.0, 25.0, "BtoA"),
    ]  # fmt: skip
    table = build_table(records, "classification")
    assert cells(table, "InstaGAN") == ["60.0/40.0", "20.0/30.0"]
    assert bold(table, "InstaGAN") == ["*/-", "-/*"]  # a tie is bold twice
    assert bold(table, "MGD-GAN") == ["-/*", "*/*"]
    assert "small (weights 1a2b3c4d)" in table.caption


def test_classification_needs_a_classifier_and_only_one():
    with pytest.raises(DataError, match="classifier"):
        build_table([record()], "classification")
    other = {**CLASSIFIER, "backbone": "vgg16"}
    records = [classified("instagan", 1, 2, "AtoB"), classified("mgdgan", 1, 2, "AtoB")]
    records[1] = records[1].model_copy(update={"classifier": other})
    with pytest.raises(RecordsError, match=r"classifier.backbone.*small.*vgg16"):
        build_table(records, "classification")


def test_published_classification_scores_stand_beside_and_are_never_bold():
    records = [classified("instagan", 40.0, 30.0, side) for side in ("AtoB", "BtoA")]
    table = build_table(records, "classification", published=True)
    assert [group.head for group in table.groups] == [
        "sheep/giraffe", "sheep/giraffe published (protocol not public)",
    ]  # fmt: skip
    assert cells(table, "InstaGAN") == ["40.0/40.0", "30.0/30.0", "--/--", "64.2/78.1"]
    assert cells(table, "CycleGAN") == ["--/--", "--/--", "--/--", "51.2/59.4"]
    assert bold(table, "InstaGAN")[3] == "-/-"


# ------------------------------------------------------------------------------------- quality


def test_quality_ranks_each_metric_its_own_way():
    better = {"residual": 5.0, "bg_psnr": 38.04, "bg_ssim": 0.9876, "bg_l1": 1.234}
    worse = {"residual": 9.0, "bg_psnr": 25.4, "bg_ssim": 0.9, "bg_l1": 5.0}
    table = build_table([record("mgdgan", values=better), record(values=worse)], "quality")
    assert table.groups[0].columns == ("Residual", "PSNR (dB)", "SSIM", "L1 (levels of 255)")
    assert cells(table, "MGD-GAN") == ["--/5.0", "--/38.0", "--/0.988", "--/1.23"]
    assert bold(table, "MGD-GAN") == ["-/*"] * 4
    assert "lower is better" in table.caption


def test_quality_without_such_metrics_says_so():
    with pytest.raises(DataError, match="eval"):
        build_table([record()], "quality")


# ---------------------------------------------------------------------------------------- cost


def test_cost_is_the_mean_of_seeds_with_the_machine():
    records = [
        record(seed=seed, direction=side, cost=Cost(
            train_seconds=seconds, epoch_seconds=seconds / 4, parameters=2_345_678,
            peak_memory_mib=800, images_per_second=speed,
        ))
        for seed, seconds in ((0, 100.0), (1, 140.0))
        for side, speed in (("AtoB", 9.0), ("BtoA", 11.0))
    ]  # fmt: skip
    table = build_table(records, "cost")
    assert cells(table, "InstaGAN") == ["2.0 min", "30.0", "800", "2.35", "10.0"]
    assert "a processor, threads: 1" in table.caption
    line = frame(table).iloc[0]
    assert (line.train_seconds, line.parameters, line.seeds) == (120.0, 2_345_678, 2)


def test_cost_says_how_many_processes_trained_together():
    context = {"commit": "c0ffee", "train": {**MACHINE, "processes": 4}}
    table = build_table([record(context=context, cost=Cost(train_seconds=9.0))], "cost")
    assert "4 x (a processor, threads: 1)" in table.caption


def test_cost_has_the_papers_hours_for_its_own_pair():
    table = build_table(
        [record(), record("mgdgan"), record("mgdgan", "BtoA")], "cost", published=True
    )
    assert [cells(table, t)[-1] for t in ("InstaGAN", "MGD-GAN")] == ["150 h", "57 h"]
    other = record(source="cup", target="bottle")
    assert cells(build_table([other], "cost", published=True), "InstaGAN")[-1] == "--"


def test_cost_is_missing_where_one_seed_has_none():
    records = [record(seed=0, cost=Cost(train_seconds=1.0)), record(seed=1)]
    assert cells(build_table(records, "cost"), "InstaGAN") == ["--"] * 5


def test_bounds_cost_nothing_and_are_left_out():
    bound = record("real", kind="bound", seed=None)
    assert [row.title for row in build_table([bound, record()], "cost").rows] == ["InstaGAN"]
    with pytest.raises(DataError, match="train"):
        build_table([bound], "cost")


# --------------------------------------------------------------------------------- sensitivity


def grid(base):
    return [
        GridValue(score_floor=floor, iou_threshold=iou, mmr=base - 10 * iou, mods=base, mvis=floor)
        for floor in (0.05, 0.5)
        for iou in (0.3, 0.5)
    ]


def test_sensitivity_has_a_line_per_score_floor():
    records = [record(seed=0, sensitivity=grid(80)), record(seed=1, sensitivity=grid(60))]
    table = build_table(records, "sensitivity")
    assert table.groups[0].columns == ("MMR, IoU 0.3", "MMR, IoU 0.5", "MODS", "MVIS")
    assert [row.title for row in table.rows] == ["InstaGAN, 0.05", "InstaGAN, 0.5"]
    assert cells(table, "InstaGAN, 0.5") == ["--/67.0", "--/65.0", "--/70.0", "--/0.5"]
    held = frame(table).set_index(["score_floor", "iou_threshold"])
    assert held.loc[(0.05, 0.3), "mmr"] == 67.0
    assert len(held) == 4


def test_sensitivity_of_old_records_says_what_to_do():
    with pytest.raises(DataError, match="eval"):
        build_table([record()], "sensitivity")


# ---------------------------------------------------------------- agreement and differences


def write_lines(path, *pairs):
    """``pairs``: a record and its instances as (picture, number, iou, score)."""
    lines = []
    for held, instances in pairs:
        for image, number, iou, score in instances:
            lines.append({
                **instance_columns(held), "image": image, "instance": number, "iou": iou,
                "score": score, "matched": int(iou >= 0.5), "reason": "",
            })  # fmt: skip
    assert set(lines[0]) == set(INSTANCE_COLUMNS)
    merge_instances(path, [held for held, _ in pairs], lines)
    return path


def four(*ious, score=0.9):
    return [(f"p{k // 2}", k % 2, iou, score) for k, iou in enumerate(ious)]


def test_agreement_counts_instances_with_one_verdict(tmp_path):
    """InstaGAN: three of four verdicts are alike; MGD-GAN: two. The detectors rank differently."""
    one = [record(values={"mmr": 50.0}), record("mgdgan", values={"mmr": 75.0})]
    two = [
        record(values={"mmr": 75.0}, detector=DETECTRON2),
        record("mgdgan", values={"mmr": 25.0}, detector=DETECTRON2),
    ]
    path = write_lines(
        tmp_path / "i.csv",
        (one[0], four(0.9, 0.8, 0.1, 0.2)), (one[1], four(0.9, 0.8, 0.7, 0.2)),
        (two[0], four(0.9, 0.8, 0.6, 0.2)), (two[1], four(0.9, 0.1, 0.1, 0.2)),
    )  # fmt: skip
    table = build_table([*one, *two], "agreement", instances=path)
    assert table.groups[0].columns == (
        "MMR torchvision", "rank torchvision", "MMR detectron2", "rank detectron2",
        "agree with detectron2",
    )  # fmt: skip
    assert cells(table, "InstaGAN") == ["--/50.0", "--/2", "--/75.0", "--/1", "--/75.0"]
    assert cells(table, "MGD-GAN") == ["--/75.0", "--/1", "--/25.0", "--/2", "--/50.0"]
    assert "generated giraffe: ranked differently: InstaGAN, MGD-GAN." in table.caption
    assert set(frame(table).agree) == {100.0, 75.0, 50.0}


def test_agreement_of_equal_rankings_says_so(tmp_path):
    pairs = [(record(detector=d), four(0.9, 0.9, 0.1, 0.1)) for d in (TORCHVISION, DETECTRON2)]
    path = write_lines(tmp_path / "i.csv", *pairs)
    table = build_table([held for held, _ in pairs], "agreement", instances=path)
    assert "generated giraffe: ranked alike." in table.caption
    assert cells(table, "InstaGAN")[-1] == "--/100.0"


def test_agreement_needs_two_detectors():
    with pytest.raises(DataError, match="--detector torchvision --detector detectron2"):
        build_table([record()], "agreement")


def test_agreement_is_refused_where_lines_are_missing(tmp_path):
    records = [record(), record(detector=DETECTRON2)]
    path = write_lines(tmp_path / "i.csv", (records[0], four(0.9, 0.8, 0.1, 0.2)))
    with pytest.raises(DataError, match=r"0 lines for InstaGAN.*4 instances"):
        build_table(records, "agreement", instances=path)
    with pytest.raises(DataError, match="no instances at"):
        build_table(records, "agreement", instances=tmp_path / "absent.csv")


def many(ious):
    return [(f"p{k}", 0, iou, 0.9) for k, iou in enumerate(ious)]


def test_differences_are_paired_and_marked(tmp_path):
    """MGD-GAN is 0.1 to 0.3 better on each of 20 pictures, though pictures vary much more."""
    base = [0.05 + 0.03 * k for k in range(20)]
    other = [iou + 0.1 * (1 + k % 3) for k, iou in enumerate(base)]
    ours, theirs = (record(row, instances=20) for row in ("instagan", "mgdgan"))
    path = write_lines(tmp_path / "i.csv", (ours, many(base)), (theirs, many(other)))
    table = build_table([ours, theirs], "differences", instances=path, baseline="InstaGAN")
    assert [row.title for row in table.rows] == ["MGD-GAN"]
    held = frame(table).set_index("metric")
    mean = 100 * sum(0.1 * (1 + k % 3) for k in range(20)) / 20
    assert held.difference.mvis == pytest.approx(mean, abs=1e-6)
    assert 10 < held.low.mvis < mean < held.high.mvis < 30
    mvis = dict(zip(table.groups[0].columns, cells(table, "MGD-GAN"), strict=True))["MVIS giraffe"]
    assert mvis.startswith(f"+{mean:.1f}* [+")
    assert held.difference["mods"] == 0  # constant: no interval, no mark
    assert (
        dict(zip(table.groups[0].columns, cells(table, "MGD-GAN"), strict=True))["MODS giraffe"]
        == "+0.0 --"
    )


def test_a_difference_of_noise_is_not_marked(tmp_path):
    base = [0.5] * 12
    other = [0.4, 0.6] * 6
    ours, theirs = (record(row, instances=12) for row in ("instagan", "mgdgan"))
    path = write_lines(tmp_path / "i.csv", (ours, many(base)), (theirs, many(other)))
    table = build_table([ours, theirs], "differences", instances=path, baseline="instagan")
    held = frame(table).set_index("metric")
    assert held.low.mvis < 0 < held.high.mvis
    shown = dict(zip(table.groups[0].columns, cells(table, "MGD-GAN"), strict=True))
    assert "*" not in shown["MVIS giraffe"]
    assert "*" in shown["MMR giraffe"]  # every second match is lost: that is no noise


def test_seeds_are_averaged_before_pairing(tmp_path):
    seeds = [record("mgdgan", seed=s, instances=2) for s in (0, 1)]
    base = record(instances=2)
    path = write_lines(
        tmp_path / "i.csv", (base, many([0.2, 0.4])), (seeds[0], many([0.4, 0.4])),
        (seeds[1], many([0.2, 0.8])),
    )  # fmt: skip
    table = build_table([base, *seeds], "differences", instances=path)
    assert frame(table).set_index("metric").difference.mvis == pytest.approx(15.0)  # 0.45 - 0.3
    assert "MGD-GAN 2" in table.caption


def test_rows_judged_on_other_pictures_cannot_be_paired(tmp_path):
    ours, theirs = record(instances=2), record("mgdgan", instances=2)
    other = [("q0", 0, 0.5, 0.9), ("q1", 0, 0.5, 0.9)]
    path = write_lines(tmp_path / "i.csv", (ours, many([0.2, 0.4])), (theirs, other))
    with pytest.raises(RecordsError, match="different instances"):
        build_table([ours, theirs], "differences", instances=path)


def test_an_unknown_baseline_lists_the_rows(tmp_path):
    with pytest.raises(UsageError, match=r"unknown baseline 'InstGAN'.*InstaGAN"):
        build_table([record(), record("mgdgan")], "differences", baseline="InstGAN")


# ----------------------------------------------------------------------------------- published


def test_both_versions_of_row_a_are_kept():
    mods = {
        name: [f.value for f in read_published([name])
               if (f.row, f.ablation, f.metric, f.target) == ("mgdgan", "", "mods", "sheep")
               and f.source == "giraffe"]
        for name in ("mgdgan_table1", "mgdgan_table2")
    }  # fmt: skip
    assert mods == {"mgdgan_table1": ["46.0"], "mgdgan_table2": ["46.1"]}


def test_published_figures_are_whole():
    counts = {
        name: len(read_published([name]))
        for name in (
            "mgdgan_table1", "mgdgan_table2", "mgdgan_cost", "instagan_table1", "instagan_table2",
        )
    }  # fmt: skip
    assert counts == {
        "mgdgan_table1": 3 * 18, "mgdgan_table2": 5 * 6, "mgdgan_cost": 4, "instagan_table1": 24,
        "instagan_table2": 24,
    }  # fmt: skip
    (value,) = (
        f.value for f in read_published(["mgdgan_table1"])
        if (f.row, f.source, f.target, f.metric) == ("instagan", "bottle", "cup", "mods")
    )  # fmt: skip
    assert value == "20.8"


def test_table1_with_published_figures_keeps_the_papers_digits():
    records = [record(direction=side) for side in ("AtoB", "BtoA")]
    table = build_table(records, published=True)
    assert cells(table, "InstaGAN")[3:] == ["16.7/30.3", "19.5/50.0", "17.8/37.2"]
    assert cells(table, "GT")[:3] == ["--/--"] * 3
    assert cells(table, "GT")[3] == "63.3/88.8"
    assert "not comparable" in table.caption


# --------------------------------------------------------------------------------- every layout


@pytest.fixture
def everything(tmp_path):
    """Records that every layout can show, and the CSV of instances."""
    values = {"mmr": 50.0, "mods": 40.0, "mvis": 30.0, "cls": 1.0, "cls_masked": 2.0, "bg_l1": 3.0}
    records = [
        record(row, side, values, detector=detector, sensitivity=grid(50), classifier=CLASSIFIER,
               ablation=ablation, variant=ablation or "", instances=2,
               title=f"{row} {ablation or ''} 100 % of $a_b$ & <c>")
        for row, ablation in (("instagan", None), ("mgdgan", None), ("mgdgan", "no-reg"))
        for side in ("AtoB", "BtoA")
        for detector in (TORCHVISION, DETECTRON2)
    ]  # fmt: skip
    path = write_lines(tmp_path / "i.csv", *((r, many([0.2, 0.7])) for r in records))
    return records, path


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_latex_of_every_layout_compiles_alone(layout, everything, tmp_path):
    records, path = everything
    if layout != "agreement":
        records = [r for r in records if r.detector["backend"] == "torchvision"]
    table = build_table(records, layout, instances=path, published=layout in ("table1", "cost"))
    latex = to_latex(table)
    for line in latex.splitlines():
        assert line.count("{") - line.count("}") == line.count("\\{") - line.count("\\}"), line
    assert frame(table).shape[0] > 0
    assert "<script" not in standalone_html(table)
    assert "&lt;c&gt;" in standalone_html(table)
    compiler = shutil.which("pdflatex")
    if compiler is None:
        pytest.skip("pdflatex is not installed: the braces were counted, nothing was compiled")
    (tmp_path / "t.tex").write_text(standalone_document(latex), encoding="utf-8")
    done = subprocess.run(
        [compiler, "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]


# ------------------------------------------------------------------- what must not share a table


def trained(row, seed, preset="quick", **settings):
    held = {**MACHINE, "preset": preset, "steps": 9, "split": "train", "settings": settings}
    return record(row, seed=seed, context={"commit": "c", "train": held})


def test_seeds_trained_differently_are_not_averaged():
    same = [trained("mgdgan", seed, lr=0.1) for seed in (0, 1)]
    assert "mean ± standard deviation (ddof 1) of 2 seeds" in build_table(same).caption
    with pytest.raises(RecordsError, match=r"train.preset \(quick.*paper"):
        build_table([trained("mgdgan", 0), trained("mgdgan", 1, "paper")])
    with pytest.raises(RecordsError, match=r"train.lr \(0.1.*0.2"):
        build_table([trained("mgdgan", 0, lr=0.1), trained("mgdgan", 1, lr=0.2)])


def test_only_rows_that_both_detectors_judged_are_ranked(tmp_path):
    both = [record(detector=d) for d in (TORCHVISION, DETECTRON2)]
    alone = record("mgdgan")
    pairs = [(r, four(0.9, 0.9, 0.1, 0.1)) for r in (*both, alone)]
    path = write_lines(tmp_path / "i.csv", *pairs)
    table = build_table([*both, alone], "agreement", instances=path)
    assert "Not ranked, since not all judged the same seeds: MGD-GAN." in table.caption
    assert "generated giraffe: ranked alike." in table.caption
    assert cells(table, "MGD-GAN") == ["--/50.0", "--/--", "--/--", "--/--", "--/--"]


def test_kid_by_other_inception_weights_is_refused():
    held = {"inception": "a" * 64, "kid_subsets": 100, "kid_seed": 0}
    records = [
        record(row, values={"kid": 0.1}, fidelity={**held, "inception": name})
        for row, name in (("instagan", "a"), ("mgdgan", "b"))
    ]
    with pytest.raises(RecordsError, match=r"fidelity.inception \(a.*b"):
        build_table(records, "quality")


def test_a_row_of_which_one_seed_was_not_classified_stays_and_is_missing():
    seeds = [classified("mgdgan", 50.0, 40.0, "AtoB", seed=0), record("mgdgan", seed=1)]
    bound = record("real", kind="bound", seed=None)
    table = build_table([bound, *seeds], "classification")
    assert [row.title for row in table.rows] == ["real", "MGD-GAN"]
    assert cells(table, "MGD-GAN") == ["--/--", "--/--"]


def test_the_only_row_has_no_difference(tmp_path):
    path = write_lines(tmp_path / "i.csv", (record(), four(0.9, 0.8, 0.1, 0.2)))
    with pytest.raises(DataError, match="two rows"):
        build_table([record()], "differences", instances=path, baseline="InstaGAN")


def test_no_zero_has_a_sign():
    table = build_table([record(values={"kid": -0.00001})], "quality")
    assert cells(table, "InstaGAN") == ["--/0.0000"]


# ------------------------------------------------------------------------------ merging records


def test_judging_again_keeps_what_was_asked_for_before():
    asked = record(values={"mmr": 50.0, "kid": 0.1, "cls": 9.0}, classifier=CLASSIFIER,
                   fidelity={"inception": "x"})  # fmt: skip
    plain = record(values={"mmr": 50.0})
    (merged,) = merge_records([asked], [plain])
    assert set(merged.metrics) == {"mmr", "kid", "cls"}
    assert merged.classifier == CLASSIFIER
    assert merged.fidelity == {"inception": "x"}
    (other,) = merge_records([asked], [record(values={"mmr": 51.0})])  # other pictures
    assert set(other.metrics) == {"mmr"}
    assert other.classifier is None
