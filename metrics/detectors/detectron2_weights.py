"""Configurations and weights of detectron2 networks, read without executing a pickle."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from udit_bench.errors import DataError, MissingPartError, UsageError
from udit_bench.metrics.detectors.detectron2_compat import zoo_cache
from udit_bench.metrics.detectors.slim_detectron2 import (
    ARCHITECTURE as SLIM_ARCHITECTURE,
)
from udit_bench.metrics.detectors.slim_detectron2 import (
    SlimDetectron2Config,
    slim_settings,
)
from udit_bench.metrics.weights import shipped_path

DEFAULT_CONFIG = Path("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml")
"""Name in detectron2's model zoo: the evaluator of the paper."""

State = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Network:
    """What a judge is made of.

    Attributes:
        settings: detectron2's ``CfgNode``.
        state: tensors by name.
        names: class names, by the network's own numbers.
        architecture: short name for the record.
        path: the weights file.
    """

    settings: Any
    state: State
    names: tuple[str, ...]
    architecture: str
    path: Path


def open_network(weights: Path | None, config: Path | None, shipped: str | None) -> Network:
    """Read configuration and weights, as ``Detectron2Detector`` describes them.

    Raises:
        UsageError, DataError, MissingPartError: see there.
    """
    if weights is None:
        weights = zoo_weights(config or DEFAULT_CONFIG) if shipped is None else _shipped(shipped)
    if weights.suffix not in (".safetensors", ".pkl", ".pth", ".pt"):
        raise UsageError(
            f"detectron2 weights must be .pkl, .pth or .safetensors, got '{weights.name}'."
        )
    if not weights.is_file():
        raise DataError(f"no detector weights at {weights}.")
    state, header = _read_state(weights)
    if header.get("architecture") == SLIM_ARCHITECTURE:
        if config is not None:
            raise UsageError(
                f"{weights.name} holds its configuration: leave --detector-config out."
            )
        slim = _slim_config(weights, header)
        return Network(slim_settings(slim), state, slim.categories, SLIM_ARCHITECTURE, weights)
    settings, architecture = read_config(config or DEFAULT_CONFIG)
    return Network(settings, state, _names(settings, header, weights), architecture, weights)


def _shipped(name: str) -> Path:
    """The weights file of this package for a data set; raises as ``shipped_path``."""
    return shipped_path(f"d2_{name}.safetensors", "--detector-weights PATH")


# -------------------------------------------------------------------------------- configurations


def read_config(config: Path) -> tuple[Any, str]:
    """The ``CfgNode`` of a yaml file or of a name in the model zoo, and a name for the record.

    The name of a file's configuration ends in a digest of what it says about the network.

    Raises:
        UsageError: a ``.py`` configuration (it is a program).
        DataError: no such file, not valid, or of a network without masks.
    """
    from detectron2.config import get_cfg

    if config.suffix not in (".yaml", ".yml"):
        raise UsageError(f"a detectron2 configuration must be .yaml, got '{config.name}'.")
    place = config if config.is_file() else _zoo_config(config)
    cfg = get_cfg()
    try:
        cfg.merge_from_file(str(place), allow_unsafe=False)
    except (yaml.YAMLError, KeyError, ValueError, AssertionError, AttributeError, OSError) as error:
        first = (str(error).splitlines() or [""])[0].strip("'\"")
        raise DataError(
            f"{config}: not a detectron2 configuration ({type(error).__name__}: {first[:200]})."
        ) from error
    if not cfg.MODEL.MASK_ON:
        raise DataError(f"{config}: its network predicts no masks (MODEL.MASK_ON is off).")
    if place is not config:
        return cfg, config.stem
    told = {name: cfg[name].dump() for name in ("MODEL", "INPUT")}
    told["MODEL"] = "".join(
        line for line in told["MODEL"].splitlines(True)
        if not line.startswith(("WEIGHTS:", "DEVICE:"))
    )  # fmt: skip
    return cfg, f"{config.stem}@{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]}"


def _zoo_config(config: Path) -> Path:
    from detectron2 import model_zoo

    try:
        return Path(model_zoo.get_config_file(config.as_posix()))
    except RuntimeError as error:
        raise DataError(
            f"no configuration {config}: neither a file nor a name in detectron2's model zoo "
            f"(such as {DEFAULT_CONFIG.as_posix()})."
        ) from error


