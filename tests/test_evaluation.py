"""Rows judged by a detector that sees what the test says."""

import csv

import numpy as np
import pytest

from udit_bench.datasets.base import SceneSource
from udit_bench.errors import DataError
from udit_bench.evaluation import Benchmark, Row, evaluate_row
from udit_bench.instance_lines import merge_instances
from udit_bench.metrics.detectors.base import Detections
from udit_bench.metrics.detectors.fake import FakeDetector, perfect
from udit_bench.metrics.protocols import PROTOCOLS
from udit_bench.translation import Translated

ALL = list(PROTOCOLS.values())
METRICS = ("mmr", "mods", "mvis")


@pytest.fixture
def benchmark(toy_source):
    """AtoB: four scenes with 0, 1, 3 and 1 sheep; B has 3, 0, 1 and 2 giraffes."""
    return Benchmark(toy_source, "val", (32, 32))


def row(items, direction="AtoB", **changes):
    return Row(
        **{
            "kind": "method", "row": "m", "title": "M", "direction": direction,
            "items": items, "domain": direction, "seed": 3, **changes,
        }
    )  # fmt: skip


def copies(scenes):
    return [Translated(s.id, s.image, s.masks, s.indices) for s in scenes]


def seeing(scenes, domain, category, score=1.0):
    return FakeDetector.seeing({(domain, s.id): s.masks for s in scenes}, category, score)


def values(record):
    return [record.metrics[name].value for name in METRICS]


@pytest.mark.parametrize(("direction", "domain", "count"), [("AtoB", "B", 6), ("BtoA", "A", 5)])
def test_real_pictures_get_everything(benchmark, direction, domain, count):
    real, _ = benchmark.bounds(direction)
    scenes = benchmark.source.scenes("val", domain)
    detector = seeing(scenes, domain, benchmark.target(direction))
    records, _ = evaluate_row(real, benchmark, detector, ALL)
    assert [values(record) for record in records] == [[100, 100, 100]] * 2
    assert {(r.kind, r.row, r.images, r.instances) for r in records} == {
        ("bound", "real", 4, count)
    }


def test_the_source_copied_shows_no_target(benchmark):
    _, copy = benchmark.bounds("AtoB")
    detector = seeing(benchmark.scenes("AtoB"), "A", "sheep")
    records, lines = evaluate_row(copy, benchmark, detector, ALL)
    assert values(records[0]) == [0, 0, 0]
    assert records[0].row == "source_copy"
    assert {line["reason"] for line in lines} == {"no detection"}


def test_bounds_are_judged_at_the_size_of_the_benchmark(toy_source):
    real, _ = Benchmark(toy_source, "val", (16, 24)).bounds("AtoB")
    assert {item.image.shape for item in real.items} == {(16, 24, 3)}


def test_a_dropped_instance_counts_as_zero(benchmark):
    scenes = benchmark.scenes("AtoB")
    items = copies(scenes)
    masks = items[2].masks.copy()
    masks[1] = False
    items[2] = Translated(items[2].id, items[2].image, masks, items[2].indices)
    records, lines = evaluate_row(
        row(items), benchmark, seeing(scenes, "AtoB", "giraffe", 0.75), ALL
    )
    for record in records:
        assert values(record) == [80.0, 60.0, 80.0]  # 4 of 5
        assert (record.images, record.instances) == (4, 5)
    assert {(e["image"], e["instance"]) for e in lines if e["reason"] == "empty mask"} == {
        ("valA_2", 1)
    }


def test_lines_name_every_instance_by_its_number(benchmark):
    items = copies(benchmark.scenes("AtoB"))
    items[1] = Translated(items[1].id, items[1].image, items[1].masks, (7,))
    _, lines = evaluate_row(row(items), benchmark, FakeDetector(), ALL[:1])
    assert [(line["image"], line["instance"]) for line in lines] == [
        ("valA_1", 7), ("valA_2", 0), ("valA_2", 1), ("valA_2", 2), ("valA_3", 0),
    ]  # fmt: skip


def test_an_iou_is_counted_by_hand(benchmark):
    mask = np.zeros((1, 32, 32), bool)
    mask[0, :4, :10] = True
    seen = np.zeros_like(mask)
    seen[0, :3, :10] = True
    item = Translated("s", np.zeros((32, 32, 3), np.uint8), mask, (0,))
    detector = FakeDetector({("AtoB", "s"): perfect(seen, "giraffe", 0.5)})
    records, _ = evaluate_row(row([item], paired=False), benchmark, detector, ALL)
    assert values(records[0]) == [100.0, 50.0, 75.0]


