PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test up lint bench simulate torture loop nights lock docs pages clean

demo: $(STAMP)  ## the whole nightly on the sample account, from nothing
	$(BIN)/driptune demo

test: $(STAMP) lint  ## lint, types and tests: exactly what CI runs
	# Files stay whole, so that a nightly is run once for all its tests; the two longest ones start first.
	$(BIN)/pytest -n 2 --dist loadfile tests/end_to_end tests/cli/test_cli.py tests

up: $(STAMP)  ## Dagster UI with schedule and sensors
	$(BIN)/driptune up

lint: $(STAMP)
	$(BIN)/ruff check pipeline tests
	$(BIN)/ruff format --check pipeline tests
	$(BIN)/mypy

bench: $(STAMP)  ## the performance table
	$(BIN)/python -m tests.acceptance.bench

simulate: $(STAMP)  ## acceptance simulations of the statistics
	$(BIN)/python -m tests.acceptance.simulate

torture: $(STAMP)  ## kills, races, damage, full disks, forgeries: what must not break (needs chromium, and root for disks)
	$(BIN)/python -m tests.acceptance.torture

lock:  ## write requirements.lock anew (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --generate-hashes --no-annotate --no-header --no-strip-extras -o requirements.lock

clean:  ## forget everything but sources, definitions and the sample
	rm -rf $(VENV) data/lake data/warehouse data/published data/reports data/dagster_home

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	touch $(STAMP)

docs: $(STAMP)  ## write the generated pages of docs anew
	$(BIN)/python docs/generate.py

pages: $(STAMP)  ## every page of the standing morning in Chromium: errors, requests, size, contrast, keyboard
	$(BIN)/python -m tests.acceptance.pages

loop: $(STAMP)  ## a change from its proposal, approved in Chromium, to its realised lift
	$(BIN)/python -m tests.acceptance.loop

nights: $(STAMP)  ## ten nightlies, some with late events, against one backfill
	$(BIN)/python -m tests.acceptance.nights
