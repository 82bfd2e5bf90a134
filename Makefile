# make demo    start the bundled tcpserver, call it over IPv4 and IPv6, compare its answers with the kernel's
# make test    ruff, mypy --strict, pyright, pytest
# make docs-test   the commands of all pages, and what they print; a part of make test
# make check-workflows   what is below .github, against the schemas of the forge
# make bench   the benchmarks, beside the programs of other packages that are installed; draws docs/benchmarks.svg again
# make fuzz    any bytes to every parser, FUZZ seconds for each; guided by coverage where atheris can be installed
# make soak    SOAK seconds (600) of mixed traffic, with everything going wrong meanwhile; fails if anything is lost
#
# Needs python3 with venv, and make. PYTHON= chooses the interpreter, VENV= where its environment is made, PYTEST= adds
# arguments: make test PYTHON=python3.13 VENV=.venv-3.13 PYTEST='-k rules'
#
# The environment is the developer's: the checkout is installed editable, so that an edit is tested as it stands.
# make test-wheel tests what users get instead: it builds the wheel, installs that, and keeps the checkout off the path.

PYTHON = python3
VENV = .venv
PYTEST =
# The tests wait for children and for time-outs: with two processes for each processor it is seldom idle.
WORKERS = $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))
FUZZ = 60
SOAK = 600
RUN = $(VENV)/bin/python

.PHONY: demo test docs-test lint typing pytest test-wheel check-workflows bench fuzz soak clean

demo: $(VENV)/.package
	$(RUN) examples/demo.py

test: lint typing pytest

lint: $(VENV)/.tools
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m ucspi_env.envcheck.lint --exclude 'broken_*' examples

# The last command is about what users' type checkers see. It looks for the package by way of the first python on the path.
typing: $(VENV)/.tools
	$(RUN) -m mypy
	$(VENV)/bin/pyright --pythonpath $(RUN)
	PATH="$(abspath $(VENV))/bin:$$PATH" pyright --verifytypes ucspi_env --ignoreexternal >$(VENV)/.verified || { cat $(VENV)/.verified; false; }
	@grep score $(VENV)/.verified

pytest: $(VENV)/.tests
	$(RUN) -Im pytest -n $(WORKERS) $(PYTEST)

docs-test: $(VENV)/.tools
	$(RUN) -Im pytest -n $(WORKERS) tests/docs tests/core/test_docs.py $(PYTEST)

# Without the stamp the next of the other targets puts the editable package back.
test-wheel: $(VENV)/.tests
	rm -rf build/wheel $(VENV)/.package
	$(RUN) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/wheel .
	$(RUN) -m pip install --quiet --no-deps --force-reinstall build/wheel/*.whl
	$(RUN) -Im pytest -n $(WORKERS) $(PYTEST)

check-workflows: $(VENV)/.forge
	$(RUN) -Im pytest tests/project/test_forge.py

bench: $(VENV)/.tests
	$(RUN) -m benchmarks

fuzz: $(VENV)/.fuzz
	$(RUN) -m tests.fuzz --seconds $(FUZZ)

soak: $(VENV)/.tests
	$(RUN) -m tests.soak --seconds $(SOAK)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# pip 25.1 is the first that knows dependency groups. Building without isolation lets a second run do without a network.
$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade 'pip>=25.1' 'hatchling>=1.26' editables
	touch $@

$(VENV)/.package: $(VENV)/.made pyproject.toml
	$(RUN) -m pip install --quiet --no-build-isolation --editable .
	touch $@

$(VENV)/.tests: $(VENV)/.package
	$(RUN) -m pip install --quiet --group tests
	touch $@

# There is no atheris for every machine; without it the same targets are tried by hypothesis.
$(VENV)/.fuzz: $(VENV)/.tests
	$(RUN) -m pip install --quiet --only-binary :all: --group fuzz || echo "no atheris for this machine: hypothesis instead" >&2
	touch $@

# Not among the tools: it needs a compiled package, which is not there for every machine.
$(VENV)/.forge: $(VENV)/.tests
	$(RUN) -m pip install --quiet --group forge
	touch $@

$(VENV)/.tools: $(VENV)/.tests
	$(RUN) -m pip install --quiet --group dev
	touch $@
