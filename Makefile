# Quipu: build it, run it, prove it. `make` alone lists what there is.

VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GO        ?= go
TOOL      := $(GO) tool -modfile=tools/go.mod
# Packages tested at once. Each may run databases of its own, so more than the
# cores at hand only makes all of them slow.
PARALLEL  ?= 2
# More flags for go test, or arguments for `make up`, `make bench` and the like:
# make test TEST='-run Exactly -v'    make up ARGS='--help'
TEST      ?=
ARGS      ?=

.DEFAULT_GOAL := help
.PHONY: help deps test-deps build up test test-mysql8 lint format bench bench-quick soak clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install MariaDB, Java and ZooKeeper if they are missing (asks first; YES=1 agrees)
	@deploy/install.sh

test-deps: ## install what deps does and what only tests need (asks first; YES=1 agrees)
	@deploy/install.sh --tests

build: ## build bin/quipu
	$(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/quipu ./cmd/quipu

# exec, so that a signal to make, and Ctrl-C with it, reaches the launcher itself;
# make waits until the launcher has stopped everything.
up: deps build ## run a whole cluster on this machine, its data in ./data, until Ctrl-C
	@exec bin/quipu up $(ARGS)

test: test-deps build ## run all tests, on real servers
	QUIPU_TEST_BINARY='$(CURDIR)/bin/quipu' $(GO) test -timeout 25m -p $(PARALLEL) $(TEST) ./...

# What did not run must not look like what passed: without a server this fails and says so.
test-mysql8: ## run the database tests on MySQL 8.0.22 or newer: MYSQLD8=/path/to/mysqld, else that of the PATH
	@server='$(MYSQLD8)'; [ -n "$$server" ] || server=$$(command -v mysqld) || server=; \
	if [ -z "$$server" ]; then \
		echo 'NOT RUN: there is no mysqld on the PATH. Give one: make test-mysql8 MYSQLD8=/path/to/mysqld (8.0.22 or newer).' >&2; exit 3; fi; \
	version=$$("$$server" --no-defaults --version) || { echo "NOT RUN: $$server does not tell its version." >&2; exit 3; }; \
	case "$$version" in *MariaDB*) echo "NOT RUN: $$server is MariaDB: $$version" >&2; exit 3 ;; esac; \
	echo "on $$version"; \
	QUIPU_TEST_MYSQLD8="$$server" $(GO) test -count=1 -timeout 30m -p 1 $(TEST) ./migrations ./mysql ./failover ./shard-proxy

lint: ## check form and common mistakes
	@unformatted=$$($(TOOL) gofumpt -l .) || exit 1; \
	if [ -n "$$unformatted" ]; then echo "to be formatted (make format):"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags soak ./...
	$(TOOL) staticcheck ./...
	$(GO) test ./internal/lint

format: ## format the Go code
	$(TOOL) gofumpt -w .

bench: deps build ## measure; at most 10 minutes, writes bench/results.json
	$(GO) run ./bench $(ARGS)

bench-quick: deps build ## measure roughly; at most a minute
	$(GO) run ./bench -quick $(ARGS)

soak: test-deps build ## kill everything over and over and count again; up to two hours
	QUIPU_TEST_BINARY='$(CURDIR)/bin/quipu' $(GO) test -count=1 -timeout 120m -tags soak -v $(TEST) ./scenario/...

clean: ## remove what was built; the cluster's ./data stays
	rm -rf bin
