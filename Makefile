# Every target is for people; `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

GO ?= go
SQLC := $(GO) tool -modfile=tools/sqlc/go.mod sqlc
STATICCHECK := $(GO) tool -modfile=tools/staticcheck/go.mod staticcheck

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/opsdb
	$(GO) build -o bin/opsdb ./cmd/opsdb

# ---- Generated files ---------------------------------------------------------
# A further kind of generated file: a target gen-<what> that writes it, added to GEN.

GEN := gen-sql gen-schema gen-openapi gen-docs

.PHONY: gen
gen: $(GEN) ## Write all generated files again

.PHONY: gen-sql
gen-sql:
	$(SQLC) generate

.PHONY: gen-schema
gen-schema:
	$(GO) run ./tools/schema > sql/schema.sql.new || { rm -f sql/schema.sql.new; exit 1; }
	mv sql/schema.sql.new sql/schema.sql

.PHONY: gen-openapi
gen-openapi:
	mkdir -p openapi
	$(GO) run ./cmd/opsdb openapi > openapi/openapi.yaml
	$(GO) run ./cmd/opsdb openapi --3.0 > openapi/openapi-3.0.yaml

.PHONY: gen-docs
gen-docs:
	$(GO) run ./cmd/opsdb config --markdown > docs/configuration.md
	$(GO) run ./cmd/opsdb problems > docs/problems.md
	$(GO) run ./tools/docs

# In a copy, without what sqlc wrote: a file that nothing generates any more shows too.
.PHONY: check-gen
check-gen: ## Fail when a generated file is not what its source says
	$(SQLC) vet
	@copy=$$(mktemp -d); trap 'rm -rf "$$copy"' EXIT; mkdir "$$copy/committed"; \
	tar --exclude=./.git --exclude=./bin --exclude=./.demo -cf - . | tar -xf - -C "$$copy/committed"; \
	cp -a "$$copy/committed" "$$copy/generated"; \
	find "$$copy/generated" -path '*/internal/db/*.go' ! -name '*_test.go' -delete; \
	$(MAKE) --no-print-directory -C "$$copy/generated" gen; \
	cd "$$copy"; if ! diff -r committed generated; then \
		echo 'generated files differ: run "make gen" and commit what changes' >&2; exit 1; \
	fi

# ---- Checks --------------------------------------------------------------------

.PHONY: lint
lint: ## Check format, go vet and staticcheck
	@unformatted=$$(gofmt -l cmd deploy modules plants platform sql tools *.go); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change: $$unformatted" >&2; exit 1; fi
	$(GO) vet ./...
	$(STATICCHECK) ./...

# ---- Running and testing -------------------------------------------------------
# Two packages at a time: each has a PostgreSQL pair and a Redis of its own.

.PHONY: setup
setup: ## Install PostgreSQL and Redis when they are missing, or say what to install
	@$(GO) run ./tools/setup

.PHONY: setup-logins
setup-logins: ## Install what logs in in a test: Node.js, npm packages and Chromium
	@$(GO) run ./tools/setup logins

.PHONY: demo
demo: build ## Run two sites, a long line and an observing night on this machine (flags in DEMO)
	@exec bin/opsdb demo $(DEMO)

.PHONY: test
test: setup setup-logins ## Run go vet and all tests
	$(GO) vet ./...
	$(GO) test -p 2 -timeout 25m ./...

.PHONY: race
race: setup setup-logins ## Run all tests with the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -p 2 -timeout 30m ./...

FUZZTIME ?= 20s

# One at a time: go test fuzzes no two targets at once.
.PHONY: fuzz
fuzz: setup ## Run every fuzz target for FUZZTIME (20s)
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sort | while IFS=: read -r file function; do \
		target=$${function#func }; \
		echo "$$(dirname "$$file") $$target"; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" || exit 1; \
	done

.PHONY: plants
plants: setup ## Plant every fault of plants/plants_test.go and see the tests notice it (half an hour)
	OPSDB_PLANTS=all $(GO) test ./plants -run TestPlantedFaults -timeout 90m -v

FAILOVERS ?= 100

.PHONY: failover
failover: setup ## Fail the main site over FAILOVERS (100) times under load (bar R4; most of an hour)
	OPSDB_FAILOVERS=$(FAILOVERS) $(GO) test ./modules/buffer -run TestFailoversLoseNothingAcknowledged -timeout 120m -count=1 -v

CUTS ?= 1

.PHONY: cuts
cuts: setup ## Cut a flush at every byte (every CUTS bytes) in both directions (bar R3; half an hour)
	OPSDB_CUTS=$(CUTS) $(GO) test ./modules/buffer -run TestFlushCutAtEveryByteAppliesOnce -timeout 120m -count=1 -v

.PHONY: malformed
malformed: setup ## Send a million malformed requests to both sites (bar S3; some minutes)
	OPSDB_MALFORMED=1000000 $(GO) test ./cmd/opsdb -run TestMalformedRequestsAreProblems -timeout 40m -count=1 -v

.PHONY: model
model: ## Explore the model of the protocol and look for its planted faults (some minutes)
	$(GO) run ./tools/model

.PHONY: chaos
chaos: setup ## Put a stack under load and faults and check every promise (flags in CHAOS: "--minutes 30")
	$(GO) run ./tools/clock bin/opsdb-chaos ./cmd/opsdb -ldflags "-X main.movableClock=yes"
	@exec bin/opsdb-chaos chaos $(CHAOS)

.PHONY: chaos-plants
chaos-plants: setup ## Build the product with mistakes and see chaos find them (some minutes)
	OPSDB_PLANTS=all $(GO) test ./cmd/opsdb -run TestChaosFindsPlantedFaults -timeout 60m -count=1 -v

# All of them want a quiet machine. BENCH takes flags, such as --only P1,P5.
.PHONY: bench
bench: build setup ## Measure against the floors and write docs/benchmarks (a quarter of an hour; flags in BENCH)
	bin/opsdb bench --write docs/benchmarks $(BENCH)

.PHONY: bench-growth
bench-growth: build setup ## Measure how costs grow with backlog and table size (a quarter of an hour)
	bin/opsdb bench --growth --write docs/benchmarks $(BENCH)

.PHONY: bench-auth
bench-auth: setup ## Measure what a cached credential costs (half a minute; fails above 20 µs, and on a database write a request)
	$(GO) test ./modules/auth -run '^$$' -bench CachedCredential -count=1

# A module of its own: Prometheus is no dependency of the product.
.PHONY: promql
promql: ## Read every expression of deploy/ with Prometheus' own parser, and fire every alert over samples
	cd tools/promql && $(GO) test -count=1 ./...

# A module of its own: what the product is compared with is no dependency of it.
.PHONY: compare
compare: build setup ## Measure beside a naive loop, asynq and river (ten minutes; flags in COMPARE)
	cd tools/compare && $(GO) build -o "$(CURDIR)/bin/compare" .
	bin/compare -opsdb bin/opsdb -write docs/benchmarks $(COMPARE)

.PHONY: docs
docs: gen-docs ## Write the generated pages, expand included code, check links
