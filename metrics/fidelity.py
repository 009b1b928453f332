"""KID and FID by torch-fidelity: do translations look like pictures of the target domain?

KID (Binkowski et al., "Demystifying MMD GANs", 2018, Sec. 4) is the unbiased squared maximum mean
discrepancy of Inception features under the kernel ``(x . y / d + 1)^3``; right for few pictures,
slightly below 0 where two sets are alike. FID (Heusel et al., "GANs Trained by a Two Time-Scale
Update Rule", 2017, Sec. 1) fits a Gaussian to the features of each set; its bias grows as pictures
get fewer. Lower is better in both.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import pickle
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from udit_bench.errors import DataError, MissingPartError
from udit_bench.metrics.weights import State, read_state
from udit_bench.scene import ImageArray

INSTALL = "pip install 'udit-bench[fidelity]'"
INCEPTION = "inception-v3-compat"
"""torch-fidelity's name of the Inception network that the literature computes FID with."""

SUBSET = 1000
"""Largest subset of KID, as in its paper's experiments."""

BATCH = 16
"""Pictures per pass, where all have one size."""

ENOUGH = 2048
"""FID of fewer pictures than features has a singular covariance."""


@dataclass(frozen=True)
class Fidelity:
    """What ``measure`` found; None for what was not asked for.

    Attributes:
        kid: mean over random subsets.
        kid_sd: standard deviation over them.
        fid: Fréchet distance.
    """

    kid: float | None = None
    kid_sd: float | None = None
    fid: float | None = None


def kid(
    generated: Sequence[ImageArray],
    real: Sequence[ImageArray],
    *,
    extractor: str | None = None,
    weights: Path | None = None,
    seed: int = 0,
    subsets: int = 100,
    device: str = "cpu",
) -> tuple[float, float]:
    """KID's mean and standard deviation over random subsets; arguments as ``measure``."""
    found = measure(
        generated, real, want=("kid",), extractor=extractor, weights=weights, seed=seed,
        subsets=subsets, device=device,
    )  # fmt: skip
    assert found.kid is not None
    assert found.kid_sd is not None
    return found.kid, found.kid_sd


def fid(
    generated: Sequence[ImageArray],
    real: Sequence[ImageArray],
    *,
    extractor: str | None = None,
    weights: Path | None = None,
    device: str = "cpu",
) -> float:
    """FID; arguments as ``measure``. ``fid_warning`` says when it should not be trusted."""
    found = measure(
        generated, real, want=("fid",), extractor=extractor, weights=weights, device=device
    )
    assert found.fid is not None
    return found.fid


def fid_warning(generated: int, real: int) -> str | None:
    """What to print beside an FID of so few pictures; None where both sets have 2,048 or more."""
    if min(generated, real) >= ENOUGH:
        return None
    return (
        f"FID of {generated} generated and {real} real pictures: below {ENOUGH} it is biased "
        "upwards and must not be compared with an FID of other numbers of pictures; use KID."
    )


