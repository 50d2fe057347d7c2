# Needed: make, bash and a supported Python. `make demo PYTHON=python3.12` names another one than python3.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
STAMP := $(VENV)/.installed
# Compiled files are kept even where the environment forbids it: without them every worker of the suite compiles all
# tests, which takes it ten seconds.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test suite install up lint bench simulate worlds torture loop approval later varied nights spark peers wheel-check audit lock docs docs-serve pictures pages clean

demo: $(RUNTIME)  ## the whole nightly on the sample account, from nothing
	$(BIN)/driptune demo

test: $(STAMP)  ## lint, types and tests: exactly what CI runs
	@$(MAKE) --no-print-directory --jobs 2 lint suite

suite: $(STAMP)
	# Files stay whole, so that a nightly is run once for all its tests, and start in the order of tests/conftest.py.
	# Three workers keep two cores busy, for many tests wait for a process or a server.
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

install: $(RUNTIME)  ## what a production host needs: the product without its test tools

up: $(RUNTIME)  ## Dagster UI with schedule and sensors
	$(BIN)/driptune up

lint: $(STAMP)
	$(BIN)/ruff check pipeline tests docs
	$(BIN)/ruff format --check pipeline tests docs
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture
	$(BIN)/mkdocs build --strict --quiet

bench: $(STAMP)  ## the performance table
	$(BIN)/python -m tests.acceptance.bench

simulate: $(STAMP)  ## acceptance simulations of the statistics; `make simulate worlds`: odd input instead
	$(BIN)/python -m tests.acceptance.simulate $(filter worlds,$(MAKECMDGOALS))

worlds:
	@test "$(filter simulate,$(MAKECMDGOALS))" || { echo "The worlds are simulated: make simulate worlds" >&2; exit 1; }

torture: $(STAMP)  ## kills, races, damage, full disks, forgeries: what must not break (needs chromium, and root for disks)
	$(BIN)/python -m tests.acceptance.torture

LOCK := uv pip compile pyproject.toml --universal --generate-hashes --no-annotate --no-header --no-strip-extras \
  $(UPGRADE:%=--upgrade-package %)

lock:  ## write the lock files anew (needs uv); UPGRADE="NAME NAME" takes the newest versions of these
	$(LOCK) --extra build -o requirements.lock
	$(LOCK) --extra dev -c requirements.lock -o requirements-dev.lock
	$(LOCK) --extra spark -c requirements-dev.lock -o requirements-spark.lock

AUDIT := $(VENV)/audit

audit: $(STAMP)  ## known vulnerabilities of the locked packages; fails as well when they cannot be looked up
	@rm -f $(AUDIT)
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r requirements-dev.lock \
	  --output $(AUDIT) 2>$(AUDIT).log || { \
	    if [ -s $(AUDIT) ]; then cat $(AUDIT); \
	      echo "These locked packages have known vulnerabilities. Take newer ones: make lock UPGRADE=NAME"; \
	    else tail -n 1 $(AUDIT).log; \
	      echo "The audit could not be made, so nothing is known about the packages. It asks the package index for each of them."; \
	    fi >&2; exit 1; }
	@tail -n 1 $(AUDIT).log

# Spark has an environment of its own: its package holds the client too, under the same name as the product's extra.
SPARK := $(VENV)/spark

spark: $(SPARK)/.installed  ## every model on a Spark server of this machine against DuckDB (needs Java 17)
	$(BIN)/pytest tests/engine/spark
	$(BIN)/python -m tests.acceptance.spark

$(SPARK)/.installed: $(STAMP) requirements-spark.lock tests/acceptance/spark_server.lock
	$(call install,requirements-spark.lock)
	$(PYTHON) -m venv $(SPARK)
	$(SPARK)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tests/acceptance/spark_server.lock
	touch $@

# Peers have an environment of their own too, with the product's version of DuckDB.
PEERS := $(VENV)/peers
PEERS_LIST := tests/acceptance/bench/peers/requirements.txt

peers: $(PEERS)/.installed  ## dbt and chdb, for `make bench` to set beside ours

$(PEERS)/.installed: $(STAMP) $(PEERS_LIST)
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check -r $(PEERS_LIST) $$($(BIN)/pip freeze | grep ^duckdb==)
	touch $@

wheel-check: $(STAMP)  ## the wheel in an empty environment and an empty folder: demo, doctor, up
	$(BIN)/python -m tests.acceptance.wheel

clean:  ## forget everything but sources, definitions and the sample
	rm -rf $(VENV) data/lake data/warehouse data/published data/reports data/dagster_home

# What the product needs. The line of its range in pyproject.toml says which Python versions are supported.
$(RUNTIME): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here. $(NAME_PYTHON)" >&2; exit 1; }
	@$(PYTHON) -c "$$CHECK_PYTHON" "$(PYTHON)" "$(NAME_PYTHON)"
	$(PYTHON) -m venv $(VENV)
	$(call install,requirements.lock)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	touch $@

# The test tools on top.
$(STAMP): $(RUNTIME) requirements-dev.lock
	$(call install,requirements-dev.lock)
	touch $@

NAME_PYTHON = Name another one: make $(MAKECMDGOALS) PYTHON=python3.12

define CHECK_PYTHON
import re, sys
supported = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', open("pyproject.toml").read())
first, end = map(int, supported.groups())
if not (3, first) <= sys.version_info[:2] < (3, end):
    found = "driptune needs Python 3.%d to 3.%d, and %s is Python %d.%d." % (
        (first, end - 1, sys.argv[1]) + sys.version_info[:2])
    sys.exit(found + " " + sys.argv[2])
endef
export CHECK_PYTHON

# Installs a lock file and tells how far it is. pip itself writes hundreds of lines, or none.
define install
@echo "Installing the packages of $(1) into $(VENV). The first time this takes a few minutes."
@$(BIN)/pip install --disable-pip-version-check --progress-bar off --require-hashes -r $(1) | \
awk -v all=$$(grep -c == $(1)) '/^Collecting/ && ++n % 20 == 0 { print "  " n " of at most " all " fetched" } \
/^Installing/ { print "  " n " fetched; unpacking them" } { fflush() }'
endef

docs: $(STAMP)  ## write the generated pages of docs anew
	$(BIN)/python docs/generate.py

docs-serve: $(STAMP)  ## the documentation on http://127.0.0.1:8000
	$(BIN)/mkdocs serve

pictures: $(STAMP)  ## the pictures of the README, from the standing demo (needs chromium)
	$(BIN)/python -m tests.acceptance.pages.pictures

pages: $(STAMP)  ## every page of the standing morning in Chromium: errors, requests, size, contrast, keyboard
	$(BIN)/python -m tests.acceptance.pages

loop: $(STAMP)  ## four loops on the stand-in account, each to its realised lift, beside what is true
	$(BIN)/python -m tests.acceptance.loop

approval: $(STAMP)  ## a change from its proposal, approved in Chromium, to its realised lift
	$(BIN)/python -m tests.acceptance.approval

later: $(STAMP)  ## what the sample account's nights say 30 nights later, when nobody mends what broke
	$(BIN)/python -m tests.acceptance.later

varied: $(STAMP)  ## the sample account with other people and other chance
	$(BIN)/python -m tests.acceptance.varied

nights: $(STAMP)  ## ten nightlies, some with late events, against one backfill
	$(BIN)/python -m tests.acceptance.nights
