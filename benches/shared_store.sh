#!/usr/bin/env bash
# What a shared store of contexts costs: pgbench through a proxy whose contexts are local and through one that shares
# them by a Redis server, each on a database of its own. Needs the release binary (make build), pgbench and
# redis-server; everything runs in a temporary folder and ends with this script.
#
#   benches/shared_store.sh [SECONDS] [CLIENTS..]
set -euo pipefail

seconds="${1:-5}"
clients=("${@:2}")
[[ "${#clients[@]}" -gt 0 ]] || clients=(1 4)
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
staleguard="${CARGO_TARGET_DIR:-$root/target}/release/staleguard"
bin="$(dirname "$(find /usr/lib/postgresql -name initdb | sort -V | tail -n 1)")"
home="$(mktemp -d)"
cd "$home"

# PostgreSQL refuses to run as root.
account=()
if [[ "$(id -u)" -eq 0 ]]; then
    chown nobody "$home"
    account=(setpriv "--reuid=$(id -u nobody)" "--regid=$(id -g nobody)" --clear-groups)
fi
started=()
trap 'kill -INT "${started[@]}" 2>/dev/null || true; wait || true; rm -rf -- "$home"' EXIT

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

postgres="$(free_port)"
"${account[@]}" "$bin/initdb" -D data -U postgres -A trust --no-sync -E UTF8 --locale=C >/dev/null
"${account[@]}" "$bin/postgres" -D data -p "$postgres" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
    -c fsync=off 2>postgres.log &
started+=("$!")
redis="$(free_port)"
redis-server --port "$redis" --bind 127.0.0.1 --save "" --appendonly no --dir "$home" >redis.log &
started+=("$!")
until "$bin/pg_isready" -q -h 127.0.0.1 -p "$postgres"; do sleep 0.1; done
export PGHOST=127.0.0.1 PGUSER=postgres PGAPPNAME=bench
for database in local shared; do
    psql -q -p "$postgres" -c "create database $database"
    psql -q -p "$postgres" "$database" -c "
        create table projects (id int primary key, name text, budget int, version integer not null default 1);
        insert into projects select i, 'x', i from generate_series(1, 1000) i"
done

declare -A port
serve() {
    local database="$1"
    shift
    port[$database]="$(free_port)"
    "$staleguard" serve --listen "127.0.0.1:${port[$database]}" --http 127.0.0.1:0 --upstream "127.0.0.1:$postgres" \
        --scope context --context-label application_name "$@" >"$database.log" 2>&1 &
    started+=("$!")
    until grep -q '"service":"http"' "$database.log"; do sleep 0.1; done
}
serve local
serve shared --context-store "redis://127.0.0.1:$redis" --context-store-timeout 1s

cat >read.sql <<'SQL'
\set id random(1, 1000)
select id, name, budget from projects where id = :id;
SQL
cat >write.sql <<'SQL'
\set id random(1, 1000)
update projects set name = 'y' where id = :id;
SQL
for count in "${clients[@]}"; do
    for mode in simple prepared; do
        for kind in read write; do
            for database in local shared; do
                pgbench -n -p "${port[$database]}" -f "$kind.sql" -c "$count" -M "$mode" -T "$seconds" "$database" \
                    2>/dev/null | awk -v what="$kind $database $mode, clients: $count" \
                    '/latency average/ { latency = $4 } /^tps/ { print what ": " latency " ms, " int($3) " a second" }'
            done
        done
    done
done
