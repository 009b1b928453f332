"""From names and settings to a translator, and from a run folder back to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel

from udit_bench.checkpoint import load_checkpoint
from udit_bench.errors import DataError, UsageError
from udit_bench.randomness import seed_all, stable_key
from udit_bench.registry import METHODS
from udit_bench.runs import RunConfig, RunDirectory
from udit_bench.training import restore
from udit_bench.translator import Translator, TranslatorConfig

BUNDLED = "pasture"


def default_preset(data: str) -> str:
    """The preset follows the data, never the hardware: quick on pasture, else paper."""
    return "quick" if data == BUNDLED else "paper"


def settings_of(config: RunConfig) -> TranslatorConfig:
    """The method's settings: preset, then ablation, then single values.

    Raises:
        UsageError: unknown method, preset, ablation or key, or a value out of range.
    """
    method: type[Translator] = METHODS.load(config.method)
    changes: Mapping[str, Any] = {}
    if config.ablation is not None:
        if config.ablation not in method.ablations:
            known = ", ".join(method.ablations) or "none"
            raise UsageError(
                f"--ablation {config.ablation}: {config.method} has no such ablation ({known})."
            )
        changes = method.ablations[config.ablation]
    return method.Config.build(config.preset, {**changes, **config.settings})


def build(config: RunConfig, settings: TranslatorConfig) -> Translator:
    """A fresh translator; its weights are a function of the seed."""
    method: Any = METHODS.load(config.method)
    seed_all(stable_key(config.seed, "init"))
    translator: Translator = method(settings)
    if settings.channels_last:
        translator.to(memory_format=torch.channels_last)
    if settings.compile:
        for network in translator.children():
            (network.module if isinstance(network, AveragedModel) else network).compile()
    return translator


def load_run(run: RunDirectory) -> tuple[Translator, TranslatorConfig, RunConfig]:
    """The trained translator of a run, on the CPU, ready to translate.

    Raises:
        DataError: no run, no checkpoint yet, or a damaged one.
    """
    config = run.read_config()
    settings = settings_of(config)
    translator = build(config, settings)
    try:
        restore(translator, load_checkpoint(run.checkpoint))
    except KeyError as error:
        raise DataError(f"{run.checkpoint} lacks {error}: it is not of this method.") from error
    return translator.eval(), settings, config


def title_of(method: str, notes: Sequence[str]) -> str:
    """How a row is printed: the method, then its ablation, origin and variant where there are."""
    known: type[Translator] = METHODS.load(method)
    texts = [known.variants.get(note, note) for note in notes]
    said = ", ".join(text for text in texts if text)
    return f"{known.title} ({said})" if said else known.title
