# Everything a developer types. `make` alone lists the targets.

PYTHON ?= python3
PORT ?= 8000
# Some shells put the machine's name into HOST: only `make run HOST=...` counts.
ifneq ($(origin HOST),command line)
HOST := 127.0.0.1
endif
ARGS ?=

VENV := .venv
VENV_MILVUS := .venv-milvus
BIN := $(VENV)/bin
# Python compiles what it imports; all of it at once would take pip as long again.
PIP_INSTALL := $(BIN)/python -m pip install --no-compile
# What was installed, written when the installation is complete: an interrupted one is taken up again.
INSTALLED := $(VENV)/installed-requirements.txt
INSTALLED_DEV := $(VENV)/installed-requirements-dev.txt

.DEFAULT_GOAL := help
.PHONY: help install install-dev milvus-server run backup restore test lint format messages

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

run: install ## Start everything on http://127.0.0.1:8000/ (PORT=..., HOST=...)
	@exec $(BIN)/python -m t2isearch.embedded run --host $(HOST) --port $(PORT)

backup: install ## Save everything into a new folder (TO=..., whether it runs or not)
	@test -n "$(TO)" || { echo "Say where to: make backup TO=/backups/$$(date +%F)" >&2; exit 2; }
	@exec $(BIN)/python -m t2isearch.embedded backup "$(TO)"

restore: install ## Put a backup back where there is nothing yet (FROM=...)
	@test -n "$(FROM)" || { echo "Say which backup: make restore FROM=/backups/..." >&2; exit 2; }
	@exec $(BIN)/python -m t2isearch.embedded restore "$(FROM)"

install: ## Make .venv with all that is needed to run
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit( \
	  f"Python 3.11 or newer is needed, $(PYTHON) is {v[0]}.{v[1]}: name another one, such as `make $(or $(MAKECMDGOALS),install) PYTHON=python3.12`.")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@test "$$(cat requirements.txt)" = "$$(cat $(INSTALLED) 2>/dev/null)" || { \
	  $(PIP_INSTALL) --requirement requirements.txt && \
	  cp requirements.txt $(INSTALLED); }

install-dev: install ## The same with the tools for tests and style
	@test "$$(cat requirements.txt requirements-dev.txt)" = "$$(cat $(INSTALLED_DEV) 2>/dev/null)" || { \
	  $(PIP_INSTALL) --requirement requirements-dev.txt && \
	  cat requirements.txt requirements-dev.txt > $(INSTALLED_DEV); }

milvus-server: ## Install a Milvus server for the tests, in an environment of its own
	@$(VENV_MILVUS)/bin/milvus-server --help >/dev/null 2>&1 || { \
	  $(PYTHON) -m venv --clear $(VENV_MILVUS) && \
	  $(VENV_MILVUS)/bin/python -m pip install --quiet --no-compile milvus==2.3.5; }

test: install-dev ## Run the tests (ARGS="-k words")
	@exec $(BIN)/python -m pytest $(ARGS)

lint: install-dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .

format: install-dev ## Put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

messages: install-dev ## Take new texts into locale/ and compile the translations
	@$(BIN)/python -m tools.messages