def subset_size(generated: int, real: int) -> int:
    """Pictures per subset of KID: half of the smaller set, at most 1,000, at least 2.

    Half, because the spread over such subsets estimates the standard error of the value of all
    pictures (delete-half jackknife); subsets of all pictures would have no spread at all.
    """
    return min(SUBSET, max(2, min(generated, real) // 2))


def measure(
    generated: Sequence[ImageArray],
    real: Sequence[ImageArray],
    *,
    want: Sequence[str] = ("kid", "fid"),
    extractor: str | None = None,
    weights: Path | None = None,
    seed: int = 0,
    subsets: int = 100,
    device: str = "cpu",
) -> Fidelity:
    """KID and FID of two sets of pictures, from one pass over each.

    Args:
        generated: translations, ``(H, W, 3) uint8`` RGB each, 2 or more.
        real: pictures of the target domain, likewise. Sizes may differ, within a set and between
            the two: the Inception network resizes every picture to 299 x 299 by itself, without
            keeping the aspect. Compare at one size all the same: sharpness counts.
        want: ``"kid"``, ``"fid"`` or both.
        extractor: name under which features were registered with torch-fidelity
            (``register_feature_extractor``); None: Inception v3.
        weights: Inception's weights (a state_dict); None: torch-fidelity's, downloaded once.
        seed: of KID's subsets.
        subsets: number of KID's subsets; ``subset_size`` says how large.
        device: where the network runs.

    Returns:
        Both to about seven digits: features are float32.

    Raises:
        DataError: fewer than 2 pictures in a set, or the weights are unreadable or another's.
        MissingPartError: torch-fidelity is not installed, or the download failed.
        ValueError: a picture is not ``(H, W, 3) uint8``.
    """
    sets = _Pictures(generated, "generated"), _Pictures(real, "real")
    library = _library()
    with _explained(weights):
        found: dict[str, float] = library.calculate_metrics(
            input1=sets[0],
            input2=sets[1],
            kid="kid" in want,
            fid="fid" in want,
            feature_extractor=extractor or INCEPTION,
            feature_extractor_weights_path=None if extractor else _weights(weights),
            kid_subsets=subsets,
            kid_subset_size=subset_size(len(generated), len(real)),
            rng_seed=seed,
            batch_size=BATCH if all(pictures.alike for pictures in sets) else 1,
            cuda=device.startswith("cuda"),
            cache=False,
            save_cpu_ram=True,  # no worker processes
            verbose=False,
        )
    return Fidelity(
        kid=found.get(library.KEY_METRIC_KID_MEAN),
        kid_sd=found.get(library.KEY_METRIC_KID_STD),
        fid=found.get(library.KEY_METRIC_FID),
    )


class _Pictures(Dataset[Tensor]):
    """``(3, H, W) uint8`` tensors of the pictures, as torch-fidelity wants them."""

    def __init__(self, pictures: Sequence[ImageArray], what: str) -> None:
        if len(pictures) < 2:
            raise DataError(
                f"KID and FID need 2 or more pictures of each kind: {what} ones are "
                f"{len(pictures)}."
            )
        for picture in pictures:
            if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
                raise ValueError(
                    f"{what} pictures must be (H, W, 3) uint8, got {picture.shape} {picture.dtype}"
                )
        self.pictures = pictures
        self.alike = len({picture.shape for picture in pictures}) == 1

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(np.array(self.pictures[index].transpose(2, 0, 1), order="C"))


def require_inception(weights: Path | None) -> None:
    """Find out before any work whether KID and FID can be computed.

    Raises:
        DataError, MissingPartError: as ``measure``, for what is missing or unreadable.
    """
    _library()
    _weights(weights)


def _library() -> Any:
    try:
        with warnings.catch_warnings():  # it sets filters of its own
            return importlib.import_module("torch_fidelity")
    except ModuleNotFoundError as error:
        raise MissingPartError(f"KID and FID need the package '{error.name}': {INSTALL}") from error


def _weights(path: Path | None) -> io.BytesIO:
    """Inception's weights, known to be tensors only, as a file in memory.

    torch-fidelity unpickles whatever it is given, so it is given what was written right here.
    """
    state = _download() if path is None else read_state(path)
    file = io.BytesIO()
    torch.save(dict(state), file)
    file.seek(0)
    return file


def _download() -> State:
    """The weights in torch's cache, downloaded by torch-fidelity's address if they are not there.

    Raises:
        MissingPartError: they cannot be had.
    """
    url = str(
        importlib.import_module("torch_fidelity.feature_extractor_inceptionv3").URL_INCEPTION_V3
    )
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout may be someone's json
            state: State = torch.hub.load_state_dict_from_url(
                url, progress=False, map_location="cpu", weights_only=True
            )
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise MissingPartError(
            f"cannot download Inception's weights from {url} ({said}): get the file elsewhere and "
            "name it with --inception-weights PATH."
        ) from error
    return state


@contextlib.contextmanager
def _explained(path: Path | None) -> Iterator[None]:
    """Weights that do not fit the Inception network, as an error that names their file."""
    try:
        yield
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        raise DataError(
            f"{path or 'the downloaded file'}: not the weights of torch-fidelity's Inception v3 "
            "(weights-inception-2015-12-05-6726825d.pth of its release v0.2.0): name those with "
            "--inception-weights PATH."
        ) from error
