# make report · make test · make test-browser · make test-faults · make test-cluster · make verify · make audit ·
# make performance · make html · make pdf · make publish · make benchmark · make study STUDY=name: each sets up .venv
# by itself and is safe to repeat.
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

.PHONY: help report test test-browser test-faults test-cluster performance verify audit html pdf publish benchmark
.PHONY: study lint rerun data published rendered
help:
	@sed -n '1,5s/^# //p' Makefile

.venv/installed: requirements.txt pyproject.toml
	@tools/setup.sh

data: .venv/installed
	@$(python) tools/report.py data

# ---- a rerun: build/$(PROFILE)/{runs, book, html} ------------------------------------------------------------------

report publish: .venv/installed
	@profile=$${PROFILE:-$$($(python) -c 'import torch; print("gpu" if torch.cuda.is_available() else "cpu")')}; \
	$(python) tools/report.py check "$$profile"; \
	$(python) tools/report.py alone "build/$$profile" \
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
	@$(python) tools/report.py alone build/published $(MAKE) rendered

rendered:
	@echo "rendering the published book ..."
	@mkdir -p build/published book/_build
	@$(call render,book,build/published)
	@rm -rf book/_build/html && mv build/published/_build/html book/_build/html
	@echo "The report: book/_build/html/index.html"

pdf: html
	@$(python) tools/pdf.py book/_build/html book/_build/report.pdf

# warnings are errors; the words of the build are shown only where it fails, and Ctrl-C is no failure
render = trap 'echo "Stopped. The same command builds the book anew." >&2; exit 130' INT; \
	jupyter-book build $(1) --path-output $(2) --all -W -n --keep-going >$(2)/render.log 2>&1 \
	|| { grep -E 'WARNING|ERROR|Error' $(2)/render.log >&2 || tail -n 20 $(2)/render.log >&2; \
	echo "The book does not build; $(2)/render.log has all of it." >&2; exit 1; }

test: data
	@pytest --nbval -q -rs

# every page in Chromium, judged by axe-core and Lighthouse too (from npm, into build/; no other browser is fetched)
judges := build/browser/node_modules/.package-lock.json

$(judges):
	@command -v npm >/dev/null || { echo "npm is not on this machine: install it (Debian: apt-get install npm)." >&2; exit 1; }
	@npm install --silent --no-save --no-package-lock --ignore-scripts --prefix build/browser \
		axe-core@4.14.1 lighthouse@12.8.2 && touch $@

test-browser: .venv/installed $(judges)
	@BROWSER_TESTS=full pytest -q -rs tests/test_browser.py tests/test_pdf.py

# Lighthouse's opinion of the speed, too: by hand, since it depends on what else the machine does
performance: .venv/installed $(judges)
	@BROWSER_TESTS=performance pytest -q tests/test_browser.py -k lighthouse

# what make test tries a sample of; FAULT_SEED=7 draws the same moments and inputs again, FAULTS="-k killed" picks tests
test-faults: data
	@FAULT_TESTS=full pytest -q -rs tests/faults $(FAULTS)

verify: data
	@$(python) tools/verify.py

# known faults of the pinned packages, and the bill of materials (CycloneDX), by tools in an environment of their own
build/audit/installed: requirements-audit.txt
	@python3 -m venv --clear build/audit
	@build/audit/bin/python -m pip install --disable-pip-version-check --quiet --require-hashes --only-binary :all: -r $<
	@touch $@

audit: build/audit/installed
	@build/audit/bin/cyclonedx-py requirements requirements.txt --of JSON -o build/sbom.json
	@echo "The bill of materials: build/sbom.json"
	@build/audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.txt || { \
		echo "A package has known faults, or the database of faults does not answer: pip-audit's words are above." >&2; exit 1; }

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

# the packages that speed is measured against
.venv/benchmarks: requirements-benchmarks.txt | .venv/installed
	@$(python) -m pip install --disable-pip-version-check -q -r $<
	@touch $@

# alone on the machine, for nearly an hour on two cores; with a CUDA GPU, the GPU
benchmark: .venv/benchmarks data
	@$(python) benchmarks/cost.py
	@$(python) benchmarks/speed.py

lint: .venv/installed
	@ruff check . && ruff format --check .
