# The commands of this project. Each target first creates the virtual environment that it needs, with
# the versions of constraints.txt. A fresh Debian needs make, python3 and python3-venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# Processes for the tests of `check`: the tests wait more than they compute.
JOBS ?= 4
E2E_JOBS ?= 3
# What the daemon needs, and what the developers' tools need in addition.
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev

# A user without a home needs one for pip, which keeps a cache there and fails otherwise.
ifndef HOME
$(BIN)/pip $(READY) $(READY_DEV): export HOME := $(CURDIR)/$(VENV)
endif

# The tests start the daemon a thousand times: each would compile it again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: serve test check coverage check-lowest check-newest check-3.13 e2e fleet fleet-alone fleet-beside zoo doctor-cases ways torture bench man completion snapshots build release format lock clean

# pip reads dependency groups from release 25.1 on.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11); import ensurepip, venv' 2>/dev/null || { \
		echo 'This needs Python 3.11 or later with the module ensurepip.' >&2; \
		echo 'On Debian and Ubuntu: apt install python3 python3-venv' >&2; \
		echo 'For another Python than $(PYTHON): make PYTHON=/path/to/python3' >&2; \
		exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'

$(READY): pyproject.toml constraints.txt | $(BIN)/pip
	$(PIP) install --constraint constraints.txt --editable .
	touch $@

$(READY_DEV): pyproject.toml constraints.txt | $(BIN)/pip
	$(PIP) install --constraint constraints.txt --group dev --editable .
	touch $(READY) $@

serve: $(READY)
	$(BIN)/postfix-mta-sts serve

test: $(READY_DEV)
	$(BIN)/pytest -m 'not e2e'

