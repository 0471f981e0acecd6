# make app: set up and open the lab.  make test: everything that must hold, browser included.
# Another torch, e.g. the CPU-only one, is installed into .venv first: see README.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
SHIPPED := mnist-5k-ari mnist-5k-replay mnist-5k-finetune scenes-ari

.PHONY: app test lint checkpoints pictures clean

app: $(VENV)/.app
	$(RUN) -m arli_core app

test: lint
	$(RUN) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.test
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(VENV)/bin/lint-imports --no-logo --no-cache  # the floors of the house: pyproject.toml
	$(RUN) -m pyright --pythonpath $(RUN)  # else it reads whichever python is on PATH

# The runs that ship with the app, named preset-method, trained anew with the default seed, 0.
checkpoints: $(VENV)/.app
	for run in $(SHIPPED); do \
		$(RUN) -m arli_core train --preset $${run%-*} --method $${run##*-} --device cpu --out $$run --overwrite || exit 1; \
	done
	$(RUN) -m arli_core train --preset mnist-5k --set train.schedule=constant --device cpu --out mnist-5k-ari-constant --overwrite

# The README's pictures of the app, taken of the shipped runs.
pictures: $(VENV)/.test
	$(RUN) docs/pictures/take.py

$(VENV)/.app: requirements.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'The lab needs Python 3.11 or newer; try make PYTHON=python3.12')"
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install -e .  # what requirements.txt names, and the lab itself, for scripts anywhere
	touch $@

$(VENV)/.test: $(VENV)/.app pyproject.toml
	$(RUN) -m pip install --quiet -e .[test]
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
