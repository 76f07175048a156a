# make report · make test · make test-browser · make test-faults · make test-cluster · make verify · make audit ·
# make performance · make html · make pdf · make publish · make benchmark · make study STUDY=name ·
# make gpu SECONDS=540 OUT=folder · make adopt FILE=folder · make check HOMEWORK=file. Each sets up .venv itself and is safe to repeat. Variables:
# PROFILE=quick|full|smoke: three epochs, the published run's settings, a slice of the data (default: full with CUDA, else
# quick). PYTHON=/path/to/python3 (3.11 to 3.14). FASHION_MNIST=/your/folder with the data's four files.

# No recipe relies on .SHELLFLAGS, which make 3.81 (macOS) does not know: a line's commands are joined by &&.
SHELL := bash
.NOTPARALLEL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory --no-builtin-rules

python := .venv/bin/python
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# the reader's own settings of Python, Jupyter, Matplotlib and cd would change what is made
unexport REPORT_HOME CDPATH $(filter PYTHON% JUPYTER% IPYTHON% MPL% MATPLOTLIB%,$(.VARIABLES))
export PYTHONUTF8 := 1
# the make in a recipe that make -n only prints; it is no child of this one's job server
make = $(if $(findstring jobserver,$(MAKEFLAGS)),env -u MAKEFLAGS )$(MAKE)

.PHONY: help report test test-browser test-faults test-cluster performance verify audit html pdf publish benchmark
.PHONY: study gpu adopt check lint rerun data published rendered
help:
	@sed -n '1,5s/^# //p' Makefile

# made again if the folder was moved or copied, or its Python is another or gone
.venv/installed: requirements.txt pyproject.toml $(shell tools/setup.sh stale)
	@PYTHON="$(PYTHON)" tools/setup.sh
.venv/made-for: .venv/installed ;
.PHONY: stale

data: .venv/installed
	@$(python) tools/report.py data

# ---- a rerun: build/$(PROFILE)/{runs, book, html} ------------------------------------------------------------------

report publish: .venv/installed
	@profile=$${PROFILE:-$$($(python) -c 'import torch; print("full" if torch.cuda.is_available() else "quick")')} && \
	$(python) tools/report.py check "$$profile" && \
	$(python) tools/report.py locked "build/$$profile" \
		$(make) $(if $(filter publish,$@),published,rerun) PROFILE="$$profile"

published:
	@$(python) tools/report.py publish $(PROFILE)

rerun: data
	@echo "Making the report with profiles/$(PROFILE).yaml into build/$(PROFILE)/"
	@$(MAKE) build/$(PROFILE)/html/index.html
	@$(python) tools/report.py summary $(PROFILE)

