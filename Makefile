# Every target is complete in itself: it makes .venv, installs what it needs there, and continues. `make help` lists them.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
# The ONNX Runtime wheel: cpu, gpu (CUDA 13) or gpu-cuda12. Never two: they overwrite each other's files.
ifndef ORT
ORT := $(or $(shell PYTHONPATH=runtime $(PYTHON) -c 'from torchless.engine import cuda; print(cuda.extra_here())'),cpu)
endif
OTHER_WHEEL := $(if $(filter gpu%,$(ORT)),onnxruntime,onnxruntime-gpu)
# constraints.txt names the wheel for CUDA 13.
CONSTRAINTS := $(if $(filter gpu-cuda12,$(ORT)),build/constraints-cuda12.txt,constraints.txt)
# An index that holds CPU-only torch wheels, for those who have one.
TORCH_INDEX ?=

MODEL ?=
WEIGHTS ?= DEFAULT
ARGS ?=

EXPORT_ENV := $(VENV)/.installed-export-$(ORT)
DEV_ENV := $(VENV)/.installed-dev-$(ORT)
SUPPLY := build/supply/bin
SUPPLY_ENV := build/supply/.installed
# What `make sbom` lists beside the base dependencies.
EXTRAS ?= cpu,all
BENCH_ENV := $(VENV)/.installed-bench-$(ORT)
# A wheel of torchless whose tests `make test-runtime` is to run, instead of this folder's.
WHEEL ?=
RUNTIME_VENV := build/runtime-tests$(if $(WHEEL),-wheel)
RUNTIME_ENV := $(RUNTIME_VENV)/.installed-$(ORT)
NODE_MODULES := $(foreach example,node web,examples/$(example)/node_modules/.package-lock.json)
PROGRAMS := chromium strace
# Modules are compiled when they are first imported, and most never are: 350 MB of them would take pip one and a half
# minutes. But where nothing compiled may be kept, each start would compile what it imports.
COMPILE := $(if $(PYTHONDONTWRITEBYTECODE),--compile,--no-compile)
# What pip is doing, a line for each package.
SHOWN = $(PYTHON) tools/installing.py
IN_PARALLEL := -n auto --maxprocesses 4
DEMO_PHOTOS := export/torchless_export/photos/{coffee,chelsea,camera,rocket}.jpg

.PHONY: help setup browser proxy node demo export ship serve test test-all test-runtime test-hostile lint format typecheck zoo torch-versions python-versions containers clients real bench bench-again bench-serve attack compare docs image-formats mutations fuzz faults gpu-proof evaluate-docs picture wheel release-check sbom audit clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18
	@printf '\nVariables: ORT=cpu|gpu|gpu-cuda12 (now %s), TORCH_INDEX=URL of CPU-only torch wheels, PYTHON=python3.12\n' '$(ORT)'

setup: $(DEV_ENV) ## make .venv with everything that working on torchless needs

browser: ## install Chromium and other programs that some tests need (Debian's packages)
	@missing=$$(for program in $(PROGRAMS); do command -v $$program >/dev/null || echo $$program; done); [ -z "$$missing" ] \
		|| { echo "installing with apt-get, once:" $$missing >&2; \
			[ "$$(id -u)" = 0 ] && apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install $$missing >/dev/null; } \
		|| echo "some tests need these, and fail without them: sudo apt-get install" $$missing >&2

proxy: ## install nginx (Debian's package), which the slow tests put before the server
	@PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install nginx-light >/dev/null; } \
		|| echo 'the slow tests of serve need nginx, and fail without it: sudo apt-get install nginx-light' >&2

node: $(NODE_MODULES) ## install Node.js (Debian's package) and what the examples in JavaScript take from npm

demo: $(EXPORT_ENV) ## export two real ImageNet models, prove them, classify real photos, and set them side by side
	$(BIN)/torchless export efficientnet_lite0 --builder examples.efficientnet_lite:lite0 --activation softmax
	@$(call classify,efficientnet_lite0)
	@printf '\n$$ python examples/squeezenet_caffe.py artifacts/squeezenet1_1.pth\n'
	@command=$$($(BIN)/python examples/squeezenet_caffe.py artifacts/squeezenet1_1.pth) && printf '$$ %s\n' "$$command" && $(BIN)/$$command
	@$(call classify,squeezenet1_1)
	@printf '\n$$ torchless evaluate artifacts/squeezenet1_1.onnx examples/photos.csv --against artifacts/efficientnet_lite0.onnx\n'
	@$(BIN)/torchless evaluate artifacts/squeezenet1_1.onnx examples/photos.csv --against artifacts/efficientnet_lite0.onnx

