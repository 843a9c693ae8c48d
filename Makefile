# Two commands do everything on a fresh machine with Python 3.10 to 3.14: `make demo` and `make test`.
# They install the versions of constraints.txt, with which the suite has passed.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
UV = $(BIN)/python -m uv

.PHONY: demo test lint test-oldest test-newest constraints clean

demo: $(VENV)/installed
	$(BIN)/python infer.py assets/coffee.png --num-gaussians 10000 --iterations 200 --plots --output output/demo
	@echo "Open output/demo/coffee.png (the reconstruction) and output/demo/coffee-plots.png (what happened)."

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The same with every lower bound of pyproject.toml at once, and with the newest release of everything.
test-oldest: VENV = .venv-oldest
test-oldest: uv
	$(UV) pip install --python $(BIN)/python --resolution lowest-direct --editable '.[dev]'
	$(BIN)/python -m pytest

test-newest: VENV = .venv-newest
test-newest: uv
	$(UV) pip install --python $(BIN)/python --upgrade --editable '.[dev]'
	$(BIN)/python -m pytest

# constraints.txt anew, for all Pythons and systems, from the environment that `make test` has used: change what is
# installed there, run the tests, then this.
constraints: $(VENV)/installed-dev
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m pip freeze --exclude-editable --exclude uv > constraints.txt
	$(UV) pip compile --quiet --universal --python-version 3.10 --extra dev --no-annotate \
		--custom-compile-command "make constraints" --output-file constraints.txt pyproject.toml

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

clean:
	rm -rf .venv* output .pytest_cache .mypy_cache .ruff_cache
