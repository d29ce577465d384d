PYTHON ?= python3
# Another environment can have another Python: make test VENV=.venv-3.13 PYTHON=python3.13
VENV ?= .venv
BIN := $(VENV)/bin
IMAGE ?= bookshelf
FASTIFY := benchmarks/peers/fastify
OPENAPI_LINT := checks/openapi_lint
# By default, npm waits up to five minutes for a response of the registry, and repeats each request.
NPM_TIMEOUTS := --fetch-timeout=10000 --fetch-retries=1 --fetch-retry-mintimeout=1000

# The newest released revision. Later ones run on tables that have rows, so their locks are checked.
RELEASED := 0005

# Installs a requirements file into an environment.
INSTALL = @$(CHECK_PYTHON) && $(PYTHON) tools/install.py
CHECK_PYTHON = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo "Bookshelf needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }

# With this value of --project, uv ignores the constraints in pyproject.toml, which `make lock` writes.
COMPILE = $(BIN)/uv pip compile --project / -q --universal --generate-hashes --no-annotate --custom-compile-command "make lock"

# Containers often set this variable, and then each process of pytest would compile all tests again.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n auto --dist loadfile
PLAIN := HTTP_FAST_PATH=false DB_FAST_PATH=false

# The slowest checks come first, so that none of them is left alone at the end.
CHECKS := $(addprefix check-,types deploy documents migrations openapi owasp format lint imports spelling modules alerts containers workflows)
# Prints the output of a check when the check ends. The make of macOS does not have this option.
OUTPUT_SYNC := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

.DEFAULT_GOAL := help
.PHONY: $(CHECKS) FORCE help install run seed psql test test-all test-plain test-pythons ha check fuzz openapi clients hosts docs format migrate entity revision bench image smoke rename lock clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/ready ## Install everything that tests and checks need (the other commands do this themselves)

run: $(VENV)/run-ready ## Start the service (with embedded servers, unless DATABASE_URL and S3_BUCKET are set)
	@exec $(BIN)/python -m app serve --migrate --worker --reload

test: $(VENV)/ready ## Run the tests that do not take long, on a real Postgres (PYTEST_ARGS="-k name" selects some)
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

# The second run is without the two fast paths and on another object store. `make test-plain` runs
# all tests like this. It comes first, so that the number of all tests is at the end.
test-all: $(VENV)/ready ## Run all tests, and those that call endpoints or execute statements a second time, without the two fast paths
	$(PLAIN) TEST_STORE=seaweedfs $(PYTEST) --quiet $(PYTEST_ARGS) @tests/tests_without_fast_paths.txt
	$(PYTEST) $(PYTEST_ARGS)

test-pythons: ## Run all tests on every installed Python that is supported (PYTHONS="3.12 3.14")
	@$(PYTHON) tools/pythons.py $(PYTHONS)

test-plain: $(VENV)/ready ## Run all tests without the two fast paths (HTTP_FAST_PATH, DB_FAST_PATH)
	$(PLAIN) $(PYTEST) $(PYTEST_ARGS)

ha: $(VENV)/ready $(if $(findstring --patroni,$(HA_ARGS)),.venv-ha/ready) ## Kill and switch over a Postgres under load, and count lost writes (HA_ARGS=--patroni)
	@$(BIN)/python -m drills $(HA_ARGS)

check: $(VENV)/ready ## Check format, lint, types, imports, spelling, documents, configuration files, migrations and openapi.json
	@$(MAKE) --no-print-directory --jobs=4 $(OUTPUT_SYNC) $(CHECKS)

# The checks are independent of each other, so `make check` runs several of them at a time.
check-types:
	$(BIN)/mypy
check-deploy:
	$(BIN)/python -m checks.deploy
check-documents:
	$(BIN)/zensical build --strict > /dev/null
check-migrations:
	$(BIN)/python -m checks.migrations $(RELEASED)
check-openapi:
	$(BIN)/python -m checks.openapi
check-format:
	$(BIN)/ruff format --check .