export: $(EXPORT_ENV) ## make export MODEL=resnet50 [WEIGHTS=DEFAULT|IMAGENET1K_V1|none] [ARGS='--labels mine.txt']
	@test -n '$(MODEL)' || { echo 'name a model: make export MODEL=resnet50' >&2; exit 2; }
	$(BIN)/torchless export '$(MODEL)' --weights '$(WEIGHTS)' $(ARGS)

ship: $(EXPORT_ENV) ## make ship MODEL=resnet50: one executable file with runtime and model, artifacts/MODEL.pex (exports it first if need be)
	@test -n '$(MODEL)' || { echo 'name a model: make ship MODEL=resnet50' >&2; exit 2; }
	@test -e 'artifacts/$(MODEL).onnx' || $(MAKE) export MODEL='$(MODEL)' WEIGHTS='$(WEIGHTS)' ARGS=
	@$(BIN)/python -c 'import pex' 2>/dev/null || $(BIN)/pip install --constraint constraints.txt --editable '.[bundle]' | $(SHOWN)
	$(BIN)/torchless bundle 'artifacts/$(MODEL).onnx' $(if $(ARGS),$(ARGS),--output 'artifacts/$(MODEL).pex')

serve: $(EXPORT_ENV) ## make serve MODEL=resnet50 [ARGS='--port 9000'] (exports it first if need be)
	@test -n '$(MODEL)' || { echo 'name a model: make serve MODEL=resnet50' >&2; exit 2; }
	@test -e 'artifacts/$(MODEL).onnx' || $(MAKE) export MODEL='$(MODEL)' WEIGHTS='$(WEIGHTS)' ARGS=
	@$(BIN)/python -c 'import uvicorn, starlette' 2>/dev/null || $(BIN)/pip install --constraint constraints.txt --editable '.[serve]' | $(SHOWN)
	$(BIN)/torchless serve 'artifacts/$(MODEL).onnx' $(ARGS)

bench-serve: $(DEV_ENV) ## put the server under load beside FastAPI and LitServe, and write figures/serve.json (ten minutes; a quiet machine) [ARGS='--rounds 3']
	$(BIN)/pip install --constraint constraints.txt --editable '.[bench]' | $(SHOWN)
	@for model in resnet18 mobilenet_v3_small; do \
		test -e artifacts/$$model.onnx || $(BIN)/torchless export $$model --weights none; done
	$(BIN)/python bench/serve.py compare artifacts/resnet18.onnx artifacts/mobilenet_v3_small.onnx $(ARGS) > figures/serve.json.part
	mv figures/serve.json.part figures/serve.json
	$(BIN)/python tools/pages.py figures/serve.json

attack: $(DEV_ENV) ## attack a server on this machine in twelve ways, and write figures/attacks.json (four minutes) [ARGS='--seconds 2']
	@test -e artifacts/mobilenet_v3_small.onnx || $(BIN)/torchless export mobilenet_v3_small --weights none
	$(BIN)/python bench/attacks.py artifacts/mobilenet_v3_small.onnx $(ARGS) > figures/attacks.json.part
	mv figures/attacks.json.part figures/attacks.json
	$(BIN)/python tools/pages.py figures/attacks.json

test: $(DEV_ENV) browser node ## run the tests, with coverage: a few minutes [ARGS='tests/runtime -k exif']
	$(BIN)/pytest $(if $(ARGS),$(ARGS),-m 'not slow' $(IN_PARALLEL) --cov --cov-report=term:skip-covered)

test-all: test proxy ## run the slow tests too: families, kills, bundles, other environments
	$(BIN)/pytest -m slow --durations 12 $(IN_PARALLEL) $$(grep -rl --include='test_*.py' 'mark\.slow' tests)

test-hostile: $(DEV_ENV) browser node ## run the tests twice on a machine that is against them: tests/hostile.sh (long) [ARGS='tests/runtime']
	tests/hostile.sh $(if $(ARGS),$(ARGS),-m 'not slow' $(IN_PARALLEL))

