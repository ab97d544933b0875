# Two commands to begin with:
#   make demo     see it work on a PostgreSQL of its own (ARGS=--once exits after the scenarios)
#   make test     unit and integration tests           (ARGS=name runs those whose name contains it)
# Both install PostgreSQL where it is missing. PG=16 asks for that major version.

CARGO ?= cargo
PG ?=
ARGS ?=

ifneq ($(strip $(PG)),)
export PG
else
unexport PG
endif

.PHONY: help demo test test-postgres lint fmt build clean postgres

help:
	@echo "make demo    see it work on a PostgreSQL of its own   (ARGS=--once to exit afterwards)"
	@echo "make test    unit and integration tests               (ARGS=name to pick, PG=16 for a major)"
	@echo "make test-postgres   PostgreSQL's own tests, direct and through the proxy (3 to 10 minutes)"
	@echo "make build   the release binary, target/release/staleguard"
	@echo "make lint    formatting and clippy, warnings are errors"
	@echo "make fmt     format the code"
	@echo "make clean   remove target/"

demo: postgres
	$(CARGO) build --release --locked
	"$${CARGO_TARGET_DIR:-target}/release/staleguard" demo $(ARGS)

test: postgres
	@set -eu; \
	STALEGUARD_TEST_PYTHON="$$(tests/clients/setup.sh)"; \
	export STALEGUARD_TEST_PYTHON; \
	missing="$$(tests/clients/missing.sh)"; \
	names="$$(printf '%s\n' "$$missing" | cut -f1)"; \
	status=0; \
	if $(CARGO) nextest --version >/dev/null 2>&1; then \
		filter="all()"; for name in $$names; do filter="$$filter - test($$name)"; done; \
		{ $(CARGO) nextest run --locked -E "$$filter" $(ARGS) && $(CARGO) test --locked --doc --quiet; } || status=$$?; \
	else \
		skips=""; for name in $$names; do skips="$$skips --skip $$name"; done; \
		$(CARGO) test --locked $(ARGS) -- $$skips || status=$$?; \
	fi; \
	[ -z "$$missing" ] || printf '%s\n' "$$missing" | sed 's/\t/: /; s/^/skipped: /'; \
	exit $$status

test-postgres: postgres build
	@tests/postgres/run.sh $(ARGS)

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

fmt:
	$(CARGO) fmt

build:
	$(CARGO) build --release --locked

clean:
	$(CARGO) clean

postgres:
	@deploy/install-postgres.sh
