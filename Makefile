# make demo                      builds, installs and groups the bundled photographs
# make demo IMAGES=/some/folder  the same with your own; PROJECT=folder says where to, ARGS="--topics 8" passes options on
# make test                      installs what the tests need and runs them; EXTRAS=test-vae brings PyTorch for those that want it
# make lint                      style, types and the house rules (see CONTRIBUTING.md)
# make docs                      builds the documentation into build/site
# make debug                     builds the samplers with checks of bounds and counts, and runs their tests
# make wheel                     builds a wheel and tries it in an empty environment

PYTHON ?= python3
VENV ?= .venv
# ONNX Runtime for NVIDIA where a driver answers, for the CPU elsewhere; the two exclude each other.
EXTRA ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
IMAGES ?=
PROJECT ?=
ARGS ?=
EXTRAS ?=
export IMAGES PROJECT

# setuptools warns of every editable installation; nobody who runs make needs to know
INSTALL := PYTHONWARNINGS=ignore $(VENV)/bin/pip install -q -e
comma := ,
# What the tests need: EXTRAS, more extras of pyproject.toml with commas between, go beside `test`.
TESTS := test$(if $(EXTRAS),$(comma)$(EXTRAS))
TESTED := $(VENV)/.tested-$(EXTRA)-$(subst $(comma),-,$(TESTS))
LINTED := $(VENV)/.linted-$(EXTRA)-$(subst $(comma),-,$(TESTS))
DOCUMENTED := $(VENV)/.documented-$(EXTRA)
BUILD_FILES := pyproject.toml setup.py $(wildcard src_ext/*.pyx src_ext/*.h src_ext/[a-z]*.c)

.PHONY: demo test lint docs debug wheel clean

demo: $(VENV)/.installed-$(EXTRA)
	@if [ -z "$$IMAGES" ]; then $(VENV)/bin/fastvbow demo -o fastvbow-demo $(ARGS); \
	else $(VENV)/bin/fastvbow run "$$IMAGES" -o "$${PROJECT:-fastvbow-projects/$$(basename "$$IMAGES")}" $(ARGS); fi \
	|| { code=$$?; [ $$code -eq 3 ] || exit $$code; }  # 3: done, but some images were skipped

test: $(TESTED)
	$(VENV)/bin/python -m pytest $(ARGS)

lint: $(LINTED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

docs: $(DOCUMENTED)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

# From a copy, so that no object of this build is taken for one of another.
debug: $(TESTED)
	rm -rf build/debug
	mkdir -p build/debug/source
	cp -r setup.py pyproject.toml README.md LICENSE NOTICE src_ext fastvbow onnx_models build/debug/source
	rm -f build/debug/source/fastvbow/topics/*.so
	FASTVBOW_DEBUG=1 $(VENV)/bin/pip install -q --no-deps --target build/debug/site build/debug/source
	cd build/debug/site && $(CURDIR)/$(VENV)/bin/python -m pytest -q -p no:cacheprovider -c $(CURDIR)/pyproject.toml \
	--rootdir $(CURDIR) $(CURDIR)/tests/topics/test_gibbs.py $(CURDIR)/tests/topics/test_training.py $(CURDIR)/tests/topics/test_split_merge.py \
	$(CURDIR)/tests/topics/test_likelihood.py

wheel: $(VENV)/.installed-$(EXTRA)
	rm -rf build/wheel build/empty
	$(VENV)/bin/pip wheel -q --no-deps -w build/wheel .
	$(PYTHON) -m venv build/empty
	build/empty/bin/pip install -q "$$(ls $(CURDIR)/build/wheel/fastvbow-*.whl)[$(EXTRA)]"
	cd build/empty && bin/fastvbow doctor && bin/fastvbow demo -q -o demo --json

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q --upgrade 'pip>=23.1'

# Both ONNX Runtimes write to one folder: where the other one is, both have to go first.
OTHER := $(if $(filter gpu,$(EXTRA)),onnxruntime,onnxruntime-gpu)
DROP_OTHER = @if $(VENV)/bin/pip show -q $(OTHER) 2>/dev/null; then \
	$(VENV)/bin/pip uninstall -q -y onnxruntime onnxruntime-gpu; rm -f $(VENV)/.installed-* $(VENV)/.tested-* $(VENV)/.linted-* $(VENV)/.documented-*; fi

$(VENV)/.installed-$(EXTRA): $(VENV)/bin/pip $(BUILD_FILES)
	$(DROP_OTHER)
	$(INSTALL) '.[$(EXTRA)]'
	@touch $@

$(TESTED): $(VENV)/bin/pip $(BUILD_FILES)
	$(DROP_OTHER)
	$(INSTALL) '.[$(EXTRA),$(TESTS)]'
	@touch $@ $(VENV)/.installed-$(EXTRA)

$(LINTED): $(TESTED)
	$(INSTALL) '.[$(EXTRA),$(TESTS),lint]'
	@touch $@

$(DOCUMENTED): $(VENV)/bin/pip $(BUILD_FILES)
	$(DROP_OTHER)
	$(INSTALL) '.[$(EXTRA),docs]'
	@touch $@ $(VENV)/.installed-$(EXTRA)

clean:
	rm -rf $(VENV) build dist *.egg-info src_ext/_*.c fastvbow/topics/_*.so
