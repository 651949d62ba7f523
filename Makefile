# Everything here works in a fresh clone and needs no activated environment. `make help`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --prefer-binary --require-hashes
# Checks load the settings, and those make their data directory: not the real one.
CHECK := CONSOLE_DATA_DIR=$(VENV)/check
PYTEST := $(BIN)/python -m pytest
ARGS ?=
# With ARGS="-k something" a part of the suite may have nothing to run: pytest's 5.
NONE_IS_FINE := || [ $$? -eq 5 ]

.DEFAULT_GOAL := help
.PHONY: run demo test check bench clean help requirements

run: $(VENV)/run.stamp ## start the console; the address is printed (ARGS="--listen HOST:PORT")
	@exec $(BIN)/python manage.py up $(ARGS)

demo: $(VENV)/run.stamp ## start a throwaway console with store points that break and mend
	@exec $(BIN)/python manage.py demo $(ARGS)

test: $(VENV)/dev.stamp ## run the tests, on SQLite and PostgreSQL; says what was left out
	$(PYTEST) -n auto -m "not e2e and not faults" $(ARGS)
	$(PYTEST) -m "e2e or faults" $(ARGS) $(NONE_IS_FINE)
	CONSOLE_TEST_DATABASE=postgres $(PYTEST) -m postgres $(ARGS) $(NONE_IS_FINE)

check: $(VENV)/dev.stamp ## lint, types, layers, templates, migrations, settings, documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(CHECK) $(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/djlint --quiet --lint templates
	$(CHECK) $(BIN)/python manage.py makemigrations --check --dry-run
	$(CHECK) $(BIN)/python manage.py check --deploy --fail-level WARNING
	$(CHECK) $(BIN)/python manage.py write_configuration_docs --check
	$(CHECK) $(BIN)/python manage.py write_alert_docs --check
	! grep -rniE 'index-url|find-links|https?://' requirements/

bench: $(VENV)/dev.stamp ## run the benchmark suite
	$(BIN)/python -m bench $(ARGS)

# With the oldest Python: a newer one leaves out what only older ones need.
requirements: ## compile requirements/*.txt anew from pyproject.toml (OLDEST=python3.11.2)
	@$(OLDEST) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 11, 3))' \
		|| { echo "Python 3.11.0 to 3.11.2 is needed, such as Debian 12's: make requirements OLDEST=/path/to/it"; exit 1; }
	@$(OLDEST) -m venv --clear $(VENV)/compile
	@$(VENV)/compile/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	CUSTOM_COMPILE_COMMAND="make requirements" $(VENV)/compile/bin/pip-compile $(COMPILE) --output-file requirements/run.txt pyproject.toml
	CUSTOM_COMPILE_COMMAND="make requirements" $(VENV)/compile/bin/pip-compile $(COMPILE) --extra dev --constraint requirements/run.txt --output-file requirements/dev.txt pyproject.toml
OLDEST ?= /usr/bin/python3
COMPILE := --quiet --upgrade --allow-unsafe --generate-hashes --no-emit-index-url --no-emit-find-links --strip-extras

clean: ## remove the environment and the caches; var/ with the console's data stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis tests/artifacts
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- the environment ---------------------------------------------------------------

$(VENV)/made.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV) \
		|| { echo "Python's venv module is needed (on Debian: apt install python3-venv)"; exit 1; }
	@touch $@

$(VENV)/run.stamp: $(VENV)/made.stamp requirements/run.txt
	@echo "installing what the console needs"
	@$(PIP_INSTALL) -r requirements/run.txt
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp requirements/dev.txt
	@echo "installing what tests and checks need"
	@$(PIP_INSTALL) -r requirements/dev.txt
	@touch $@
