# The commands of a checkout; `make help` lists them. Everything Python goes into .venv, native builds into the user's cache.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ASAN_LIB := build/sanitized
CUDA_LIB := build/cuda
SAY = @echo "[hoshikage]"

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## Shows this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: serve
serve: install ## Builds, fetches the demo model and serves it on 127.0.0.1:3030
	@$(BIN)/hoshikage model demo
	@exec $(BIN)/hoshikage serve

.PHONY: test
test: install-dev ## Runs the whole test suite
	$(BIN)/python -m pytest $(ARGS)

.PHONY: bench
bench: install ## Runs all benchmarks on an idle machine (half an hour) and writes benchmarks/RESULTS.md
	$(BIN)/python benchmarks/results.py $(ARGS)

.PHONY: lint
lint: install-dev ## ruff, mypy --strict, clang-format, clang-tidy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror csrc/*.cpp csrc/*.hpp csrc/*.h
	$(BIN)/python -m build_support.lint

.PHONY: format
format: install-dev ## Formats Python and C++
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i csrc/*.cpp csrc/*.hpp csrc/*.h

.PHONY: build
build: $(VENV)/.tools ## Builds the native module into hoshikage_core/ (only what changed)
	@$(BIN)/python setup.py --quiet build_ext --inplace

.PHONY: install
install: build $(VENV)/.installed ## Makes .venv with the package in it, editable

.PHONY: install-dev
install-dev: install $(VENV)/.dev ## The same with what tests and lint need

.PHONY: asan
asan: install-dev ## Runs the native tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@HOSHIKAGE_SANITIZE=address,undefined $(BIN)/python setup.py --quiet build --build-temp build/temp.sanitized --build-lib $(ASAN_LIB)
	@$(BIN)/python -m build_support.sanitized $(ASAN_LIB) $(ARGS)

.PHONY: cuda-check
cuda-check: install-dev ## Builds for CUDA, for one architecture, and tries the module; needs no GPU
	@HOSHIKAGE_BACKEND=cuda HOSHIKAGE_CUDA_ARCHS="$${HOSHIKAGE_CUDA_ARCHS:-89}" \
		$(BIN)/python setup.py --quiet build --build-temp build/temp.cuda --build-lib $(CUDA_LIB)
	@$(BIN)/python -m build_support.cuda_check $(CUDA_LIB)

.PHONY: clean
clean: ## Removes .venv and what was built in the checkout; the cache stays
	rm -rf $(VENV) build dist *.egg-info third_party/llama.cpp/source third_party/llama.cpp/source.*
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f hoshikage_core/_native*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: clean-cache
clean-cache: ## Removes the cached native builds too; downloads and models stay
	rm -rf "$$($(PYTHON) -c 'from build_support.cache import cache_root; print(cache_root())')/build"

# ---- .venv: a stamp is written last, so what was interrupted is done again ----

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "error: Python 3.10 以上が必要です / Python 3.10 or newer is needed: $$($(PYTHON) --version 2>&1)" >&2; exit 1; }
	$(SAY) ".venv を作っています / making .venv"
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); \
		echo "error: venv がありません。/ No venv: on Debian and Ubuntu, sudo apt install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.tools: $(VENV)/.made pyproject.toml
	$(SAY) "ビルドの道具を入れています / installing the build tools (cmake, ninja, cffi)"
	@$(BIN)/python -m build_support.requirements | $(PIP) install --requirement /dev/stdin
	@touch $@

$(VENV)/.installed: $(VENV)/.tools pyproject.toml setup.py
	$(SAY) "hoshikage を .venv に入れています / installing hoshikage into .venv"
	@$(PIP) install --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(SAY) "テストと lint の道具を入れています / installing what tests and lint need"
	@$(PIP) install --no-build-isolation --editable '.[dev]'
	@touch $@
