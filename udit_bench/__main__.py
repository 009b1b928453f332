"""``python -m udit_bench`` is ``udit-bench``."""

from udit_bench.cli import main

main()
