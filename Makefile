# make demo   set-up, then the whole way on a made scene (DATA=dir: a real data set; VIDEO=file: your own film)
# make test   set-up, then lint, types and all tests
# make setup  .venv with every pinned package and the native core; under 3 s when it is already there

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.ready
RUN := $(VENV)/bin/python
NATIVE := $(shell find csrc -name '*.txt' -o -name '*.h' -o -name '*.cpp' -o -name '*.cu')
OUT ?= demo

.PHONY: demo test setup lint clean
setup: $(STAMP)

# torch comes first and pinned: a plain "torch" draws gigabytes of CUDA packages.
$(STAMP): pyproject.toml setup.py constraints.txt $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: vadfast needs Python 3.11 or newer, $(PYTHON) is older; set PYTHON=python3.11"; exit 2; }
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -q --disable-pip-version-check -c constraints.txt torch
	$(RUN) -m pip install -q --disable-pip-version-check -c constraints.txt -e .[dev]
	touch $(STAMP)

demo: setup
	$(RUN) -m vadfast.demo --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(VIDEO),--video $(VIDEO))

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# A worker a core; threads of several workers that spin for work would keep each other from it.
test: lint
	OMP_WAIT_POLICY=PASSIVE $(RUN) -m pytest -q -n auto --dist worksteal

clean:
	rm -rf $(VENV) $(OUT) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
