PYTHON ?= python3
BIN := .venv/bin
IMAGE ?= bookshelf
FASTIFY := benchmarks/peers/fastify
OPENAPI_LINT := checks/openapi_lint

# The newest released revision. Later ones run on tables that have rows, so their locks are checked.
RELEASED := 0005

.DEFAULT_GOAL := help
.PHONY: help run seed psql test test-plain ha check fuzz openapi clients hosts docs format migrate entity revision bench image smoke rename lock clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

run: .venv/ready ## Start the service (with embedded servers, unless DATABASE_URL and S3_BUCKET are set)
	@exec $(BIN)/python -m app serve --migrate --worker --reload

test: .venv/ready ## Run all tests on a real Postgres (PYTEST_ARGS="-k name" selects some)
	$(BIN)/pytest -n auto --dist loadfile $(PYTEST_ARGS)

test-plain: .venv/ready ## Run all tests without the two fast paths (HTTP_FAST_PATH, DB_FAST_PATH)
	HTTP_FAST_PATH=false DB_FAST_PATH=false $(BIN)/pytest -n auto --dist loadfile $(PYTEST_ARGS)

ha: .venv/ready $(if $(findstring --patroni,$(HA_ARGS)),.venv-ha/ready) ## Kill and switch over a Postgres under load, and count lost writes (HA_ARGS=--patroni)
	@$(BIN)/python -m drills $(HA_ARGS)

check: .venv/ready ## Check format, lint, types, imports, spelling, documents, configuration files, migrations and openapi.json
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/ci.yml
	$(BIN)/python -m checks.deploy
	$(BIN)/zizmor --offline --quiet --no-progress .github/workflows
	$(BIN)/typos
	$(BIN)/python -m checks.modules
	$(BIN)/python -m checks.alerts
	$(BIN)/zensical build --strict > /dev/null
	$(BIN)/python -m checks.openapi
	@if command -v npm > /dev/null; then $(MAKE) --no-print-directory $(OPENAPI_LINT)/node_modules/linted; else echo "npm is not installed, so the rules of OWASP are not checked in openapi.json."; fi
	$(BIN)/python -m checks.migrations $(RELEASED)

fuzz: .venv/ready ## Send random valid and invalid requests for ten minutes (FUZZ_ARGS="--seconds 60 --seed 1")
	@$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

openapi: .venv/ready ## Write openapi.json
	$(BIN)/python -m checks.openapi write

clients: .venv/ready .venv-clients/ready ## Generate clients from openapi.json and test them
	@$(BIN)/python -m tests.clients

docs: .venv/ready ## Write docs/modules.md, build the documentation site in site/, and check its links
	$(BIN)/python -m checks.modules write
	$(BIN)/zensical build --strict

format: .venv/ready ## Format the code and apply safe lint fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

seed: .venv/ready ## Add a small catalog of real books
	@$(BIN)/python -m app seed

psql: .venv/ready ## Open the database of DATABASE_URL (or the embedded Postgres) in psql (PSQL_ARGS="-c '\dt'")
	@exec $(BIN)/python -m tools.psql $(PSQL_ARGS)

# NAME is only taken from the command line, because WSL sets a variable NAME to the computer's name.
entity: .venv/ready ## Write the code and tests of a new entity (NAME=publisher, PLURAL=... if irregular)
	@$(BIN)/python -m tools.entity $(if $(findstring command,$(origin NAME)),'$(NAME)' '$(PLURAL)','')

migrate: .venv/ready ## Upgrade the schema of DATABASE_URL (or of the embedded Postgres)
	@$(BIN)/python -m app migrate

revision: .venv/ready ## Write a migration for changed models (MESSAGE="create publishers")
	@$(BIN)/python -m tools.revision "$$MESSAGE"

bench: .venv/ready .venv-bench/ready ## Measure the service and its peers (BENCH_ARGS="--quick")
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

image: ## Build the container image
	docker build $(if $(PYTHON_IMAGE),--build-arg PYTHON_IMAGE=$(PYTHON_IMAGE)) --tag $(IMAGE) .