test-runtime: $(RUNTIME_ENV) browser ## run the runtime's tests where neither torch nor onnx is installed: a minute [WHEEL=dist/torchless-….whl]
	@$(RUNTIME_VENV)/bin/python -c "$$NO_TORCH"
	$(RUNTIME_VENV)/bin/pytest tests/runtime $(if $(ARGS),$(ARGS),-m 'not slow' $(IN_PARALLEL))

lint: $(DEV_ENV) ## check style, and that every room imports only those below it (docs/architecture.md)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo --no-cache

format: $(DEV_ENV) ## rewrite the code in the project's style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

typecheck: $(DEV_ENV) ## mypy --strict
	$(BIN)/mypy

zoo: $(EXPORT_ENV) ## export all 80 torchvision classifiers through the gate (hours; resumable) [ARGS='resnet18 swin_t']
	$(BIN)/python tools/zoo.py $(ARGS)
	$(if $(ARGS),,cp artifacts/zoo.json figures/zoo.json && $(BIN)/python tools/pages.py figures/zoo.json)

torch-versions: $(DEV_ENV) ## export and prove six families with five versions of torch, and write figures/torch-versions.json (long; several GB each) [ARGS='2.6.0']
	$(BIN)/python tools/torch_versions.py $(ARGS)
	$(BIN)/python tools/pages.py figures/torch-versions.json

python-versions: $(DEV_ENV) ## prove the wheel in each Python that is here, and write figures/python-versions.json (minutes) [ARGS=/opt/bin/python3.14t]
	$(BIN)/python tools/python_versions.py $(ARGS)
	$(BIN)/python tools/pages.py figures/python-versions.json

containers: $(DEV_ENV) ## build and run a container image without a registry, and write figures/containers.json (minutes; as root)
	@missing=$$(for program in mmdebstrap bwrap; do command -v $$program >/dev/null || echo $$program; done); [ -z "$$missing" ] \
		|| { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install mmdebstrap bubblewrap >/dev/null; }
	@test -e artifacts/efficientnet_lite0.onnx || $(MAKE) demo
	$(BIN)/python tools/containers.py $(ARGS)
	$(BIN)/python tools/pages.py figures/containers.json

clients: $(DEV_ENV) ## try KServe's and Triton's clients against the server, each in its own environment, and write figures/clients.json (minutes)
	@ldconfig -p | grep -q libb64.so.0d || { [ "$$(id -u)" = 0 ] && apt-get -qq update && apt-get -qq -y install libb64-0d >/dev/null; } \
		|| echo 'perf_analyzer needs libb64: sudo apt-get install libb64-0d' >&2
	$(BIN)/python -m tests.clients figures/clients.json
	$(BIN)/python tools/pages.py figures/clients.json

bench: $(BENCH_ENV) ## measure torchless beside its peers, and write figures/bench.json and its pages (an hour; a quiet machine) [ARGS='--quick' or sections]
	$(BIN)/python bench/run.py $(ARGS)
	$(BIN)/python tools/pages.py figures/bench.json

bench-again: $(DEV_ENV) ## measure again, by two methods in many rounds, the times that contradicted each other, and what Ray costs (ten minutes; a quiet machine)
	@mkdir -p build
	$(BIN)/python bench/run.py --export mobilenet_v3_small densenet121 efficientnet_b0 resnet50
	$(BIN)/python bench/run.py again
	$(BIN)/python bench/on_ray.py throughput artifacts/bench/mobilenet_v3_small.onnx 1000 > build/ray-mobilenet_v3_small.json
	$(BIN)/python bench/on_ray.py throughput artifacts/bench/resnet50.onnx 200 > build/ray-resnet50.json
	$(BIN)/python bench/on_ray.py write figures/ray.json build/ray-mobilenet_v3_small.json build/ray-resnet50.json
	$(BIN)/python tools/pages.py figures/bench.json figures/ray.json

image-formats: $(DEV_ENV) ## read a photo in every format, mode and bit depth, here and with torchvision, and write figures/image-formats.json
	$(BIN)/python tools/image_formats.py figures/image-formats.json
	$(BIN)/python tools/pages.py figures/image-formats.json