check: $(READY_DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -m 'not e2e' -n $(JOBS) --dist worksteal
	$(MAKE) e2e

# The unit tests again, which take twice as long so: 98 % of the lines and branches are run.
coverage: $(READY_DEV)
	$(BIN)/pytest -m 'not e2e' -n $(JOBS) --dist worksteal --cov --cov-report=term

# The unit tests with the lowest, or the newest, versions that pyproject.toml admits, in a virtual
# environment of its own. uv chooses the versions: pip cannot choose the lowest. TESTS: some of them.
check-lowest: RESOLUTION := lowest-direct
check-newest: RESOLUTION := highest
check-lowest check-newest: check-%: $(READY_DEV)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-$*
	$(BIN)/uv pip install --quiet --python .venv-$*/bin/python --resolution $(RESOLUTION) \
		--group test --editable .
	$(BIN)/uv pip list --python .venv-$*/bin/python
	.venv-$*/bin/pytest -m 'not e2e' -n $(JOBS) --dist worksteal --hypothesis-profile few $(TESTS)

# The unit tests with Debian 13's Python, in a tree of that release; see tests/e2e/README.md
check-3.13: $(READY_DEV)
	$(BIN)/python -m tests.e2e.unit_tests -n $(JOBS) --dist worksteal --hypothesis-profile few $(TESTS)

# Soak and torture run alone: what they expect of the daemon depends on how busy the machine is.
ALONE := tests/e2e/test_soak.py
e2e: $(READY_DEV)
	$(BIN)/pytest -m e2e tests/e2e tests/fleet --ignore $(ALONE) \
		-n $(E2E_JOBS) --dist loadfile --no-loadscope-reorder
	$(BIN)/pytest -m e2e $(ALONE) tests/torture

# Three relays and every shared store, with each fault under load, and twenty relays: an hour.
# Figures go to build/fleet; see tests/fleet/README.md. OPTIONS, for example: -k valkey
fleet: $(READY_DEV)
	$(MAKE) --keep-going --jobs=1 fleet-alone fleet-beside

# Where look-ups are timed, a store has to answer within the default budget, or twenty relays run, the
# tests run alone, the rest in two processes. With OPTIONS one of the two may have no tests: pytest ends with 5.
TIMED := $(addprefix tests/fleet/test_,faults.py sharing.py hostile_rows.py rollbacks.py many_relays.py)
fleet-alone: $(READY_DEV)
	FLEET=all $(BIN)/pytest -m e2e $(TIMED) $(OPTIONS) || [ $$? = 5 ]
fleet-beside: $(READY_DEV)
	FLEET=all $(BIN)/pytest -m e2e tests/fleet $(addprefix --ignore=,$(TIMED)) \
		-n 2 --dist loadfile --no-loadscope-reorder $(OPTIONS) || [ $$? = 5 ]

# All domains of the zoo, and their table in docs/diagnosis.md: some minutes.
zoo: $(READY_DEV)
	ZOO=all $(BIN)/pytest -m e2e tests/e2e/test_zoo.py

# All broken machines that doctor has to name and to mend, with both versions of Postfix: some minutes.
doctor-cases: $(READY_DEV)
	DOCTOR=all $(BIN)/pytest -m e2e tests/e2e/test_doctor_37.py tests/e2e/test_doctor_310.py \
		-n 2 --dist loadfile

# Every way to install the daemon and to wire it up, on booted machines: see tests/e2e/README.md
ways: $(READY_DEV)
	WAYS=all $(BIN)/pytest -m e2e tests/e2e -n 2 --dist loadfile --no-loadscope-reorder \
		-k 'ansible or release or upgrades or wiring or package or image or readme or nixos'

# Ten minutes of faults under load, with a random seed that is printed, or with SEED=; see
# tests/torture/README.md
torture: $(READY_DEV)
	$(BIN)/python -m tests.torture $(if $(SEED),--seed $(SEED)) $(OPTIONS)

# OPTIONS, for example: --quick, or --only cold; see bench/README.md
bench: $(READY_DEV)
	$(BIN)/python -m bench.run $(OPTIONS)

# Man pages, and completion for bash, zsh and fish, into build/.
man: $(READY)
	$(BIN)/postfix-mta-sts man --install build/man

completion: $(READY)
	mkdir -p build/completion
	$(BIN)/postfix-mta-sts completion bash > build/completion/postfix-mta-sts
	$(BIN)/postfix-mta-sts completion zsh > build/completion/_postfix-mta-sts
	$(BIN)/postfix-mta-sts completion fish > build/completion/postfix-mta-sts.fish

# Wheel and sdist, into dist/. The build backend comes from the virtual environment, not from PyPI.
build: $(READY_DEV)
	$(BIN)/python -m build --no-isolation

# Everything that a release consists of, from the tag that is checked out, into dist/release/; see
# docs/releasing.md. KEY=FILE signs, REPRODUCE=1 builds twice and compares, ONLY='wheel sdist' leaves
# out the rest, WHEELS=FOLDER has the libraries.
release: $(READY_DEV)
	$(BIN)/python -m contrib.release $(if $(ONLY),--only '$(ONLY)') $(if $(KEY),--key '$(KEY)') \
		$(if $(WHEELS),--wheels '$(WHEELS)') $(if $(REPRODUCE),--reproduce)

# What a test compares with what the program prints now: look at the difference before the commit.
snapshots: $(READY_DEV)
	$(BIN)/postfix-mta-sts query --schema > docs/diagnosis.schema.json
	$(BIN)/postfix-mta-sts doctor --schema > docs/doctor.schema.json
	WRITE_SNAPSHOTS=1 $(BIN)/pytest -q tests/admin/diagnosis/test_snapshots.py \
		tests/cli/test_doctor_text.py

format: $(READY_DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Write the newest versions that pyproject.toml admits into constraints.txt.
lock:
	rm -rf $(VENV)
	$(MAKE) $(BIN)/pip
	$(PIP) install --group dev --editable .
	$(PIP) freeze --exclude-editable > constraints.txt

clean:
	rm -rf $(VENV) .venv-lowest .venv-newest dist build .coverage
