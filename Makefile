# The front door: each target is a command of tools/ or a CMake preset. `make` lists them.
.DEFAULT_GOAL := help
.PHONY: help setup build dev test quick demo stop fresh lint format bench bench-ann fuzz asan tsan clean install
PREFIX ?= /usr/local

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install the packages that building needs (says which; nothing when all are there)
	@tools/setup.sh

build: setup ## Build what users run: build/release/akidb and libakidb
	@cmake --preset release >/dev/null
	@cmake --build --preset release --target akidb akidb_static akidb_shared

dev: setup ## Build with warnings as errors, crash points and tests: build/dev
	@cmake --preset dev >/dev/null
	@cmake --build --preset dev

test: ## Run every test; closes with "N passed, N failed"
	@tools/test.sh

quick: ## Run the tests of the inner loop
	@tools/test.sh quick

demo: build ## Start a server with 2,000 documents and search it
	@tools/demo.sh

stop: ## Stop the demo's server
	@tools/demo.sh stop

fresh: ## Try the README on a bare Debian (root; FAST=1: quick tests only)
	@tools/fresh.sh

lint: ## Check layers, banned calls, layout, scripts; clang-tidy
	@tools/lint.sh

format: ## Lay out the C files as .clang-format says
	@tools/format.sh

bench: setup ## Measure AkiDB alone and beside others (half an hour; PARTS="ann http": only these)
	@bench/run.sh $(PARTS)

bench-ann: setup ## Search beside every peer that installs (an hour; SIZES="100k-512 1m" PEERS="hnswlib svs" PASSES=3)
	@SIZES="$(SIZES)" PEERS="$(PEERS)" PASSES="$(PASSES)" REUSE="$(REUSE)" SIDES="$(SIDES)" bench/run.sh ann

fuzz: ## Fuzz each parser for SECONDS_EACH (default 60) with libFuzzer
	@tools/fuzz.sh

asan: ## Run the unit tests under AddressSanitizer and UBSan
	@tools/test.sh asan

tsan: ## Run the tests that use threads under ThreadSanitizer
	@tools/test.sh tsan

clean: ## Remove build/
	@rm -rf build

install: build ## Install program, library, header to PREFIX (default /usr/local)
	@DESTDIR="$(DESTDIR)" cmake --install build/release --prefix "$(PREFIX)"
