# make run     the whole study on the embedded tiny models: tables and figures in results/smoke/
# make test    every test that this machine can run
#
# Both install what is missing into .venv first. `make help` lists the rest.

PYTHON ?= python3
# Not from the environment, where a NAME may mean something else.
PROFILE = smoke
DATA =
COLUMNS =
MODELS =
NAME = $(PROFILE)

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Tools that look at the packages or the docstrings, apart from the packages.
TOOLS := $(VENV)/tools/bin
quoted = '$(subst ','\'',$(1))'

.DEFAULT_GOAL := help
.PHONY: help install run test faults lint audit lock docs notebook report clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  options: PROFILE=full  DATA=rows.jsonl  COLUMNS=output=answer  MODELS=tiny-llama,tiny-phi  NAME=mine  PYTHON=python3.12"

install: $(READY) ## .venv with the CPU or the GPU packages, whichever this machine needs

$(READY): requirements.txt requirements.lock pyproject.toml src/alpaca_lab/install.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1); try: make PYTHON=python3.12" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python src/alpaca_lab/install.py
	@touch $@

run: $(READY) ## execute master_file.ipynb: finetune, decode, score, tables, figures
	@$(BIN)/python -m alpaca_lab execute --profile $(call quoted,$(PROFILE)) \
	  --data $(call quoted,$(DATA)) --columns $(call quoted,$(COLUMNS)) \
	  --models $(call quoted,$(MODELS)) --name $(call quoted,$(NAME))

test: $(READY) ## the tests that this machine can run
	@$(BIN)/python -m pytest

faults: $(READY) ## break the study on purpose, an hour or two: results/reliability.md
	@$(BIN)/python tests/faults

lint: $(READY) ## ruff: style and format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

audit: $(TOOLS)/pip-audit ## known vulnerabilities of every pinned package; needs a network
	@PYTHONPATH=src $(TOOLS)/python -m alpaca_lab.requirements.audit $(TOOLS)/pip-audit

lock: $(TOOLS)/uv ## write requirements.lock again, after a change of requirements.txt
	@PYTHONPATH=src $(TOOLS)/python -m alpaca_lab.requirements.lock $(TOOLS)/uv

docs: $(READY) $(TOOLS)/mkdocs ## how it works, and every docstring, as a site: outputs/docs/site/
	@$(BIN)/python docs/figures outputs/docs/figures
	@NO_MKDOCS_2_WARNING=1 $(TOOLS)/mkdocs build --strict --quiet -f docs/mkdocs.yml
	@echo "the site is outputs/docs/site/index.html: open it from the disk, nothing is fetched"

$(TOOLS)/mkdocs:
	@test -x $(TOOLS)/python || $(PYTHON) -m venv $(VENV)/tools
	@$(TOOLS)/python -m pip install -q --disable-pip-version-check mkdocs==1.6.1 \
	  mkdocs-material==9.8.2 mkdocstrings-python==2.0.11 $$(grep -o '^ruff==[0-9.]*' requirements.txt)

$(TOOLS)/pip-audit $(TOOLS)/uv:
	@test -x $(TOOLS)/python || $(PYTHON) -m venv $(VENV)/tools
	@$(TOOLS)/python -m pip install -q --disable-pip-version-check pip-audit==2.10.1 uv==0.13.9

notebook: $(READY) ## open master_file.ipynb in JupyterLab
	@$(BIN)/jupyter lab master_file.ipynb

report: $(READY) ## write tables and figures again from the record, then check them
	@$(BIN)/python -m alpaca_lab report --name $(call quoted,$(NAME))
	@$(BIN)/python -m alpaca_lab report --name $(call quoted,$(NAME)) --check

clean: ## remove .venv, caches, outputs/ and this study's results
	@case $(call quoted,$(NAME)) in ''|*[!A-Za-z0-9_-]*) \
	  echo "error: NAME names one study below results/: letters, digits, - and _" >&2; exit 2;; esac
	rm -rf $(VENV) outputs results/$(NAME) .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
