SHELL := bash
REQUIREMENTS := $(if $(GPU),requirements-gpu.txt,requirements.txt)
SCRIPTS = $(shell git ls-files '*.sh' .ci/run)

.PHONY: help setup quickstart pictures test test-slow test-all robustness audit lint docs npu-report format bench bench-compare clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' Makefile

setup: ## create .venv with the pinned requirements (GPU=1 for NVIDIA GPUs)
	@bash common/shell/make_venv.sh .venv 3.11 3.13 $(REQUIREMENTS)
	@[ -x .venv/bin/zoo ] || .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .

quickstart: setup ## train every model on tiny data and print a table
	@.venv/bin/python quickstart.py

pictures: quickstart ## make the pictures of the README from the quick start
	@mkdir -p docs/pictures
	@.venv/bin/python -c "from PIL import Image; Image.open('.quickstart/runs/siamese_triplet_tf2/0/evaluate/retrievals.png').crop((0, 50, 800, 890)).save('docs/pictures/look_alikes.png')"
	@cp .quickstart/runs/sa_siam_tf1/0/predict/Drawn1/annotated.gif docs/pictures/tracking.gif

ifdef GPU
test:
	@nvidia-smi -L >/dev/null 2>&1 || { echo "[Error] GPU leg: no GPU (nvidia-smi finds none); nothing was tested" >&2; exit 1; }
	@$(MAKE) --no-print-directory setup
	@.venv/bin/python -m tests.gpu_leg
else
test: setup ## run the tests (GPU=1: parity, steps and resuming of every model on a GPU)
	@bash tests/run_leg.sh .venv/bin/python
endif

test-slow: setup ## run the slow tests: kill runs, train on real data, run every command of the READMEs
	@bash tests/run_leg.sh .venv/bin/python -m slow

test-all: ## run all tests: those of `make test` on TensorFlow 1.15.5, 2.6.5 and current, the slow ones on current
	@bash tests/run_all_legs.sh
	@$(MAKE) --no-print-directory test-slow

robustness: setup ## kill trainings, give them bad inputs, fuzz the file readers; prints a table
	@.venv/bin/python -m tests.robustness

audit: ## look up known vulnerabilities of the pinned packages (needs the network; SERVICE=osv asks osv.dev, not PyPI)
	@env -u PYTHON bash common/shell/make_venv.sh .venvs/audit 3.11 3.13 requirements-audit.txt
	@status=0; for file in requirements*.txt; do echo "== $$file"; \
	    .venvs/audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off $(if $(SERVICE),-s $(SERVICE)) -r $$file || status=1; done; \
	[ $$status -eq 0 ] || echo "[Error] some packages are vulnerable or could not be looked up, see above; without a" \
	    "network nothing can be looked up" >&2; exit $$status

lint: ## ruff, shellcheck and mypy
	@env -u PYTHON bash common/shell/make_venv.sh .venvs/lint 3.11 3.13 requirements-lint.txt
	.venvs/lint/bin/ruff check .
	.venvs/lint/bin/shellcheck -x -P . $(SCRIPTS)
	.venvs/lint/bin/mypy

docs: setup ## generate the tables of flags, results, recipes and docs/npu.md from the code
	@.venv/bin/python docs/generate.py
	@.venv/bin/python -m tests.fakes.report --write

npu-report: setup ## print what every NPU flag sets, by version of the adapter, from runs against the fakes
	@.venv/bin/python -m tests.fakes.report

format: ## let ruff fix what it can
	@bash common/shell/make_venv.sh .venvs/lint 3.11 3.13 requirements-lint.txt
	.venvs/lint/bin/ruff check --fix .

bench: setup ## measure speed and memory, ends with a table (an hour; ARGS="--only=gitloss --repeats=1" for less)
	@.venv/bin/python -m benchmarks $(ARGS)

bench-compare: setup ## show what changed since an earlier table: make bench-compare OLD.json [NEW.json]
	@.venv/bin/python -m benchmarks.compare $(filter %.json,$(MAKECMDGOALS))

ifneq ($(filter bench-compare,$(MAKECMDGOALS)),)
.PHONY: $(filter %.json,$(MAKECMDGOALS))
$(filter %.json,$(MAKECMDGOALS)):
	@:
endif

clean: ## delete environments, quick-start runs and caches
	rm -rf .venv .venvs .quickstart .bench .mypy_cache .ruff_cache .pytest_cache