mutations: $(DEV_ENV) ## plant every fault of the mutation table, and write figures/mutations.json
	$(BIN)/python -m tests.export.gate.mutations figures/mutations.json
	$(BIN)/python tools/pages.py figures/mutations.json

fuzz: $(DEV_ENV) ## put 36,000 changed images, models, checkpoints and requests through everything, and write figures/reliability.json (ten minutes) [ARGS='models manifests']
	$(BIN)/python -m tests.fuzz figures/reliability.json $(ARGS)
	$(BIN)/python tools/pages.py figures/reliability.json

faults: $(DEV_ENV) ## kill export, quantize, evaluate, compare, infer and processes of serve 200 times at random moments, and write figures/reliability.json (twenty minutes) [ARGS='export quantize']
	$(BIN)/python -m tests.fuzz.kills figures/reliability.json $(ARGS)
	$(BIN)/python tools/pages.py figures/reliability.json

docs: $(DEV_ENV) ## write the parts of README and docs/ that come from figures/, and draw their pictures [ARGS='docs/parity.md figures/bench.json']
	$(BIN)/python tools/pages.py $(ARGS)

gpu-proof: $(if $(SKIP_INSTALL),,$(BENCH_ENV)) ## prove and measure on this machine's NVIDIA GPU, and write figures/gpu and docs/gpu.md (25 minutes; resumable) [SKIP_INSTALL=1 ARGS='--full']
	$(if $(SKIP_INSTALL),PYTHONPATH="$$($(PYTHON) tools/gpu_proof/uninstalled.py)" $(PYTHON),PYTHONPATH=tools $(BIN)/python) -m gpu_proof $(ARGS)

evaluate-docs: demo ## train the digits, evaluate them and the demo's model, and write figures/evaluate/ and docs/evaluate/digits.png
	for epochs in 12 4; do \
		$(BIN)/python examples/finetune_digits.py artifacts/digits/$$epochs $$epochs; \
		cp artifacts/digits/$$epochs/digits.onnx artifacts/digits/$$epochs-epochs.onnx; \
	done
	cd artifacts/digits && "$(CURDIR)/$(BIN)/torchless" evaluate 12-epochs.onnx 12/test.csv --against 4-epochs.onnx
	cd artifacts/digits && "$(CURDIR)/$(BIN)/torchless" evaluate 12-epochs.onnx 12/test.csv --against 4-epochs.onnx --json \
		> "$(CURDIR)/figures/evaluate/digits.json"
	$(BIN)/torchless evaluate artifacts/efficientnet_lite0.onnx examples/photos.csv
	$(BIN)/torchless evaluate artifacts/efficientnet_lite0.onnx examples/photos.csv --json > figures/evaluate/photos.json
	$(BIN)/python tools/pages.py figures/evaluate/digits.json

compare: $(DEV_ENV) ## measure 35 models here, and write figures/compare and docs/compare.md (an hour, mostly of exporting; resumable)
	$(BIN)/torchless compare tutorial --weights none --rounds 2 --output figures/compare $(ARGS)
	$(BIN)/python tools/pages.py docs/compare.md

picture: demo $(DEV_ENV) ## have the demo's models answer again, and write figures/demo.json and the README's pictures
	$(BIN)/python tools/demo.py figures/demo.json artifacts/efficientnet_lite0.onnx artifacts/squeezenet1_1.onnx
	$(BIN)/python tools/pages.py figures/demo.json

real: $(DEV_ENV) ## prove, quantise and compare four networks with real weights on 20 labelled photos, and write figures/real and docs/real.md (a quarter of an hour; resumable) [ARGS='int8 answers']
	$(BIN)/python tools/real.py $(ARGS)
	$(BIN)/python tools/pages.py docs/real.md

wheel: ## build dist/torchless-*.whl
	@test -n '$(PYTHON)' || { echo 'torchless needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.12 …' >&2; exit 2; }
	@test -x build/wheel/bin/pip || $(PYTHON) -m venv build/wheel
	rm -rf dist
	build/wheel/bin/pip wheel --quiet --no-deps --wheel-dir dist .

release-check: $(DEV_ENV) ## what must be true before a release: sdist, wheel, files, metadata, each extra (ten minutes) [ARGS='ray']
	$(BIN)/python tools/release_check.py $(ARGS)