check-lint:
	$(BIN)/ruff check .
check-imports:
	$(BIN)/lint-imports --no-cache --no-logo
check-spelling:
	$(BIN)/typos
check-modules:
	$(BIN)/python -m checks.modules
check-alerts:
	$(BIN)/python -m checks.alerts
check-containers:
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yml
check-workflows:
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/ci.yml
	$(BIN)/zizmor --offline --quiet --no-progress .github/workflows
check-owasp:
	@if ! command -v npm > /dev/null; then \
		echo "npm is not installed, so the rules of OWASP are not checked in openapi.json."; \
	elif ! $(MAKE) --no-print-directory $(OPENAPI_LINT)/node_modules/ready; then \
		echo "npm cannot install Spectral, so the rules of OWASP are not checked in openapi.json."; \
	else $(MAKE) --no-print-directory $(OPENAPI_LINT)/node_modules/linted; fi

fuzz: $(VENV)/ready ## Send random valid and invalid requests for ten minutes (FUZZ_ARGS="--seconds 60 --seed 1")
	@$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

openapi: $(VENV)/ready ## Write openapi.json
	$(BIN)/python -m checks.openapi write

clients: $(VENV)/ready .venv-clients/ready ## Generate clients from openapi.json and test them (CLIENTS="orval fastmcp")
	@$(BIN)/python -m tests.clients $(CLIENTS)

docs: $(VENV)/ready ## Write docs/modules.md, build the documentation site in site/, and check its links
	$(BIN)/python -m checks.modules write
	$(BIN)/zensical build --strict

format: $(VENV)/ready ## Format the code and apply safe lint fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

seed: $(VENV)/run-ready ## Add a small catalog of real books
	@$(BIN)/python -m app seed

psql: $(VENV)/run-ready ## Open the database of DATABASE_URL (or the embedded Postgres) in psql (PSQL_ARGS="-c '\dt'")
	@exec $(BIN)/python -m tools.psql $(PSQL_ARGS)

# NAME is only taken from the command line, because WSL sets a variable NAME to the computer's name.
entity: $(VENV)/ready ## Write the code and tests of a new entity (NAME=publisher, PLURAL=... if irregular)
	@$(BIN)/python -m tools.entity $(if $(findstring command,$(origin NAME)),'$(NAME)' '$(PLURAL)','')

migrate: $(VENV)/run-ready ## Upgrade the schema of DATABASE_URL (or of the embedded Postgres)
	@$(BIN)/python -m app migrate

revision: $(VENV)/ready ## Write a migration for changed models (MESSAGE="create publishers")
	@$(BIN)/python -m tools.revision "$$MESSAGE"

bench: $(VENV)/ready .venv-bench/ready ## Measure the service and its peers (BENCH_ARGS="--quick")
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

image: ## Build the container image
	docker build $(if $(PYTHON_IMAGE),--build-arg PYTHON_IMAGE=$(PYTHON_IMAGE)) --tag $(IMAGE) .

smoke: ## Test docker-compose.yml: start all services, use them, and remove them
	@IMAGE=$(IMAGE) .ci/smoke

rename: $(VENV)/ready ## Give the service another name (make rename NAME=orderdesk TITLE="Order Desk")
	@$(BIN)/python -m tools.rename $(if $(findstring command,$(origin NAME)),'$(NAME)' '$(TITLE)')

hosts: $(VENV)/ready .venv-hosts/ready ## Run the service on other ASGI servers (granian, hypercorn, gunicorn, fastapi dev), and test the reload
	PYTHONPATH=.venv-hosts TEST_ASGI_SERVERS=all $(BIN)/pytest tests/hosts $(PYTEST_ARGS)

