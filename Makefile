# make report · make test · make test-browser · make html · make pdf · make publish · make benchmark ·
# make study STUDY=name · make test-cluster: each sets up .venv by itself and is safe to repeat.
# PROFILE=cpu|gpu|smoke (by default gpu where CUDA is there, else cpu), PYTHON=/path/to/python3.11 or newer,
# FASHION_MNIST=/folder/of/your/own with the data's four files.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory --no-builtin-rules

python := .venv/bin/python
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport REPORT_HOME

.PHONY: help report test test-browser html pdf publish benchmark lint rerun data published study test-cluster
help:
	@sed -n '1,4s/^# //p' Makefile

.venv/installed: requirements.txt
	@tools/setup.sh

data: .venv/installed
	@$(python) tools/report.py data

# ---- a rerun: build/$(PROFILE)/{runs, book, html} ------------------------------------------------------------------

report publish: .venv/installed
	@profile=$${PROFILE:-$$($(python) -c 'import torch; print("gpu" if torch.cuda.is_available() else "cpu")')}; \
	$(python) tools/report.py check "$$profile"; \
	$(MAKE) $(if $(filter publish,$@),published,rerun) PROFILE="$$profile"

published:
	@$(python) tools/report.py publish $(PROFILE)

rerun: data
	@echo "Making the report with profiles/$(PROFILE).yaml into build/$(PROFILE)/"
	@$(MAKE) build/$(PROFILE)/html/index.html
	@$(python) tools/report.py summary $(PROFILE)

home := build/$(PROFILE)
library := $(wildcard vitlib/*.py vitlib/*.json vitlib/*.html studies/*.json studies/*.yaml studies/recipes/*.yaml studies/results/*.csv benchmarks/results/*.json)
pages := $(patsubst notebooks/%,$(home)/book/%,$(wildcard notebooks/*.ipynb))
prose := $(wildcard book/*.md book/*.bib book/_static/*) _config.yml _toc.yml

$(home)/book/%.ipynb: notebooks/%.ipynb profiles/$(PROFILE).yaml $(library)
	@$(python) tools/report.py execute $(PROFILE) $*

# what a page reads of the others: the trained run, and in the end what papermill noted in all of them
$(home)/book/index.ipynb $(home)/book/03_per_class.ipynb: $(home)/book/02_training.ipynb
$(home)/book/provenance.ipynb: $(filter-out %/provenance.ipynb,$(pages))

$(home)/html/index.html: $(pages) $(prose)
	@cp -R book/*.md book/*.bib book/_static $(home)/book/
	@cp _config.yml _toc.yml $(home)/book/
	@echo "rendering the book ..."
	@$(call render,$(home)/book,$(home))
	@rm -rf $(home)/html && mv $(home)/_build/html $(home)/html && rm -rf $(home)/_build
	@touch $@

# ---- what is published: book/ and runs/ ----------------------------------------------------------------------------

html: .venv/installed
	@echo "rendering the published book ..."
	@$(call render,book,book)
	@echo "The report: book/_build/html/index.html"

pdf: html
	@$(python) tools/pdf.py book/_build/html book/_build/report.pdf

# warnings are errors; the words of the build are shown only where it fails
render = jupyter-book build $(1) --path-output $(2) --all -W -n --keep-going >$(2)/render.log 2>&1 \
	|| { grep -E 'WARNING|ERROR|Error' $(2)/render.log >&2 || tail -n 20 $(2)/render.log >&2; \
	echo "The book does not build; $(2)/render.log has all of it." >&2; exit 1; }

test: data
	@pytest --nbval -q -rs

# every page in Chromium, judged by axe-core too (from npm, into build/)
axe := build/axe/node_modules/axe-core/axe.min.js

$(axe):
	@command -v npm >/dev/null || { echo "npm is not on this machine: install it (Debian: apt-get install npm)." >&2; exit 1; }
	@npm install --silent --no-save --no-package-lock --ignore-scripts --prefix build/axe axe-core@4.14.1

test-browser: .venv/installed $(axe)
	@BROWSER_TESTS=full pytest -q -rs tests/test_browser.py

# ---- studies: recipes and seeds as a graph of jobs (docs/studies.md) -----------------------------------------------

# Snakemake's own environment: it wants older releases of what the report's has
.venv-studies/installed: requirements-studies.txt | .venv/installed
	@echo "Installing Snakemake into .venv-studies (300 MB) ..."
	@$(python) -m venv .venv-studies
	@.venv-studies/bin/python -m pip install --disable-pip-version-check -q -r requirements-studies.txt
	@touch $@

study: .venv-studies/installed data
	@$(python) tools/study.py run "$(STUDY)" $(OPTIONS)

# a Slurm of its own on this machine: needs root, slurm-wlm and munge
test-cluster: .venv/installed
	@$(python) -c 'from tests.slurm import missing; exit(missing())'
	@$(MAKE) .venv-studies/installed data
	@CLUSTER_TESTS=1 pytest -q -rs tests/test_cluster.py

benchmark: .venv/installed
	@$(python) benchmarks/cost.py

lint: .venv/installed
	@ruff check . && ruff format --check .
