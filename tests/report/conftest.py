"""A small world for the report page: a folder of scenes, rows judged on it, and their runs."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from udit_bench.datasets.catalogue import open_source
from udit_bench.instance_lines import instance_columns, merge_instances
from udit_bench.records import RECORDS_NAME, Cost, Record, Value, write_records
from udit_bench.runs import RunConfig, RunDirectory, RunInfo, run_path
from udit_bench.translation import Translated, write_direction

SIZE = 32
LABELS = ("sheep", "giraffe")
EVIL_TITLE = "</script><script>window.evil=1</script>"
EVIL_ID = "<img src=x onerror=evil()>"
STEPS = 40


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def draw_data(folder, count, evil=True):
    """``count`` test scenes a domain in InstaGAN's form, 0 to 3 instances each."""
    for place, domain in enumerate("AB"):
        for split, scenes in (("train", 1), ("test", count)):
            for number in range(scenes):
                rng = np.random.default_rng((place, number))
                name = f"{domain}{number:03}" if number or not evil else f"{EVIL_ID}{domain}"
                image = rng.integers(0, 90, (SIZE, SIZE, 3), dtype=np.uint8)
                for k in range(number % 4):
                    mask = np.zeros((SIZE, SIZE), bool)
                    top, left = rng.integers(2, 18, 2)
                    mask[top : top + 10, left : left + 7] = True
                    image[mask] = rng.integers(120, 255, 3)
                    save(folder / f"{split}{domain}_seg" / f"{name}_{k}.png", mask * np.uint8(255))
                save(folder / f"{split}{domain}" / f"{name}.png", image)
                (folder / f"{split}{domain}_seg").mkdir(exist_ok=True)
    return folder