lock: $(VENV)/ready ## Pin all dependencies to their current versions, with hashes
	$(COMPILE) pyproject.toml -o requirements.txt $(LOCK_ARGS)
	$(COMPILE) pyproject.toml --extra embedded -c requirements.txt -o requirements-embedded.txt $(LOCK_ARGS)
	$(COMPILE) pyproject.toml --group pyproject.toml:dev -c requirements-embedded.txt -o requirements-dev.txt $(LOCK_ARGS)
	$(COMPILE) --python-version 3.11 tests/clients/requirements.in -o tests/clients/requirements.txt $(LOCK_ARGS)
	$(COMPILE) benchmarks/requirements.in -c requirements.txt -o benchmarks/requirements.txt $(LOCK_ARGS)
	$(COMPILE) --python-version 3.11 drills/requirements.in -o drills/requirements.txt $(LOCK_ARGS)
	$(COMPILE) --python-version 3.11 tests/hosts/requirements.in -c requirements-dev.txt -o tests/hosts/requirements.txt $(LOCK_ARGS)
	$(BIN)/python -m tools.constraints
	! command -v npm > /dev/null || npm install --prefix tests/clients --silent --package-lock-only --omit-lockfile-registry-resolved
	! command -v npm > /dev/null || npm install --prefix $(OPENAPI_LINT) --silent --package-lock-only --omit-lockfile-registry-resolved
	! command -v npm > /dev/null || npm install --prefix $(FASTIFY) --silent --package-lock-only --omit-lockfile-registry-resolved

clean: ## Remove installed and built packages, generated clients and the documentation site (not the data)
	rm -rf .venv .venv-* dist site tests/clients/generated tests/clients/node_modules $(FASTIFY)/node_modules $(OPENAPI_LINT)/node_modules

# `make run` needs fewer packages than `make test`, which adds its own to the same environment.
$(VENV)/run-ready: requirements-embedded.txt
	$(INSTALL) $(VENV) $<
	@touch $@

$(VENV)/ready: requirements-dev.txt $(VENV)/run-ready
	$(INSTALL) --exact $(VENV) $<
	@touch $@

# The tests run in the environment of the service, so this is only a directory with packages.
.venv-hosts/ready: tests/hosts/requirements.txt | $(VENV)/ready
	rm -rf .venv-hosts
	$(BIN)/uv pip install --quiet --project / --python $(BIN)/python --require-hashes --target .venv-hosts -r $<
	@touch $@

# Install again if the directory was moved, Python was replaced, or an installation was interrupted.
ifneq ($(shell $(BIN)/python -I tools/identity.py 2>/dev/null),$(shell cat $(VENV)/identity 2>/dev/null))
$(VENV)/run-ready: FORCE
endif

# The environment contains node and npm, so that generators in JavaScript need no other program.
.venv-clients/ready: tests/clients/requirements.txt tests/clients/package-lock.json
	$(INSTALL) --exact $(@D) $<
	PATH="$$PWD/$(@D)/bin:$$PATH" npm ci --prefix tests/clients --silent --ignore-scripts
	@touch $@

.venv-ha/ready: drills/requirements.txt
	$(INSTALL) --exact $(@D) $<
	@touch $@

# The frameworks that `make bench` measures have a separate environment. Fastify needs npm.
.venv-bench/ready: benchmarks/requirements.txt $(FASTIFY)/package-lock.json
	$(INSTALL) --exact $(@D) $<
	@if command -v npm >/dev/null; then npm ci --prefix $(FASTIFY) --silent --no-audit --no-fund; else echo "npm is not installed, so Fastify is skipped."; fi
	@touch $@

$(OPENAPI_LINT)/node_modules/ready: $(OPENAPI_LINT)/package-lock.json
	npm ci --prefix $(OPENAPI_LINT) --silent --no-audit --no-fund $(NPM_TIMEOUTS)
	@touch $@

# The document is linted again only after it, a rule or the linter has changed.
$(OPENAPI_LINT)/node_modules/linted: openapi.json $(OPENAPI_LINT)/ruleset.yaml $(OPENAPI_LINT)/node_modules/ready
	$(OPENAPI_LINT)/node_modules/.bin/spectral lint --fail-severity=hint --quiet --ruleset $(OPENAPI_LINT)/ruleset.yaml openapi.json
	@touch $@
