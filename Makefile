# Everything sets itself up: Python 3.11 or newer and a network are enough.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo lint test test-comfyui test-browser setup

demo: $(READY)
	$(BIN)/duet run workflows/api/bounce_t2av.json

# Two processes with one thread each: half the time, and results that do not depend on the number of cores.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

lint: .venv/.lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	MYPYPATH=.venv/lint $(BIN)/mypy

# COMFYUI_PATH=/path/to/ComfyUI COMFYUI_PYTHON=/path/to/its/python make test-comfyui; VHS_PATH=/path/to/ComfyUI-VideoHelperSuite
# also tests it together with Duet.
test-comfyui: $(READY)
	$(BIN)/python -m pytest -q -rs tests/comfyui

# Drives ComfyUI's page in the same ComfyUI, with Debian's chromium or CHROMIUM=/path/to/one.
test-browser: .venv/.browser
	$(BIN)/python -m pytest -q -rs tests/browser

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer found; install one, or run: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[test]'
	touch $@

.venv/.lint: $(READY)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[lint]'
	mkdir -p .venv/lint
	ln -sfn ../.. .venv/lint/duet_av  # mypy's path to the package
	touch $@

.venv/.browser: $(READY)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt playwright
	touch $@
