# Two commands do all set-up: `make train` and `make test`, each in .venv, made if it is not there,
# with the versions of constraints.txt.
PYTHON ?= python3
VENV := .venv

.PHONY: train test test-bare lint docs faults fuzz kill kill-calls kill-ranks sweep soak clean

train: $(VENV)/.installed
	$(VENV)/bin/trpo train CartPole-v1

test: $(VENV)/.installed-dev
	$(VENV)/bin/pytest -n 2 --dist worksteal

test-bare: $(VENV)/.installed-dev
	$(VENV)/bin/python tests/bare.py

faults: $(VENV)/.installed-dev
	$(VENV)/bin/python tests/faults.py

kill: $(VENV)/.installed-dev
	$(VENV)/bin/python tests/kill.py

kill-calls: $(VENV)/.installed-dev
	$(VENV)/bin/python tests/kill_calls.py

kill-ranks: $(VENV)/.installed-dev
	$(VENV)/bin/python tests/kill_ranks.py

fuzz: $(VENV)/.installed-dev
	$(VENV)/bin/python tests/fuzz.py

sweep: $(VENV)/.installed-dev
	$(VENV)/bin/python tests/sweep.py

soak: $(VENV)/.installed-dev
	$(VENV)/bin/python tests/soak.py

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet -f scripts/docs/mkdocs.yml

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV)
