# The usual commands. The build itself is meson's: see meson.build.

BUILD = build
SUITE = quick
PREFIX = /usr/local
DIST = $(BUILD)/dist

all: build

setup: $(BUILD)/build.ninja
# A build folder keeps the prefix that it was set up with, until another one is asked for.
ifeq ($(origin PREFIX),command line)
	meson configure --prefix=$(abspath $(PREFIX)) $(BUILD)
endif

$(BUILD)/build.ninja:
	meson setup --prefix=$(abspath $(PREFIX)) $(BUILD)

deps:
	@scripts/install-deps

build: setup
	ninja -C $(BUILD)

# build/mrn, and what it starts and preloads.
tool: setup
	ninja -C $(BUILD) tool

# One after the other even under make -j: setting up needs what install-deps installs.
demo:
	@scripts/install-deps
	@$(MAKE) --no-print-directory tool
	$(BUILD)/mrn demo

test:
	@scripts/install-deps
	@$(MAKE) --no-print-directory build
	@scripts/run-tests --build $(BUILD) --suite $(SUITE)

# 77 is for what this machine lacks.
bench: tool
	@for suite in core regcache register trace io_uring hmm source; do \
		echo "mrn bench $$suite"; \
		$(BUILD)/mrn bench $$suite || [ $$? = 77 ] || exit 1; \
	done

bench-check: build
	@scripts/bench-check --build $(BUILD)

bench-report: build
	@scripts/bench-report --build $(BUILD)

lab: tool
	$(BUILD)/mrn lab

# Every bug that the lab can plant, on ten seeds; writes docs/lab-steps.md.
planted: tool
	@scripts/planted-bugs --build $(BUILD)

format:
	git ls-files -co --exclude-standard '*.c' '*.h' | xargs clang-format -i

lint:
	@scripts/lint

install: build
	meson install --no-rebuild -C $(BUILD)

# The source as it was committed last, as DIST/mrn-VERSION.tar.xz.
dist:
	@scripts/dist $(DIST)

# Debian packages of the same, in DIST.
deb:
	@scripts/deb $(DIST)

# The documents and the manual pages as a web site.
site:
	rm -rf $(BUILD)/site
	@scripts/site $(BUILD)/site

clean:
	rm -rf $(BUILD)

.PHONY: all setup deps build tool demo test bench bench-check bench-report lab planted format lint install dist deb site clean
