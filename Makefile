# Two commands are enough on a machine with python3 (>= 3.11), pip and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# All distributions are built by one setuptools; isolated, pip makes an environment for each of them.
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation
# What the demonstration needs, and no more; tests and linters are added to it.
RUNTIME := $(VENV)/runtime
# The lowest versions of all libraries.
LOWEST := $(VENV)-lowest
# Tests wait for servers, databases and clocks, so more of them run than there are cores. A process takes
# tests of one module as long as it can, for many share a deployment.
WORKERS := -n $$($(PYTHON) -c 'import os; print(os.cpu_count() + 2)') --dist worksteal
DISTRIBUTIONS := setup.cfg pyproject.toml client/setup.cfg plugins/okta/setup.cfg plugins/entra/setup.cfg plugins/onelogin/setup.cfg plugins/jumpcloud/setup.cfg plugins/billing/setup.cfg plugins/nats/setup.cfg

# An image may say that no bytecode is written; then each of the servers and commands that tests start compiles it all.
unexport PYTHONDONTWRITEBYTECODE

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11) and "python3 must be 3.11 or newer; name another with PYTHON=…")

.PHONY: demo example check test test-lowest lint build version serve screenshots bench overload failover onboarding soak events-soak fuzz slowest mutation docs clean

demo: $(RUNTIME)
	@$(BIN)/gateway demo $(ARGS)

# An application beside the gateway, with Okta played. examples/application/README.md
example: $(RUNTIME)
	@$(BIN)/python -m examples.application $(ARGS)

# Every package of the core and every plugin, on SQLite: all but what is marked slow. Before each commit.
check: $(STAMP)
	$(BIN)/pytest -n auto -m "not slow" $(ARGS)

# Twice: all of it on SQLite, and what reaches the database once more on PostgreSQL. Plugins rewrite messages, which no
# engine sees, and pages show what tests of provisioning have run there.
test: $(STAMP)
	$(BIN)/pytest $(WORKERS) $(ARGS)
	$(BIN)/pytest $(WORKERS) --engine postgresql $(ARGS) tests/store tests/provisioning tests/web/test_rate_limit_and_metrics.py tests/web/scim tests/web/admin tests/web/console/test_links.py tests/web/console/test_sessions.py tests/system tests/deploy client/tests/test_mirror.py

# The lowest versions that setup.cfg allows, in an environment of their own, and the tests that reach every library.
test-lowest:
	@$(PYTHON) -c '$(NEW_ENOUGH)'
	$(PYTHON) -m venv --clear $(LOWEST)
	$(PYTHON) .ci/lowest.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/pip install --quiet --disable-pip-version-check -c $(LOWEST)/constraints.txt -e '.[test,gunicorn]' -e client -e plugins/okta -e plugins/entra -e plugins/onelogin -e plugins/jumpcloud -e plugins/billing -e plugins/nats
	$(LOWEST)/bin/pytest -n auto $(ARGS) tests/scim tests/store tests/testing tests/web/admin tests/web/scim/test_conformance.py tests/plugin plugins client
	$(LOWEST)/bin/pytest -n auto --engine postgresql $(ARGS) tests/store tests/web/scim/test_conformance.py

# What .pre-commit-config.yaml runs before a commit.
lint: $(STAMP)
	$(BIN)/ruff check .ci gateway client plugins tests bench examples
	$(BIN)/ruff format --check .ci gateway client plugins tests bench examples
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# sdists and wheels of all distributions into dist/; the wheels are installed in a clean environment and tried.
build:
	@$(PYTHON) -c '$(NEW_ENOUGH)'
	$(PYTHON) .ci/build.py

# The one version of all distributions; `make version TO=1.2.3` sets it.
version:
	@$(PYTHON) .ci/version.py $(TO)

serve: $(STAMP)
	$(BIN)/gateway migrate
	$(BIN)/gateway serve $(ARGS)

# The pictures of the documentation, in docs/pictures/, as the browser test of the set-up takes them. Needs chromium.
screenshots: $(STAMP)
	GATEWAY_PICTURES=docs/pictures $(BIN)/pytest tests/browser/test_seed_setup.py -k mouse $(ARGS)

# Most of an hour, and 5 GB of disk for a while; `ARGS=--quick` takes a minute or two. docs/performance.md
bench: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m bench $(ARGS)

# Some eight minutes on two cores; `ARGS="--engines sqlite --only bodies"` takes less. docs/performance.md
overload: $(STAMP)
	$(BIN)/python -m bench.overload $(ARGS)

# Needs haproxy and pgbouncer. docs/operations.md
failover: $(STAMP)
	$(BIN)/python -m bench.failover $(ARGS)

# A minute or two. docs/scaling.md
onboarding: $(STAMP)
	$(BIN)/python -m bench.onboarding $(ARGS)

# Half an hour or more.
soak: $(STAMP)
	GATEWAY_KILLS=200 $(BIN)/pytest -s tests/system/test_kill.py $(ARGS)
	GATEWAY_KILLS=200 $(BIN)/pytest -s --engine postgresql tests/system/test_kill.py $(ARGS)

# A quarter of an hour: the feed of all organizations under many writers, and webhooks of nodes that are killed.
events-soak: $(STAMP)
	GATEWAY_EVENTS_SECONDS=110 $(BIN)/pytest -s tests/system/test_feed_of_all.py $(ARGS)
	GATEWAY_EVENTS_SECONDS=110 $(BIN)/pytest -s --engine postgresql tests/system/test_feed_of_all.py $(ARGS)
	GATEWAY_WEBHOOK_SECONDS=300 $(BIN)/pytest -s tests/system/test_webhooks_killed.py $(ARGS)
	GATEWAY_WEBHOOK_SECONDS=300 $(BIN)/pytest -s --engine postgresql tests/system/test_webhooks_killed.py $(ARGS)

# Linux only. docs/fuzzing.md
fuzz: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz $(ARGS)

# The slowest input of each reader; a minute or two. docs/fuzzing.md
slowest: $(STAMP)
	$(BIN)/python -m tests.fuzz.slowest $(ARGS)

# The code and SQL of seats, policy and tenancy with one fault at a time: an hour or more; `ARGS="--every 5"` takes one
# fault in five. docs/mutation.md
mutation: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[mutation]'
	$(BIN)/python -m tests.mutation $(ARGS)

# The pages as a site, in the folder site/. A link that leads nowhere ends it.
docs: $(RUNTIME)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

$(RUNTIME): $(DISTRIBUTIONS)
	@$(PYTHON) -c '$(NEW_ENOUGH)'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) 'setuptools >= 65' wheel
	$(INSTALL) -e . -e client -e plugins/okta -e plugins/billing
	@touch $(RUNTIME)

$(STAMP): $(RUNTIME)
	$(INSTALL) -e '.[test,browser,lint,gunicorn]' -e plugins/entra -e plugins/onelogin -e plugins/jumpcloud -e plugins/nats
	@touch $(STAMP)

clean:
	rm -rf $(VENV) $(LOWEST) build dist .pytest_cache .mypy_cache .ruff_cache site