sbom: wheel $(SUPPLY_ENV) ## list what runs with torchless: docs/sbom.cdx.json (CycloneDX, validated) and docs/licences.md [EXTRAS=gpu,serve]
	rm -rf build/sbom
	$(PYTHON) -m venv --without-pip build/sbom
	$(SUPPLY)/pip --python build/sbom/bin/python install --constraint constraints.txt "$$(echo dist/torchless-*.whl)[$(EXTRAS)]" | $(SHOWN)
	$(SUPPLY)/cyclonedx-py environment build/sbom/bin/python --pyproject pyproject.toml --short-PURLs --output-reproducible --validate \
		--output-format JSON --output-file docs/sbom.cdx.json
	$(BIN)/python tools/pages.py docs/sbom.cdx.json

audit: $(SUPPLY_ENV) ## ask for known vulnerabilities of what constraints.txt pins; fails if any cannot be asked for [ARGS='-s osv']
	$(SUPPLY)/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict $(ARGS)

clean: ## remove .venv, dist, caches and what was exported
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
	find artifacts -mindepth 1 ! -name README.md -delete

# Without its post-install script, which would fetch CUDA's provider from elsewhere, onnxruntime-node has all that a CPU needs.
examples/%/node_modules/.package-lock.json: examples/%/package-lock.json
	@command -v npm >/dev/null || { echo 'installing Node.js with apt-get (once; 100 MB)' >&2; [ "$$(id -u)" = 0 ] && apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install nodejs npm >/dev/null; } \
		|| { echo 'this needs Node.js 20 or newer: sudo apt-get install nodejs npm' >&2; exit 1; }
	cd examples/$* && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

define classify
printf '%s\n' '' '$$ infer artifacts/$(1).onnx $(DEMO_PHOTOS)' && $(BIN)/infer artifacts/$(1).onnx $(DEMO_PHOTOS)
endef

build/constraints-cuda12.txt: constraints.txt
	@mkdir -p build
	@grep -v '^onnxruntime-gpu==' constraints.txt > $@

$(EXPORT_ENV): pyproject.toml $(CONSTRAINTS)
	$(call install,export$(,)demo)

$(DEV_ENV): pyproject.toml $(CONSTRAINTS)
	$(call install,dev)
	@touch $(EXPORT_ENV)

$(RUNTIME_ENV): pyproject.toml $(CONSTRAINTS) $(WHEEL)
	$(PYTHON) -m venv --clear $(RUNTIME_VENV)
	$(RUNTIME_VENV)/bin/pip install $(COMPILE) --constraint $(CONSTRAINTS) $(if $(WHEEL),'$(WHEEL)[test$(,)$(ORT)]',--editable '.[test$(,)$(ORT)]') | $(SHOWN)
	@touch $@

define NO_TORCH
import importlib.util, sys
found = [name for name in ("torch", "torchvision", "onnx", "onnxscript") if importlib.util.find_spec(name)]
sys.exit(f"these belong to the export side alone, and are installed: {', '.join(found)}" if found else 0)
endef
export NO_TORCH

$(SUPPLY_ENV): pyproject.toml constraints.txt
	rm -rf build/supply
	$(PYTHON) -m venv build/supply
	$(SUPPLY)/pip install --constraint constraints.txt 'cyclonedx-bom>=7.5' 'pip-audit>=2.10' | $(SHOWN)
	@touch $@

$(BENCH_ENV): pyproject.toml $(CONSTRAINTS)
	$(call install,dev$(,)bench)
	@touch $(EXPORT_ENV) $(DEV_ENV)

, := ,
define install
	@test -n '$(PYTHON)' || { echo 'torchless needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.12 …' >&2; exit 2; }
	@case '$(ORT)' in cpu|gpu|gpu-cuda12) ;; *) echo 'ORT is cpu, gpu or gpu-cuda12, not $(ORT)' >&2; exit 2;; esac
	@echo 'installing into $(VENV) (once; PyTorch is several GB)'
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@rm -f $(VENV)/.installed-*
	@$(BIN)/pip uninstall --quiet --yes $(OTHER_WHEEL) 2>/dev/null
	$(BIN)/pip install $(COMPILE) --constraint $(CONSTRAINTS) $(if $(TORCH_INDEX),--extra-index-url '$(TORCH_INDEX)') --editable '.[$(1),$(ORT)]' | $(SHOWN)
	@touch $@
endef
