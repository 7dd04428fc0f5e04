# `make` alone lists the targets. What each needs is built or installed on the way.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Each module is built on its own, as Docker and `go install` build it: inside the
# workspace a wrong import from cli compiles unnoticed. go.work is for editors.
export GOWORK := off

# Links to the pinned tools, so that `go generate` finds them by their names.
TOOLS := $(CURDIR)/.tmp/tools
export PATH := $(TOOLS):$(PATH)

GO_FILES = git ls-files --cached --others --exclude-standard '*.go' | xargs -r ls -d 2>/dev/null | xargs -r grep -L '^// Code generated .* DO NOT EDIT\.$$'

.PHONY: help run build test soak bench generate lint fmt race clean
.PHONY: check-fmt check-generated vet test-cli test-root test-e2e tools-generate tools-lint packages engine

help: ## this list
	@echo "Synthesizer. Try: make run"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "After make build: bin/synctl --help. Rules for changes: CONTRIBUTING.md."

run: build ## start everything in one process on a Postgres of its own, with the examples
	@tools/packages.sh run
	@exec bin/standalone --register examples $(ARGS)

build: ## bin/synctl, bin/api, bin/scheduler, bin/executor, bin/standalone
	@mkdir -p bin
	go build -o bin/ ./services/api/cmd/api ./services/scheduler/cmd/scheduler ./services/executor/cmd/executor ./services/standalone
	cd cli && go build -o ../bin/ ./cmd/synctl

test: packages engine ## everything a change must pass
	@$(MAKE) check-fmt
	@$(MAKE) check-generated
	@$(MAKE) build
	@$(MAKE) vet
	@$(MAKE) lint
	@$(MAKE) test-cli
	@$(MAKE) test-root
	@$(MAKE) test-e2e
	@echo "make test: all passed"

bench: build packages ## the benchmarks, side by side with their peers
	cd bench && go run . $(ARGS)

generate: tools-generate ## rewrite all generated code
	@tools/generate.sh

lint: tools-lint ## golangci-lint over both modules
	cd cli && golangci-lint run ./...
	golangci-lint run ./...

fmt: tools-lint ## format all Go files
	@$(GO_FILES) | xargs -r gofumpt -w

# What make test runs shortened, in full: half an hour to an hour. FUZZ is how long each fuzz target runs.
FUZZ ?= 30s
soak: packages build ## the fault, chaos and property tests at full length, and the fuzz targets
	SYN_E2E_FULL=1 go test -count=1 -p 1 -timeout 2h -v ./e2e/ 2>&1 | grep --line-buffered -Ev '^=== (RUN|PAUSE|CONT|NAME)'
	SYN_CHAOS_FOR=5m SYN_EXPLAIN_ROUNDS=300 go test -count=1 -timeout 1h ./services/scheduler/ -run 'TestChaos|TestExplainSays'
	cd cli && grep -rl --include='*_test.go' '^func Fuzz' . | sort | while read -r f; do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z]*\)(.*/\1/p' "$$f"); do \
			go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZ) "$$(dirname "$$f")" || exit 1; \
		done; \
	done

race: packages ## the unit and database tests under the race detector
	cd cli && go test -race ./...
	go test -race $$(go list ./... | grep -v '/e2e')

clean: ## remove what make built in this directory
	rm -rf bin .tmp

check-fmt: tools-lint
	@bad=$$($(GO_FILES) | xargs -r gofumpt -l); \
	if [ -n "$$bad" ]; then echo "not formatted; run make fmt:"; echo "$$bad"; exit 1; fi

check-generated: tools-generate
	@tools/generate.sh --check

vet:
	cd cli && go vet ./...
	go vet ./...

test-cli:
	cd cli && go test ./...

test-root:
	go test $$(go list ./... | grep -v '/e2e')

# One after the other, never from the cache: they measure time, use ports and see
# processes that Go's cache knows nothing of.
test-e2e: build
	go test -count=1 -p 1 -timeout 30m -v ./e2e/... 2>&1 | grep --line-buffered -Ev '^=== (RUN|PAUSE|CONT|NAME)'

tools-generate:
	@tools/install.sh --link $(TOOLS) sqlc templ oapi-codegen >/dev/null

tools-lint:
	@tools/install.sh --link $(TOOLS) gofumpt golangci-lint >/dev/null

packages:
	@tools/packages.sh test

# Beside the other tests: the first time it takes minutes. e2e/compose waits for it.
engine:
	@mkdir -p .tmp
	@if docker info >/dev/null 2>&1; then SYN_IMAGE_PREFIX=synthesizer-e2e- nohup nice deploy/testbed/engine.sh build >.tmp/engine.log 2>&1 </dev/null & fi
