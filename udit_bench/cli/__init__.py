"""The command line: one thin file per verb, imported only when the verb is used."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from udit_bench import __version__
from udit_bench.errors import UditError, unknown_name

COMMANDS = {
    "demo": ("demo", "Train, judge and tabulate every method on the bundled data."),
    "data": ("data", "List, check and preview data sets."),
    "methods": ("listing", "List the translation methods."),
    "metrics": ("listing", "List the metrics: definition, direction, source."),
    "detectors": ("listing", "List the detectors that can judge."),
    "train": ("train", "Train a method on a pair of domains."),
    "translate": ("translate", "Translate a split with a trained run."),
    "eval": ("eval", "Judge runs or a folder of translations."),
    "table": ("table", "Print or write tables of the records."),
    "report": ("report", "Write one page with tables, curves and all pictures."),
    "figure": ("figure", "Draw a figure for a paper."),
    "bench": ("bench", "Measure time and memory against the number of instances."),
    "import": ("import_", "Turn checkpoints of a method's own authors into runs."),
    "detector": ("detector", "Train or install a detector."),
    "classifier": ("classifier", "Train a classifier on a data set."),
    "doctor": ("doctor", "Show which optional parts load, and what is missing."),
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is asked for, not for ``--help``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            if ctx.resilient_parsing:  # a shell completes: no word of ours
                return None
            raise unknown_name("command", cmd_name, COMMANDS)
        module = importlib.import_module(f"udit_bench.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="udit-bench")
def cli() -> None:
    """Compare methods of unsupervised deformable-instances image-to-image translation.

    \b
    udit-bench demo                                   everything on the bundled data
    udit-bench train --method cyclegan_seg            one method
    udit-bench eval --split test                      judge what is trained
    udit-bench table --format latex --out table1.tex  the paper's table

    Exit codes: 0 ok, 1 failed while running, 2 usage, 3 bad data, 4 a missing optional part,
    5 records that cannot share a table, 130 / 143 interrupted after saving.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code; expected failures print one message."""
    try:
        result: Any = cli.main(args=arguments, prog_name="udit-bench", standalone_mode=False)
        code = result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except UditError as error:
        click.echo(f"error: {error}", err=True)
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        code = 130
    except BrokenPipeError:  # `udit-bench ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
