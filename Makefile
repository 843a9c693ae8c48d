# Two commands do everything on a fresh machine with Python 3.10 to 3.14: `make demo` and `make test`.
# They install the versions of constraints.txt, with which the suite has passed.
ifeq ($(OS),Windows_NT)
PYTHON ?= python
SCRIPTS = Scripts
else
PYTHON ?= python3
SCRIPTS = bin
endif
VENV ?= .venv
BIN = $(VENV)/$(SCRIPTS)
UV = $(BIN)/python -m uv
# Two processes share the tests: most of them use one core.
PYTEST = $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

.PHONY: demo test test-fast lint docs test-oldest test-newest constraints clean

demo: $(VENV)/installed
	$(BIN)/python infer.py assets/coffee.png --num-gaussians 10000 --iterations 200 --plots --output output/demo
	@echo "Open output/demo/coffee.png (the reconstruction) and output/demo/coffee-plots.png (what happened)."

test: $(VENV)/installed-dev
	$(PYTEST)

# Without the tests that are marked as slow: for use while editing.
test-fast: $(VENV)/installed-dev
	$(PYTEST) -m "not slow"

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation as a website, in output/site; warnings are errors.
docs: $(VENV)/installed-docs
	$(BIN)/mkdocs build --strict
	@echo "Open output/site/index.html."

# The same with every lower bound of pyproject.toml at once, and with the newest release of everything.
test-oldest: VENV = .venv-oldest
test-oldest: uv
	$(UV) pip install --python $(BIN)/python --resolution lowest-direct --editable '.[dev]'
	$(PYTEST)

test-newest: VENV = .venv-newest
test-newest: uv
	$(UV) pip install --python $(BIN)/python --upgrade --editable '.[dev]'
	$(PYTEST)

# constraints.txt anew, for all Pythons and systems, from the environment that `make test` and `make docs` have used:
# change what is installed there, run both, then this.
constraints: $(VENV)/installed-dev $(VENV)/installed-docs
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m pip freeze --exclude-editable --exclude uv > constraints.txt
	$(UV) pip compile --quiet --universal --python-version 3.10 --extra dev --extra docs --extra hdr --extra anchors --extra giant \
		--extra ray --no-annotate --custom-compile-command "make constraints" --output-file constraints.txt pyproject.toml

.PHONY: uv
uv:
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet uv

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("fastgs needs Python 3.10 or newer, this is " + sys.version.split()[0] + "; name another with: make PYTHON=python3.12 ...") if sys.version_info < (3, 10) else None'
	@echo "Installing into $(VENV); PyTorch is large, this takes a minute or a few."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

clean:
	rm -rf .venv* output .pytest_cache .mypy_cache .ruff_cache