@dataclass
class World:
    """Where things lie, and what was judged."""

    root: Path
    data: Path
    records: list = field(default_factory=list)
    lines: list = field(default_factory=list)

    @property
    def results(self):
        return self.root / "results"

    @property
    def runs(self):
        return self.root / "runs"

    @property
    def source(self):
        return open_source(str(self.data), labels=LABELS)

    def scenes(self, direction):
        return self.source.scenes("test", direction[0])

    def verdict(self, row, scene, k, protocol):
        """(IoU, score, matched, reason): made up, but a function of its arguments."""
        iou = (scene * 37 + k * 11 + row * 29 + (50 if protocol == "strict" else 0)) % 100 / 100
        score = 0.0 if iou == 0 else 0.9
        return iou, score, int(iou >= 0.5), "" if iou >= 0.5 else "low IoU" if iou else "no overlap"

    def record(self, number, direction, protocol, **fields):
        """A record and its lines of instances."""
        scenes = self.scenes(direction)
        source, target = LABELS if direction == "AtoB" else LABELS[::-1]
        values = {}
        lines = [
            (scene.id, index, *self.verdict(number, at, k, protocol))
            for at, scene in enumerate(scenes)
            for k, index in enumerate(scene.indices)
        ]
        for place, name in enumerate(("mmr", "mods", "mvis")):
            held = [line[(4, 3, 2)[place]] for line in lines]
            values[name] = Value(value=100 * float(np.mean(held)), low=1.0, high=99.0)
        record = Record(
            kind=fields.pop("kind", "method"),
            dataset=self.source.name,
            direction=direction,
            source=source,
            target=target,
            split="test",
            size=(SIZE, SIZE),
            manifest={d: self.source.scenes("test", d).fingerprint() for d in "AB"},
            protocol={"name": protocol, "rule": "retrieve", "iou_threshold": 0.5},
            detector={
                "backend": "fake", "architecture": "fake", "weights": "ab" * 32, "input_size": 0
            },
            images=len(scenes),
            instances=len(lines),
            metrics=values,
            **{"context": {"commit": "0123456789ab"}, **fields},
        )  # fmt: skip
        columns = ("image", "instance", "iou", "score", "matched", "reason")
        shared = instance_columns(record)
        self.lines += [{**shared, **dict(zip(columns, line, strict=True))} for line in lines]
        self.records.append(record)

    def items(self, direction, number):
        """Translations: the scenes, their red channel set to ``number``; masks moved by one."""
        for scene in self.scenes(direction):
            image = scene.image.copy()
            image[..., 0] = 20 * number
            yield Translated(scene.id, image, np.roll(scene.masks, 1, axis=2), scene.indices)

    def add_run(self, number, method, seed=0, variants=("",), ablation=None):
        """A finished run with its translations, and a record per variant, protocol, direction."""
        run = RunDirectory(run_path(self.runs, self.source.name, method, ablation, seed))
        run.write_config(
            RunConfig(
                method=method,
                data=str(self.data),
                labels=LABELS,
                preset="quick",
                ablation=ablation,
                seed=seed,
            )
        )
        info = RunInfo(
            state="finished", dataset=self.source.name, labels=LABELS, split="train",
            steps=STEPS, seconds=100.0 + seed, parameters=1000,
        )  # fmt: skip
        run.write_info(info)
        for step in range(1, STEPS, 2):
            loss = {"adv": 1 / step, "cycle": 2.0 - seed}
            run.append_log({"step": step, "phase": "train", "epoch": 0, "losses": loss})
        for place, variant in enumerate(variants):
            for direction in ("AtoB", "BtoA"):
                scenes = self.scenes(direction)
                stamp = {
                    "steps": STEPS, "dataset": self.source.name, "scenes": scenes.fingerprint()
                }  # fmt: skip
                folder = run.translations("test", variant, (SIZE, SIZE))
                items = self.items(direction, number + place)
                write_direction(folder, direction, items, "thing", stamp)
                for protocol in ("retrieval", "strict"):
                    self.record(
                        number + place, direction, protocol, row=method, seed=seed,
                        variant=ablation or variant, ablation=ablation,
                        title=" ".join(filter(None, (method, ablation or variant))),
                        cost=Cost(train_seconds=100.0 + 7 * number + seed, parameters=1000),
                        context={"commit": "0123456789ab", "train": {"steps": STEPS}},
                    )  # fmt: skip
        return run

    def add_external(self, number, title, folder):
        """A folder of translations from outside, and its records."""
        for direction in ("AtoB", "BtoA"):
            write_direction(folder, direction, self.items(direction, number), "thing")
            for protocol in ("retrieval", "strict"):
                argv = ["udit-bench", "eval", "--translations", str(folder), "--name", title]
                self.record(
                    number, direction, protocol, kind="external", row=title, title=title,
                    context={"commit": "0123456789ab", "argv": argv},
                )  # fmt: skip

    def write(self):
        """Records and instances into the results."""
        self.results.mkdir(exist_ok=True)
        write_records(self.results / RECORDS_NAME, self.records)
        merge_instances(self.results / "instances.csv", self.records, self.lines)


@pytest.fixture(scope="session")
def make_world():
    """``make_world(root, scenes) -> World``: six rows, one of them with a title to beware of."""

    def make(root, scenes=6, evil=True):
        world = World(root, draw_data(root / "shp2gir_tiny", scenes, evil))
        for direction in ("AtoB", "BtoA"):
            for protocol in ("retrieval", "strict"):
                world.record(
                    0, direction, protocol, kind="bound", row="source_copy", title="source copy"
                )
        world.add_run(1, "cyclegan_seg", variants=("nearest", "components"))
        world.add_run(3, "instagan")
        world.add_run(4, "mgdgan")
        world.add_external(5, EVIL_TITLE if evil else "Theirs", root / "theirs")
        world.add_external(6, "Others", root / "others")
        return world

    return make


@pytest.fixture(scope="session")
def page_data():
    """A function from the folder of a page to the data that is in it."""

    def read(folder):
        text = (folder / "index.html").read_text(encoding="utf-8")
        start = text.index('<script type="application/json" id="data">')
        inner = text[text.index(">", start) + 1 : text.index("</script>", start)]
        return json.loads(inner)

    return read


@pytest.fixture(scope="session")
def evil_title():
    return EVIL_TITLE


@pytest.fixture(scope="session")
def evil_id():
    return EVIL_ID