smoke: ## Test docker-compose.yml: start all services, use them, and remove them
	@IMAGE=$(IMAGE) .ci/smoke

rename: .venv/ready ## Give the service another name (make rename NAME=orderdesk TITLE="Order Desk")
	@$(BIN)/python -m tools.rename $(if $(findstring command,$(origin NAME)),'$(NAME)' '$(TITLE)')

hosts: .venv/ready .venv-hosts/ready ## Run the service on other ASGI servers (granian, hypercorn, gunicorn, fastapi dev), and test the reload
	PYTHONPATH=.venv-hosts TEST_ASGI_SERVERS=all $(BIN)/pytest tests/hosts $(PYTEST_ARGS)

lock: .venv/ready ## Pin all dependencies to their current versions, with hashes
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-annotate --custom-compile-command "make lock" pyproject.toml -o requirements.txt $(LOCK_ARGS)
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-annotate --custom-compile-command "make lock" pyproject.toml --extra dev -c requirements.txt -o requirements-dev.txt $(LOCK_ARGS)
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-annotate --custom-compile-command "make lock" --python-version 3.11 tests/clients/requirements.in -o tests/clients/requirements.txt $(LOCK_ARGS)
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-annotate --custom-compile-command "make lock" benchmarks/requirements.in -c requirements.txt -o benchmarks/requirements.txt $(LOCK_ARGS)
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-annotate --custom-compile-command "make lock" --python-version 3.11 drills/requirements.in -o drills/requirements.txt $(LOCK_ARGS)
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-annotate --custom-compile-command "make lock" --python-version 3.11 tests/hosts/requirements.in -c requirements-dev.txt -o tests/hosts/requirements.txt $(LOCK_ARGS)
	! command -v npm > /dev/null || npm install --prefix tests/clients --silent --package-lock-only --omit-lockfile-registry-resolved
	! command -v npm > /dev/null || npm install --prefix $(OPENAPI_LINT) --silent --package-lock-only --omit-lockfile-registry-resolved
	! command -v npm > /dev/null || npm install --prefix $(FASTIFY) --silent --package-lock-only --omit-lockfile-registry-resolved

clean: ## Remove installed packages, generated clients and the documentation site (not the data)
	rm -rf .venv .venv-clients .venv-bench .venv-ha .venv-hosts site tests/clients/generated tests/clients/node_modules $(FASTIFY)/node_modules $(OPENAPI_LINT)/node_modules

.venv/ready: requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit("Bookshelf needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

.venv-clients/ready: tests/clients/requirements.txt | .venv/ready
	$(PYTHON) -m venv --clear .venv-clients
	.venv-clients/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# The tests run in .venv, so this is only a directory with packages.
.venv-hosts/ready: tests/hosts/requirements.txt | .venv/ready
	rm -rf .venv-hosts
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --target .venv-hosts -r $<
	@touch $@

.venv-ha/ready: drills/requirements.txt | .venv/ready
	$(PYTHON) -m venv --clear .venv-ha
	.venv-ha/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# The frameworks that `make bench` measures have a separate environment. Fastify needs npm.
.venv-bench/ready: benchmarks/requirements.txt $(FASTIFY)/package-lock.json
	$(PYTHON) -m venv --clear .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@if command -v npm >/dev/null; then npm ci --prefix $(FASTIFY) --silent --no-audit --no-fund; else echo "npm is not installed, so Fastify is skipped."; fi
	@touch $@

$(OPENAPI_LINT)/node_modules/ready: $(OPENAPI_LINT)/package-lock.json
	npm ci --prefix $(OPENAPI_LINT) --silent --no-audit --no-fund
	@touch $@

# The document is linted again only after it, a rule or the linter has changed.
$(OPENAPI_LINT)/node_modules/linted: openapi.json $(OPENAPI_LINT)/ruleset.yaml $(OPENAPI_LINT)/node_modules/ready
	$(OPENAPI_LINT)/node_modules/.bin/spectral lint --fail-severity=hint --quiet --ruleset $(OPENAPI_LINT)/ruleset.yaml openapi.json
	@touch $@