output_root := build/$(PROFILE)
library := $(wildcard $(foreach suffix,py yaml html js,vitlib/*.$(suffix) vitlib/*/*.$(suffix)))
data_files := $(wildcard studies/*.json studies/*.yaml studies/recipes/*.yaml studies/results/* benchmarks/results/*.json)
pages := $(patsubst notebooks/%,$(output_root)/book/%,$(wildcard notebooks/*.ipynb))
prose := $(wildcard book/*.md book/*.bib book/_static/* book/_ext/*.py) _config.yml _toc.yml

# make finds the pages that are out of date, and the rule of the book executes them side by side
$(output_root)/book/%.ipynb: notebooks/%.ipynb profiles/$(PROFILE).yaml $(library) $(data_files)
	@$(eval outdated += $*)rm -f $@
execute = $(if $(strip $(1)),$(python) tools/report.py execute $(PROFILE) $(1),:)

# these pages read the trained run
$(patsubst %,$(output_root)/book/%.ipynb,03_per_class try_it mistakes 07_attention reproduce): $(output_root)/book/02_training.ipynb

$(output_root)/html/index.html: $(pages) $(prose)
	@$(call execute,$(filter 02_training,$(outdated)))
	@$(call execute,$(filter-out 02_training,$(outdated)))
	@cp -R book/*.md book/*.bib book/_static book/_ext $(output_root)/book/
	@cp _config.yml _toc.yml $(output_root)/book/
	@echo "rendering the book ..."
	@$(call render,$(output_root)/book,$(output_root))
	@rm -rf $(output_root)/html && mv $(output_root)/_build/html $(output_root)/html && rm -rf $(output_root)/_build
	@touch $@

# ---- what is published: book/ and runs/ ----------------------------------------------------------------------------

html: .venv/installed
	@$(python) tools/report.py locked build/published $(make) rendered

rendered:
	@echo "rendering the published book ..."
	@mkdir -p build/published book/_build
	@$(call render,book,build/published)
	@rm -rf book/_build/html && mv build/published/_build/html book/_build/html
	@echo "The report: book/_build/html/index.html"

pdf: html
	@$(python) tools/pdf.py book/_build/html book/_build/report.pdf

# starts anew: what a killed build leaves would change the pages; warnings are errors; a failed build shows its log
render = trap 'echo "Stopped. Run the same command again to build the book." >&2; exit 130' INT; \
	rm -rf $(2)/_build && jupyter-book build $(1) --path-output $(2) --all -W -n --keep-going >$(2)/render.log 2>&1 \
	|| { grep -E 'WARNING|ERROR|Error' $(2)/render.log >&2 || tail -n 20 $(2)/render.log >&2; \
	echo "The book does not build; the whole log is $(2)/render.log." >&2; exit 1; }

# the quick tests and every page; the kinds of tests that it leaves out have their own targets
test: data
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} pytest --nbval -q -n 2

# axe-core and Lighthouse judge the pages in Chromium; no other browser is downloaded
judges := build/browser/node_modules/.package-lock.json

$(judges):
	@command -v npm >/dev/null || { echo "npm is not installed: install it (Debian: apt-get install npm)." >&2; exit 1; }
	@npm install --silent --no-save --no-package-lock --ignore-scripts --prefix build/browser \
		axe-core@4.14.1 lighthouse@12.8.2 && touch $@

test-browser: .venv/installed $(judges)
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} pytest -q -rs -n 2 -m "browser and not performance" tests

# on an idle machine: Lighthouse's score of each page's speed depends on it
performance: .venv/installed $(judges)
	@pytest -q -rs -m performance tests

# kills, full disks and damaged files (docs/faults.md)
test-faults: data
	@pytest -q -rs -m faults tests

verify: data
	@$(python) tools/verify.py

# known vulnerabilities of the pinned packages
audit: .venv/installed
	@uv tool run pip-audit==2.10.1 --strict --disable-pip --require-hashes -r requirements.txt || { \
		echo "A package has known vulnerabilities, or their database does not answer: see pip-audit's output above." >&2; exit 1; }

# ---- studies: recipes over seeds as jobs (docs/studies.md) ----------------------------------------------------------

# Snakemake has its own environment: it needs older releases of some packages
.venv-studies/installed: requirements-studies.txt .venv/made-for
	@echo "Installing Snakemake into .venv-studies (300 MB) ..."
	@$(python) -m venv --clear .venv-studies
	@.venv-studies/bin/python -I tools/install.py $<
	@touch $@

study: .venv-studies/installed data
	@$(python) tools/study.py run "$(STUDY)" $(OPTIONS)

# on a private Slurm on this machine; needs root, slurm-wlm and munge
test-cluster: .venv/installed
	@$(python) -c 'from tests.slurm import missing; exit(missing())'
	@$(MAKE) .venv-studies/installed data
	@pytest -q -m cluster tests

# the packages that the benchmarks compare with
.venv/benchmarks: requirements-benchmarks.txt | .venv/installed
	@$(python) -I tools/install.py $<
	@touch $@

# on an idle machine; nearly an hour on two cores; measures the GPU if there is one
benchmark: .venv/benchmarks data
	@$(python) benchmarks/cost.py
	@$(python) benchmarks/speed.py

# ---- what needs a GPU, in a limited time, and how its results come back (docs/gpu.md) --------------------------------

gpu: .venv/benchmarks data
	@$(python) tools/gpu.py --seconds $(or $(SECONDS),540) --out "$(OUT)"

adopt: .venv/installed
	@$(python) tools/adopt.py "$(FILE)"

# a homework, or a folder of them (docs/check.md); OPTIONS=--json
check: .venv/installed
	@$(python) tools/check.py "$(HOMEWORK)" $(OPTIONS)

# style, types, and that imports go one way
lint: .venv/installed
	@ruff check . && ruff format --check . && mypy && lint-imports --no-logo
