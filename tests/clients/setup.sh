#!/usr/bin/env bash
# Makes a Python with the client libraries of requirements.txt, and prints the path of the command that runs it. Installs what
# else the tests need of Debian.
#
# In a virtual environment where the machine's Python can make one; else in a folder that is put on PYTHONPATH.
# Lives under target/, is made once for each content of requirements.txt, and touches nothing else.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
target="${CARGO_TARGET_DIR:-$here/../../target}"
mkdir -p "$target"
home="$(cd "$target" && pwd)/clients"
python="$home/python"
requirements="$here/requirements.txt"

say() {
    echo "$*" >&2
}

# Installs Debian packages, as far as this account may. The caller copes where it may not.
install() {
    command -v apt-get >/dev/null || return 1
    local as_root=()
    if [[ "$(id -u)" -ne 0 ]]; then
        command -v sudo >/dev/null || return 1
        as_root=(sudo)
    fi
    say "Installing $*"
    "${as_root[@]}" apt-get update -q >&2 || return 1
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "$@" >&2
}

# The store that several proxies share in tests. Those fail where it is missing.
if ! command -v redis-server >/dev/null; then
    install redis-server || say "The tests of a shared store are left out: install redis-server"
fi

# The pool of the JDBC test, as Debian has it. That test says so and is left out where it is missing.
if [[ ! -e /usr/share/java/HikariCP.jar || ! -e /usr/share/java/postgresql.jar ]] || ! command -v javac >/dev/null; then
    install default-jdk-headless libpostgresql-jdbc-java libhikaricp-java libslf4j-java ||
        say "The JDBC test is left out: install default-jdk-headless, libpostgresql-jdbc-java and libhikaricp-java"
fi

# The driver of the node test, likewise.
pg=8.23.1
if command -v npm >/dev/null && ! grep -qs "\"version\": \"$pg\"" "$home/../node/node_modules/pg/package.json"; then
    npm install --silent --no-audit --no-fund --prefix "$home/../node" "pg@$pg" >&2 ||
        say "The node test is left out: npm cannot install pg"
fi

if [[ -x "$python" ]] && cmp -s "$requirements" "$home/requirements.txt"; then
    echo "$python"
    exit 0
fi

if ! command -v python3 >/dev/null; then
    install python3 python3-venv python3-pip || {
        say "Python 3 is needed for the client tests: install python3, python3-venv and python3-pip"
        exit 1
    }
fi

rm -rf "$home"
mkdir -p "$home"

# Writes the command that runs Python with the libraries; $1 is put on PYTHONPATH, $2 is the interpreter.
write_command() {
    {
        echo '#!/bin/sh'
        if [[ -n "$1" ]]; then
            echo "PYTHONPATH='$1' exec '$2' \"\$@\""
        else
            echo "exec '$2' \"\$@\""
        fi
    } >"$python"
    chmod +x "$python"
}

make_venv() {
    python3 -m venv "$home/venv" >&2
}

# Runs the given pip with the requirements.
pip_install() {
    "$@" install --quiet --disable-pip-version-check -r "$requirements" >&2
}

# Debian ships venv without ensurepip unless python3-venv is installed.
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    install python3-venv || say "python3-venv is missing and cannot be installed by this account"
fi
if python3 -c 'import ensurepip, venv' 2>/dev/null && make_venv; then
    pip_install "$home/venv/bin/python" -m pip
    write_command "" "$home/venv/bin/python"
else
    rm -rf "$home/venv"
    if ! python3 -m pip --version >/dev/null 2>&1; then
        install python3-pip || {
            say "Neither venv nor pip is there: install python3-venv"
            exit 1
        }
    fi
    python3 -m pip install --quiet --disable-pip-version-check --target "$home/lib" -r "$requirements" >&2
    write_command "$home/lib" "$(command -v python3)"
fi

"$python" -c 'import asyncpg, django, fastapi, httpx, psycopg, psycopg2, sqlalchemy'
# Last: marks the work as done.
cp "$requirements" "$home/requirements.txt"
echo "$python"
