# Two commands: `make demo` and `make test`. Both need only python3 (3.11 to 3.13), its venv module and make.
PYTHON ?= python3
VENV   ?= .venv
JOBS   ?= 2
BIN    := $(VENV)/bin
# Each target starts many processes; without its bytecode every one of them would compile all modules anew.
export PYTHONDONTWRITEBYTECODE :=
PIP    := $(BIN)/pip --disable-pip-version-check --quiet

.PHONY: help demo serve test lint format bench lock clean
help:            ## list the targets
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.lock pyproject.toml | $(BIN)/python
	@echo "setting up (once): the pinned packages of requirements.lock"
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	@echo "setting up (once): the pinned packages of requirements-dev.lock"
	$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

demo: $(VENV)/.run  ## the whole job on embedded parts, in a page of terminal
	$(BIN)/attestor demo

serve: $(VENV)/.run ## the demo's service, kept up in ./.attestor, which survives restarts
	$(BIN)/attestor serve --embedded .attestor

test: $(VENV)/.dev  ## every test; TESTS=path or -k expression narrows it
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile $(TESTS)

lint: $(VENV)/.dev  ## what CI runs after the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev ## figures, beside the machine's own limits
	$(BIN)/python -m tests.bench

lock:            ## pin again what pyproject.toml allows (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url \
	    --extra dev --no-emit-package attestor pyproject.toml --output-file requirements-dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url \
	    --extra build --extra demo --no-emit-package attestor --constraints requirements-dev.lock pyproject.toml --output-file requirements.lock

clean:           ## remove what the targets above made
	rm -rf $(VENV) .attestor build dist
