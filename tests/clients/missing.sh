#!/usr/bin/env bash
# Says which tests cannot be run on this machine: a line for each, its name, a tab, and what is missing.
#
# `make test` leaves these out, counts them as skipped and says so. Run by name they fail, with the same reason.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
target="${CARGO_TARGET_DIR:-$here/../../target}"

missing() {
    printf '%s\t%s\n' "$1" "$2"
}

test=jdbc_pool_with_a_label_and_without
if ! command -v javac >/dev/null; then
    missing $test "there is no JDK (Debian: default-jdk-headless)"
else
    for jar in postgresql HikariCP slf4j-api; do
        if [[ ! -e /usr/share/java/$jar.jar ]]; then
            missing $test "there is no $jar.jar (Debian: libpostgresql-jdbc-java, libhikaricp-java, libslf4j-java)"
            break
        fi
    done
fi

test=node_postgres_pool_with_a_label_and_without
if ! command -v node >/dev/null; then
    missing $test "there is no node"
elif [[ ! -d $target/node/node_modules/pg ]]; then
    missing $test "there is no pg for node (tests/clients/setup.sh installs it where npm is)"
fi

if ! command -v redis-server >/dev/null; then
    missing shared_store "there is no redis-server (Debian: redis-server)"
fi
