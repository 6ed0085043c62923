# The commands of this project. On a fresh machine with Python 3.11 and make, each target sets up
# what it needs: a virtual environment in .venv, with the versions of constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: serve test check e2e bench man completion build format lock clean

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable .
	touch $@

serve: $(READY)
	$(BIN)/postfix-mta-sts serve

test: $(READY)
	$(BIN)/pytest -m 'not e2e'

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -m 'not e2e' --cov --cov-report=term
	$(BIN)/pytest -m e2e tests/e2e

e2e: $(READY)
	$(BIN)/pytest -m e2e tests/e2e

# OPTIONS, for example: --quick, or --only cold; see bench/README.md
bench: $(READY)
	$(BIN)/python -m bench.run $(OPTIONS)

# Man pages, and completion for bash, zsh and fish, into build/.
man: $(READY)
	$(BIN)/python contrib/man/pages.py build/man

completion: $(READY)
	$(BIN)/python contrib/completion/scripts.py build/completion

# Wheel and sdist, into dist/, without another look at the network.
build: $(READY)
	$(BIN)/python -m build --no-isolation

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Take the newest versions that pyproject.toml admits, and write them down.
lock:
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group dev --editable .
	$(BIN)/python -m pip freeze --exclude-editable > constraints.txt

clean:
	rm -rf $(VENV) dist build .coverage