def zoo_weights(config: Path) -> Path:
    """The model zoo's weights of a configuration, in detectron2's cache; downloaded once.

    Raises:
        UsageError: the zoo has none for it.
        MissingPartError: the download fails.
    """
    from detectron2 import model_zoo
    from detectron2.utils.file_io import PathManager

    try:
        url = str(model_zoo.get_checkpoint_url(config.as_posix()))
    except RuntimeError as error:
        raise UsageError(
            f"detectron2's model zoo has no weights for {config}: give some with "
            "--detector-weights PATH."
        ) from error
    place = zoo_cache() / url.partition("://")[2].partition("/")[2]
    if place.is_file():
        return place
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout may be someone's json
            return Path(PathManager.get_local_path(url))
    except (OSError, RuntimeError) as error:
        raise MissingPartError(
            f"cannot download {url} ({error}): put the file at {place} yourself, or give it with "
            "--detector-weights PATH."
        ) from error


def _names(cfg: Any, header: Mapping[str, str], weights: Path) -> tuple[str, ...]:
    """Class names by number: the header's, a file's beside the weights, or the data set's.

    Raises:
        DataError: none of them names as many classes as the network has.
    """
    from detectron2.data import MetadataCatalog

    count = int(cfg.MODEL.ROI_HEADS.NUM_CLASSES)
    beside = weights.with_suffix(".names")
    lists: list[Any] = [json.loads(header.get("categories", "[]"))]
    if beside.is_file():
        lists.append(beside.read_text(encoding="utf-8").split("\n"))
    for data in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN, "coco_2017_val"):
        if data in MetadataCatalog.list():
            lists.append(MetadataCatalog.get(data).get("thing_classes", []))
    for names in lists:
        named = tuple(str(name).strip() for name in names if str(name).strip())
        if len(named) == count:
            return named
    raise DataError(
        f"{weights}: its network has {count} classes without names; write them, one per line and "
        f"in its order, to {beside}."
    )


# --------------------------------------------------------------------------------------- weights


def _read_state(path: Path) -> tuple[State, dict[str, str]]:
    """Tensors and header of a weights file."""
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    content = read_pickle(path) if path.suffix == ".pkl" else _read_pth(path)
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]  # beside the optimizer, the schedule, the author
    if not isinstance(content, Mapping):
        raise DataError(f"{path}: holds no dict of weights.")
    state: State = {}
    for name, value in content.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            value = torch.from_numpy(np.array(value))
        if not isinstance(value, Tensor) or not isinstance(name, str):
            raise DataError(f"{path}: '{str(name)[:80]}' in it is not an array of weights.")
        if not _recomputed(name):
            state[name] = value
    return state, {}


def _recomputed(name: str) -> bool:
    """Constants that old checkpoints store and the network makes from its configuration."""
    return name in ("pixel_mean", "pixel_std") or "anchor_generator.cell_anchors" in name


def _read_safetensors(path: Path) -> tuple[State, dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise DataError(f"{path}: damaged, or not safetensors ({error}).") from error
    return state, header


def _slim_config(path: Path, header: Mapping[str, str]) -> SlimDetectron2Config:
    try:
        return SlimDetectron2Config.model_validate_json(header.get("config", ""))
    except ValidationError as error:
        raise DataError(f"{path}: its header has no valid configuration.") from error


def _read_pth(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused(path, "") from error
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: damaged, or not a PyTorch file ({first[:200]}).") from error


def _refused(path: Path, what: str) -> DataError:
    return DataError(
        f"{path}: refused, it holds more than arrays{what} (such a file can run code), or is "
        "damaged."
    )


ADMITTED = frozenset(
    [
        *(("builtins", name) for name in ("bool", "bytearray", "bytes", "complex", "dict")),
        *(("builtins", name) for name in ("float", "frozenset", "int", "list", "set", "str")),
        ("builtins", "tuple"),
        ("_codecs", "encode"),  # how Python 3 writes bytes in old protocols
        ("collections", "OrderedDict"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
        *((f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
        *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ]
)
"""All that a pickle may name: plain containers and numpy's arrays."""


class _PlainUnpickler(pickle.Unpickler):
    """Refuses everything that is not in ``ADMITTED`` before it is called."""

    def find_class(self, module: str, name: str) -> Any:
        module = {"__builtin__": "builtins"}.get(module, module)
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module.replace("numpy.core.", "numpy._core."), name)


def read_pickle(path: Path) -> Any:
    """The content of a model zoo ``.pkl``: containers and numpy arrays, nothing else.

    Raises:
        DataError: it names anything else (which is not called), or is damaged.
    """
    try:
        return _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise _refused(path, f": {str(error)[:80]}") from error
    except Exception as error:  # a damaged pickle fails in any way
        raise DataError(f"{path}: damaged, or not a pickle ({type(error).__name__}).") from error
