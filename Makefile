# Everything starts from here: the targets make what they need, beginning with .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2

.PHONY: demo detectron2 test slow check typecheck wheel clean

demo: $(VENV)/.installed
	$(BIN)/udit-bench demo

# Optional: the paper's detector. Its own tests are skipped without it.
detectron2: $(VENV)/.installed
	$(BIN)/udit-bench detector install detectron2

test: $(VENV)/.tested
	$(BIN)/pytest -n $(JOBS) --dist loadfile

slow: $(VENV)/.tested
	$(BIN)/pytest -n $(JOBS) --dist loadfile -m slow --durations=10

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# An editable install maps folders in a way that mypy cannot follow, so the built wheel is checked.
typecheck: wheel
	rm -rf build/typecheck
	$(BIN)/pip install --quiet --no-deps --target build/typecheck dist/udit_bench-*.whl
	cd build/typecheck && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p udit_bench

wheel: $(VENV)/.dev
	rm -rf dist build/lib build/bdist.*
	$(BIN)/python -m build --wheel --outdir dist .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python >= 3.11 is needed, this is %d.%d: make PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: setup.py pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet -e .
	touch $@

$(VENV)/.tested: setup.py pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet -e ".[test]"
	touch $@ $(VENV)/.installed

$(VENV)/.dev: setup.py pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet -e ".[dev]"
	touch $@ $(VENV)/.tested $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist *.egg-info
