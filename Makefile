.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
FUZZ_STAMP := $(VENV)/.installed-fuzz
# Tests are as strict as what they test, but for what comes untyped: nameko's classes, pytest's and click's decorators, JSON.
MYPY_TESTS := --explicit-package-bases --allow-subclassing-any --allow-untyped-decorators --allow-untyped-calls \
  --no-warn-return-any --disable-error-code func-returns-value --no-error-summary

.PHONY: help run console test contract version docs screenshots flaky faults e2e fuzz generate snapshots check audit format bench clean lock

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Realmate needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (half a minute, once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

run: $(STAMP) ## Start everything on one machine: http://127.0.0.1:8000
	@$(BIN)/python console/build.py --if-needed || true  # it says why; everything else runs without the page
	@exec $(BIN)/realmate up --exit-with-parent

console: $(STAMP) ## Build the console's page, with this machine's Node or one from PyPI
	@$(BIN)/python console/build.py

test: $(STAMP) ## All tests, with real stores that they start themselves
	@$(BIN)/python console/build.py --if-needed
	@$(BIN)/python -m pytest -n 6 --dist worksteal --ignore tests/faults/test_faults.py
	@$(BIN)/python -m pytest -n 2 tests/faults/test_faults.py  # by themselves: they keep a whole machine busy

flaky: $(STAMP) ## Run tests TIMES (20) times, eight at once on a busy machine: make flaky TESTS="tests/integration/test_up.py -k dies"
	@$(BIN)/python -m pytest $(TESTS) --count $${TIMES:-20} -n 8 -p no:cacheprovider -q

faults: $(STAMP) ## Break everything for FAULT_SECONDS (150) over each transport; outcome in .realmate/faults
	@FAULT_GOALS=1 FAULT_SECONDS=$${FAULT_SECONDS:-150} FAULT_REPORT=$${FAULT_REPORT:-.realmate/faults} \
	  $(BIN)/python -m pytest tests/faults/test_faults.py -s -q

contract: $(STAMP) ## Check a server against the contract: make contract URL=http://host:port
	@$(BIN)/python -m pytest tests/contract -q --through-proxy --base-url $(URL)

e2e: $(STAMP) ## Everything on the cluster that KUBECONFIG names, in half an hour (tests/e2e/conftest.py)
	@E2E=1 $(BIN)/python -m pytest tests/e2e -s -q $(E2E)

$(FUZZ_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	@touch $@

generate: $(STAMP) ## Write what is made from something else: the chart's schema and README, the CRD, tables in docs
	@$(BIN)/python -W ignore charts/generate.py

docs: $(STAMP) ## The documentation as a site, in .realmate/site
	@$(BIN)/zensical build --clean --strict

screenshots: $(STAMP) ## Draw each page of the console into .realmate/screenshots, and those of docs/console.md anew
	@$(BIN)/python console/build.py --if-needed
	@mkdir -p .realmate/screenshots docs/images
	@SCREENSHOTS=.realmate/screenshots $(BIN)/python -m pytest -q -n 2 tests/integration/test_console_page_looks.py
	@for name in $$(grep -o 'images/[a-z-]*.png' docs/console.md); do cp .realmate/screenshots/$$(basename $$name) docs/images/; done

snapshots: $(STAMP) ## Write anew what the chart renders, for a reviewer to see what a change changes
	@UPDATE_SNAPSHOTS=1 $(BIN)/python -m pytest -q tests/chart/test_snapshots.py

fuzz: $(FUZZ_STAMP) ## Five minutes of atheris at what strangers can reach; make fuzz FUZZ="--help" for less and more
	@$(BIN)/python tests/fuzz/run.py $(FUZZ)

audit: ## Look what is known against the versions in constraints.txt (needs the network)
	@test -d $(VENV)/audit || $(PYTHON) -m venv $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	@$(VENV)/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip

version: $(STAMP) ## Set the project's version everywhere: make version NEW=0.2.0
	@test -n "$(NEW)" || { echo "make version NEW=0.2.0"; exit 2; }
	@sed -i '0,/^version = .*/s//version = "$(NEW)"/' pyproject.toml
	@sed -i -E 's/^(version: |appVersion: ")[0-9.]+/\1$(NEW)/; s/(image: realmate:)[0-9.]+/\1$(NEW)/' charts/realmate/Chart.yaml
	@sed -i -E 's/realmate:[0-9]+\.[0-9]+\.[0-9]+/realmate:$(NEW)/' docker-compose.yml README.md docs/kubernetes.md
	@sed -i -E 's/^(ARG VERSION=).*/\1$(NEW)/' Dockerfile

check: $(STAMP) ## What CI checks: format, lint, types, layers, workflows, and that the dependencies fit each other
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@for folder in tests/*/ bench/; do MYPYPATH=services:$$folder:tests:bench $(BIN)/mypy $(MYPY_TESTS) $$folder || exit 1; done
	@$(BIN)/lint-imports
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yaml
	@$(BIN)/zizmor --offline --quiet .github/workflows
	@$(BIN)/zensical build --clean --strict >$(VENV)/docs.log || { cat $(VENV)/docs.log; exit 1; }
	@$(BIN)/python -m pip check --disable-pip-version-check
	@$(BIN)/python console/build.py --check

format: $(STAMP) ## Format and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

$(BENCH_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

bench: $(BENCH_STAMP) ## Measure what this machine can do, in 20 minutes; make bench BENCH="--help" for less and more
	@$(BIN)/python bench/run.py $(BENCH)

lock: ## Write constraints.txt, requirements.lock and docs/licences.md anew, from the newest versions that fit pyproject.toml
	@rm -rf $(VENV)/lock && $(PYTHON) -m venv $(VENV)/lock
	@echo "Installing the newest versions (two minutes) ..."
	@$(VENV)/lock/bin/python -m pip install --quiet --disable-pip-version-check '.[bench,dev,fuzz,operator,watch]'
	@{ echo "# What CI and \`make\` install: the versions we test with. Refresh: make lock"; \
	   $(VENV)/lock/bin/python -m pip freeze --exclude realmate; } > constraints.txt
	@$(VENV)/lock/bin/python -m pip install --quiet --disable-pip-version-check uv pip-licenses
	@{ echo "# What the image installs, by hash: the packages of pyproject.toml in the versions of constraints.txt. Refresh: make lock"; \
	   $(VENV)/lock/bin/uv pip compile --quiet --universal --python-version 3.11.4 --generate-hashes --no-header --no-annotate \
	     --no-emit-index-url --extra operator -c constraints.txt pyproject.toml; } > requirements.lock
	@{ echo "# Licences of what the image contains"; echo; echo "Written by \`make lock\`, from the packages' own metadata."; echo; \
	   $(VENV)/lock/bin/pip-licenses --from=mixed --with-urls --format=markdown \
	     --packages $$(sed -n 's/^\([a-z0-9._-]*\)==.*/\1/ip' requirements.lock); \
	   echo; echo "What the console's page is built from:"; echo; echo "| Name | Version | License |"; echo "|---|---|---|"; \
	   $(VENV)/lock/bin/python console/build.py --licences; } > docs/licences.md

clean: ## Remove the virtual environment, the built page and the local data
	@rm -rf $(VENV) .realmate console/node_modules console/dist services/realmate/console/page
