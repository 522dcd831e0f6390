# make run: try the service.  make test: everything.  make check: style and types.  make bench: speed.
# make test-host: install it on a Debian 12 and 13.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := postfix postfix-lmdb dovecot-core dovecot-imapd dovecot-lmtpd isync curl groff-base systemd
WEB := nginx-light chromium
PYTEST_ARGS ?= -n auto --dist loadfile

.PHONY: run test check bench peers test-host

run: $(VENV)/run
	$(BIN)/mailapi serve --dev

test: $(VENV)/dev peers
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/dev peers
	$(BIN)/python tests/bench/bench.py

# Debian 12 and 13 in containers, from an empty host and back; needs root, debootstrap, systemd-nspawn.
test-host: $(VENV)/dev
	$(BIN)/python tests/host/prove.py $(HOSTS)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "mailapi needs Python 3.11 or newer; name it: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
	  then apt-get -qq update && apt-get -qq install -y python3-venv; \
	  else echo "Python's venv is missing: apt-get install python3-venv" >&2; exit 1; fi; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run: $(BIN)/python pyproject.toml
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/dev: $(BIN)/python pyproject.toml
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/run

# Postfix and Dovecot for the tests, nginx and Chromium for those of the pages; RUNLEVEL=1 keeps their
# packages from starting them. Not every distribution has a package chromium.
peers:
	@dpkg -s $(PEERS) >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
	  then export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive; \
	    apt-get -qq update && apt-get -qq install -y --no-install-recommends $(PEERS) ssl-cert openssl; \
	  else echo "Tests against real mail servers are skipped; install them: apt-get install $(PEERS)"; fi; }
	@dpkg -s $(WEB) >/dev/null 2>&1 || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get -qq update && \
	  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $(WEB); } \
	  || echo "Tests behind nginx or in a browser are skipped; install them: apt-get install $(WEB)"
