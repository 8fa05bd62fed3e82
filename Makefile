# These commands write to .venv, and the wheel to dist; git ignores both. `make figure` writes to images.
.DEFAULT_GOAL := help
.PHONY: help demo assets test loader soak e2e truth bench lint format validate sync figure wheel changelog clean

ddev := .ci/tools ddev --quiet -x test
version := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' datadog_checks/gunicorn/__about__.py)

help: ## Show this list
	@sed -n 's/^\([a-z0-9]*\):.*## /\1|/p' Makefile | while IFS='|' read -r name text; do printf 'make %-10s%s\n' "$$name" "$$text"; done

demo: .venv/demo/ready ## Start a Gunicorn and run the check against it
	.venv/demo/bin/python -m datadog_checks.gunicorn demo

# Variables of `make assets` count only on its command line: one in the environment must not change an account.
given = $(if $(filter command,$(origin $(1))),$($(1)))
option = $(if $(filter-out 0 1 no,$(call given,$(1))),$(error $(1)=$($(1)): use $(1)=1),$(if $(filter 1,$(call given,$(1))),$(2)))

# Check for the keys before installing anything.
assets: ## Show what would be loaded into a Datadog account; APPLY=1 loads it
	@test -n "$$DD_API_KEY" && test -n "$$DD_APP_KEY" || { echo 'DD_API_KEY or DD_APP_KEY: not set. Create keys in Datadog, under Organization Settings.' >&2; exit 2; }
	@$(MAKE) --silent .venv/assets/ready
	@.venv/assets/bin/python -m assets.upload $(foreach name,$(call given,ONLY),--only '$(name)') \
	    $(call option,APPLY,--apply) $(call option,REMOVE,--remove) $(call option,OVERWRITE,--overwrite)

test: .venv/ddev/ready ## Run the tests with each supported Python on this machine, and several versions of Gunicorn
	.ci/tools .ci/test

loader: .venv/ddev/ready ## Run the tests of `make assets` against a local API
	rm -f .venv/reports/loader.*
	$(ddev) .:loader
	.ci/tools python .ci/reports.py loader.

soak: .venv/ddev/ready ## Run the tests that take minutes
	rm -f .venv/reports/soak.*
	$(ddev) .:soak
	.ci/tools python .ci/reports.py soak.

e2e: .venv/ddev/ready ## Run the tests on real containers; needs root and Docker (on Debian: docker.io)
	rm -f .venv/reports/e2e.*
	$(ddev) .:e2e
	.ci/tools python .ci/reports.py e2e.

truth: .venv/ddev/ready ## Compare the states of workers with an application's own record; needs a quiet machine
	rm -f .venv/reports/truth.*
	$(ddev) .:truth
	.ci/tools python .ci/reports.py truth.

bench: .venv/ddev/ready ## Run the benchmarks
	$(ddev) --bench .

lint: .venv/ddev/ready ## Check style, types, and the direction of imports
	$(ddev) --lint .
	.ci/tools hatch run imports:check

format: .venv/ddev/ready ## Fix style errors and format the code
	$(ddev) --fmt .

validate: .venv/ddev/ready ## Check metadata, configuration, assets and README with ddev's validators
	.ci/tools .ci/validate

sync: .venv/ddev/ready ## Generate conf.yaml.example and config_models from assets/configuration/spec.yaml
	.ci/tools .ci/ddev-view validate config --sync gunicorn
	.ci/tools .ci/ddev-view --extras validate models --sync gunicorn

# Needs a quiet machine. The second command alone draws an existing recording again.
figure: .venv/figure/ready ## Record a Gunicorn whose database hangs, on Linux, and draw the pictures in images
	.venv/figure/bin/python -m images.record images/saturation.csv
	.venv/figure/bin/python -m images.draw images/saturation.csv

wheel: .venv/wheel/ready ## Build the wheel that an Agent installs, in dist
	rm -f dist/datadog_gunicorn-*.whl
	.venv/wheel/bin/python -m hatchling build --target wheel

# For a release, run it without --draft: it moves the entries to CHANGELOG.md.
changelog: .venv/ddev/ready ## Preview the changelog entries in changelog.d
	.ci/tools towncrier build --draft --version $(version)

clean: ## Remove everything that these commands created
	rm -rf .venv dist

.venv/demo/ready: pyproject.toml .ci/venv .ci/pythons
	@echo "Setting up .venv/demo ..."
	@.ci/venv .venv/demo --editable '.[demo]'
	@touch $@

.venv/figure/ready: Makefile pyproject.toml .ci/venv .ci/pythons
	@echo "Setting up .venv/figure ..."
	@.ci/venv .venv/figure --editable '.[demo]' matplotlib==3.11.2
	@touch $@

.venv/assets/ready: Makefile .ci/venv .ci/pythons
	@echo "Setting up .venv/assets ..."
	@.ci/venv .venv/assets 'datadog-api-client>=2.62,<3' 'PyYAML>=6,<7'
	@touch $@

.venv/wheel/ready: Makefile .ci/venv .ci/pythons
	@echo "Setting up .venv/wheel ..."
	@.ci/venv .venv/wheel 'hatchling>=1.26.3'
	@touch $@

# The last ddev for Python 3.11 and 3.12 restricts virtualenv, and thereby hatch to versions that cannot read
# pyproject.toml: override that restriction.
.venv/ddev/ready: Makefile .ci/venv .ci/pythons .ci/tools
	@echo "Setting up .venv/ddev ..."
	@.ci/venv .venv/ddev uv
	@echo 'upgrade_check = false' > .venv/ddev.toml
	@touch .venv/hatch.toml
	@echo 'virtualenv>=20.26' | .ci/tools uv pip install --quiet --python .venv/ddev/bin/python --override - 'ddev>=14.4,<21' towncrier
	@touch $@