def test_without_any_instance_every_metric_is_missing(benchmark):
    empty = copies(benchmark.scenes("AtoB")[:1])
    records, lines = evaluate_row(row(empty), benchmark, FakeDetector(), ALL)
    for record in records:
        assert values(record) == [None, None, None]
        assert record.metrics["mmr"].low is None
        assert (record.images, record.instances) == (1, 0)
    assert lines == []


def test_images_without_instances_do_not_change_the_value(benchmark):
    scenes = benchmark.scenes("AtoB")
    detector = seeing(scenes[1:3], "AtoB", "giraffe")
    with_empty, _ = evaluate_row(row(copies(scenes)), benchmark, detector, ALL)
    without, _ = evaluate_row(row(copies(scenes[1:])), benchmark, detector, ALL)
    assert values(with_empty[0]) == values(without[0]) == [80.0, 80.0, 80.0]
    assert (with_empty[0].images, without[0].images) == (4, 3)


def test_the_detector_is_asked_in_order_with_the_domain(benchmark):
    asked = []

    def sight(image, name, domain):
        asked.append((name, domain))
        return Detections.none(image.shape[:2])

    many = [Translated(f"s{k}", np.zeros((4, 4, 3), np.uint8), np.zeros((1, 4, 4), bool), (0,))
            for k in range(20)]  # fmt: skip
    evaluate_row(row(iter(many), paired=False), benchmark, FakeDetector(sight), ALL)
    assert asked == [(f"s{k}", "AtoB") for k in range(20)]


def test_records_carry_protocol_detector_and_manifest(benchmark):
    source = benchmark.source
    detector = FakeDetector()
    records, _ = evaluate_row(
        row(copies(benchmark.scenes("BtoA")), "BtoA"), benchmark, detector, ALL
    )
    assert [r.protocol for r in records] == [p.as_dict() for p in ALL]
    record = records[0]
    assert record.detector == detector.identity.as_dict()
    assert record.manifest == {d: source.scenes("val", d).fingerprint() for d in "AB"}
    assert (record.source, record.target) == ("giraffe", "sheep")
    assert (record.dataset, record.split, record.size) == ("toy", "val", (32, 32))
    assert record.seed == 3
    assert len({r.key() for r in records}) == 2


def test_a_detector_that_cannot_name_the_class_is_refused(benchmark):
    detector = FakeDetector()
    detector.categories = frozenset({"sheep", "zebra"})
    with pytest.raises(DataError, match="does not know the class 'giraffe'"):
        evaluate_row(row([]), benchmark, detector, ALL)
    records, _ = evaluate_row(row([], "BtoA"), benchmark, detector, ALL)
    assert len(records) == 2


def test_a_source_without_test_is_judged_on_val():
    class OnlyVal(SceneSource):
        name, labels, splits = "x", ("a", "b"), ("train", "val")

        def scenes(self, split, domain):
            raise NotImplementedError

    assert OnlyVal().resolve("test") == "val"
    with pytest.raises(DataError, match=r"no split 'extra' \(it has: train, val\)"):
        OnlyVal().resolve("extra")


# ---- instances.csv ----------------------------------------------------------------------------


def judged(benchmark, detector, **changes):
    items = copies(benchmark.scenes("AtoB"))
    return evaluate_row(row(items, **changes), benchmark, detector, ALL)


def read(path):
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_instances_of_the_same_row_are_replaced(benchmark, tmp_path):
    path = tmp_path / "instances.csv"
    merge_instances(path, *judged(benchmark, FakeDetector()))
    assert [line["matched"] for line in read(path)] == ["0"] * 10
    seen = seeing(benchmark.scenes("AtoB"), "AtoB", "giraffe")
    merge_instances(path, *judged(benchmark, seen))
    assert [line["matched"] for line in read(path)] == ["1"] * 10


@pytest.mark.parametrize("change", [{"seed": 4}, {"seed": None}, {"row": "n"}, {"variant": "v"}])
def test_instances_of_other_rows_stay(benchmark, tmp_path, change):
    path = tmp_path / "instances.csv"
    merge_instances(path, *judged(benchmark, FakeDetector()))
    merge_instances(path, *judged(benchmark, FakeDetector(), **change))
    assert len(read(path)) == 20
    merge_instances(path, *judged(benchmark, FakeDetector(), **change))
    assert len(read(path)) == 20


def test_a_row_that_has_no_instances_any_more_loses_its_old_lines(benchmark, tmp_path):
    path = tmp_path / "instances.csv"
    records, lines = judged(benchmark, FakeDetector())
    merge_instances(path, records, lines)
    merge_instances(path, records, [])
    assert read(path) == []
