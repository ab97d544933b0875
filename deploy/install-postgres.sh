#!/usr/bin/env bash
# Makes sure that PostgreSQL's server and psql are on this machine, for the demo and the tests.
#
# Looks where `staleguard demo` looks: PG_BIN, pg_config, /usr/lib/postgresql/*/bin, /usr/pgsql-*/bin, PATH.
# With PG=16 in the environment it must be that major version. Installs by apt-get where something is missing;
# elsewhere it says what to install. Starts no server.
set -euo pipefail

major="${PG:-}"

if [[ -n "$major" && ! "$major" =~ ^[0-9]+$ ]]; then
    echo "PG is '$major', but must be a PostgreSQL major version such as 15" >&2
    exit 2
fi

holds_server() {
    [[ -x "$1/postgres" && -x "$1/initdb" ]]
}

# True if a server is found by the same rules as the program's own search.
have_server() {
    local dir
    if [[ -n "$major" ]]; then
        holds_server "/usr/lib/postgresql/$major/bin" || holds_server "/usr/pgsql-$major/bin"
        return
    fi
    if [[ -n "${PG_BIN:-}" ]]; then
        holds_server "$PG_BIN"
        return
    fi
    if dir="$(pg_config --bindir 2>/dev/null)" && holds_server "$dir"; then
        return 0
    fi
    for dir in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do
        holds_server "$dir" && return 0
    done
    dir="$(command -v postgres)" && holds_server "$(dirname "$dir")"
}

have_psql() {
    command -v psql >/dev/null
}

if have_server && have_psql; then
    exit 0
fi

server="postgresql${major:+-$major}"
client="postgresql-client${major:+-$major}"

if [[ -n "${PG_BIN:-}" && -z "$major" ]] && ! have_server; then
    echo "PG_BIN is '$PG_BIN', which does not hold both postgres and initdb: correct or unset it" >&2
    exit 1
fi

if ! command -v apt-get >/dev/null; then
    cat >&2 <<MESSAGE
PostgreSQL's server and psql are needed and not all of them were found; this script can only install them by
apt-get. Install them yourself, for example
    dnf install postgresql-server postgresql        (Fedora, RHEL)
    pacman -S postgresql                            (Arch)
    brew install postgresql                         (macOS)
and, if they are not found then, set PG_BIN to the folder that holds postgres and initdb.
MESSAGE
    exit 1
fi

as_root=()
if [[ "$(id -u)" -ne 0 ]]; then
    if ! command -v sudo >/dev/null; then
        echo "$server and $client are missing and only root can install them. Ask for: apt-get install $server $client" >&2
        exit 1
    fi
    as_root=(sudo)
fi

# Debian's package creates and starts a cluster of its own on port 5432, which nobody asked for here.
no_cluster=/etc/postgresql-common/createcluster.d/zz-staleguard-demo.conf
undo() {
    "${as_root[@]}" rm -f "$no_cluster"
}
trap undo EXIT
"${as_root[@]}" mkdir -p "$(dirname "$no_cluster")"
echo "create_main_cluster = false" | "${as_root[@]}" tee "$no_cluster" >/dev/null

echo "Installing $server and $client"
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends "$server" "$client"

if ! have_server; then
    echo "$server is installed, but no postgres and initdb were found: set PG_BIN to their folder" >&2
    exit 1
fi
