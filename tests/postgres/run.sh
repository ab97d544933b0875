#!/usr/bin/env bash
# PostgreSQL's own tests, direct and through the proxy in mode enforce: the regression suite and libpq_pipeline. A test
# that passes direct and fails through the proxy is a bug of the proxy, and makes this script fail. See README.md.
#
#   tests/postgres/run.sh [RUN..]         plain, pipeline or protected; the first two without an argument
#
# Everything runs in a temporary folder on servers of its own; results stay in target/postgres-suite/results.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
runs=("$@")
[[ "${#runs[@]}" -gt 0 ]] || runs=(plain pipeline)
# The suite has no time limit of its own: a test that hangs would hang for ever.
suite_limit="${SUITE_LIMIT:-1200}"
staleguard="${STALEGUARD_TEST_BINARY:-${CARGO_TARGET_DIR:-$root/target}/release/staleguard}"
results="${CARGO_TARGET_DIR:-$root/target}/postgres-suite/results"

# Where postgres and psql are: as in deploy/install-postgres.sh, which ran before.
find_bin() {
    local major="${PG:-*}" dir
    [[ -n "${PG:-}" || -z "${PG_BIN:-}" ]] || { printf '%s\n' "$PG_BIN" && return; }
    for dir in $(printf '%s\n' /usr/lib/postgresql/$major/bin /usr/pgsql-$major/bin | sort -Vr); do
        [[ -x "$dir/initdb" && -x "$dir/psql" ]] && printf '%s\n' "$dir" && return
    done
    echo "No PostgreSQL server with its psql was found in /usr/lib/postgresql; set PG_BIN" >&2
    return 1
}

bin="$(find_bin)"
tree="$("$here/tree.sh" "$bin")"
[[ -x "$staleguard" ]] || { echo "$staleguard is missing: make build" >&2 && exit 1; }

home="$(mktemp -d "${TMPDIR:-/tmp}/staleguard-suite-XXXXXX")"
started=()
finish() {
    [[ "${#started[@]}" -eq 0 ]] || kill -INT "${started[@]}" 2>/dev/null || true
    wait
    rm -rf -- "$home"
}
trap finish EXIT
trap 'exit 130' INT TERM

# The suite's files go where the server's account can read them: the server itself reads and writes some.
cp -r "$tree/src/test/regress" "$home/suite"
cp "$tree/src/test/modules/libpq_pipeline/libpq_pipeline" "$tree"/src/interfaces/libpq/libpq.so.* "$home"
cp -r "$tree/src/test/modules/libpq_pipeline/traces" "$home/traces"
cp "$here"/*.sql "$here"/*.toml "$here"/*.pl "$home"
# PostgreSQL refuses to run as root.
as=()
if [[ "$(id -u)" -eq 0 ]]; then
    account=nobody
    ! id postgres >/dev/null 2>&1 || account=postgres
    chown -R "$account" "$home"
    as=(setpriv "--reuid=$(id -u "$account")" "--regid=$(id -g "$account")" --clear-groups)
fi
cd "$home"
for name in $(compgen -e); do
    case "$name" in PG* | LC_* | LANG | STALEGUARD_*) unset "$name" ;; esac
done
export LC_ALL=C HOME="$home" PGHOST=127.0.0.1 PGUSER=postgres

free_port() {
    perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport'
}

# cluster NAME: a fresh server. Sets $server to its port.
cluster() {
    server="$(free_port)"
    "${as[@]}" "$bin/initdb" -D "$1" -U postgres -A trust --no-sync -E UTF8 --locale=C >"$1.initdb.log"
    "${as[@]}" "$bin/postgres" -D "$1" -p "$server" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
        -c fsync=off -c max_prepared_transactions=2 2>"$1.log" &
    postmaster="$!"
    started+=("$postmaster")
    until "$bin/pg_isready" -q -h 127.0.0.1 -p "$server"; do
        kill -0 "$postmaster" 2>/dev/null || { cat "$1.log" >&2 && exit 1; }
        sleep 0.1
    done
}

# stop: ends the server, and the proxy before it if there is one.
stop() {
    kill -INT "${started[@]}"
    wait "${started[@]}" || true
    started=()
}

# proxy NAME CONFIG: the proxy before the server. Sets $port to where it listens.
proxy() {
    port="$(free_port)"
    "$staleguard" serve --config "$2" --listen "127.0.0.1:$port" --http 127.0.0.1:0 \
        --upstream "127.0.0.1:$server" >"$1.proxy.log" 2>&1 &
    proxy="$!"
    started+=("$proxy")
    until grep -q '"service":"http"' "$1.proxy.log"; do
        kill -0 "$proxy" 2>/dev/null || { cat "$1.proxy.log" >&2 && exit 1; }
        sleep 0.1
    done
}

# The proxy's memory in MB: now, and the most that it ever was.
memory() {
    awk '/^VmRSS:/ { now = $2 } /^VmHWM:/ { most = $2 }
        END { printf "the proxy takes %d MB, at most %d MB", now / 1024, most / 1024 }' "/proc/$proxy/status"
}

# regress NAME PORT [ARG..]: runs the suite; leaves lines "ok TEST" and "FAILED TEST" in NAME/tests.
regress() {
    local name="$1" to="$2" began="$SECONDS"
    shift 2
    "${as[@]}" mkdir -p "$name.out"
    "${as[@]}" timeout --kill-after=10 "$suite_limit" "$home/suite/pg_regress" --bindir="$bin" \
        --host=127.0.0.1 --port="$to" --user=postgres --inputdir="$home/suite" --outputdir="$home/$name.out" \
        --dlpath="$home/suite" --max-concurrent-tests=20 "$@" >"$name.log.suite" 2>&1 || true
    # Of PostgreSQL 15 and before "     test_setup    ... ok   123 ms"; later TAP: "not ok 2   + boolean   45 ms".
    sed -nE 's/^(test)? +([a-z0-9_.]+) +\.\.\. (ok|FAILED).*/\3 \2/p; s/^ok [0-9]+ +[-+] ([^ ]+) .*/ok \1/p;
        s/^not ok [0-9]+ +[-+] ([^ ]+) .*/FAILED \1/p' "$name.log.suite" >"$name.tests"
    seconds="$((SECONDS - began))"
}

# pipeline NAME PORT: the tests of libpq_pipeline and their traces, as src/test/modules/libpq_pipeline/t does.
pipeline() {
    local name="$1" to="$2" test began="$SECONDS"
    "${as[@]}" mkdir -p "$name.out"
    : >"$name.tests"
    for test in $(LD_LIBRARY_PATH="$home" ./libpq_pipeline tests); do
        if LD_LIBRARY_PATH="$home" "${as[@]}" timeout 60 ./libpq_pipeline -r 700 -t "$name.out/$test.trace" "$test" \
            "host=127.0.0.1 port=$to dbname=postgres" >"$name.out/$test.out" 2>&1; then
            echo "ok $test"
        else
            echo "FAILED $test"
            cat "$name.out/$test.out" >>"$name.out/regression.diffs"
        fi
        [[ -e "traces/$test.trace" ]] || continue
        if diff -u "traces/$test.trace" "$name.out/$test.trace" >>"$name.out/regression.diffs"; then
            echo "ok $test.trace"
        else
            echo "FAILED $test.trace"
        fi
    done >"$name.tests"
    seconds="$((SECONDS - began))"
}

failed_at_all=0

# report NAME WHAT: one line, and the names of what failed.
report() {
    printf '%-22s %3d of %3d, %d s%s\n' "$2:" "$(grep -c '^ok ' "$1.tests")" "$(wc -l <"$1.tests")" "$seconds" \
        "${3:+; $3}"
    sed -n 's/^FAILED /    failed: /p' "$1.tests"
}

# compare DIRECT THROUGH: tells of tests that pass direct alone, each with the beginning of its difference.
compare() {
    local test
    for test in $(comm -13 <(sed -n 's/^FAILED //p' "$1.tests" | sort) <(sed -n 's/^FAILED //p' "$2.tests" | sort)); do
        failed_at_all=1
        echo "    passes direct alone: $test"
        awk -v name="/$test.out" '/^diff / { here = index($0, name " ") > 0 } here' "$2.out/regression.diffs" |
            head -n 40 | sed 's/^/        /'
    done
    if [[ "$(wc -l <"$1.tests")" -eq 0 || "$(wc -l <"$1.tests")" -ne "$(wc -l <"$2.tests")" ]]; then
        failed_at_all=1
        echo "    the suite did not run to its end:"
        tail -n 5 "$1.log.suite" "$2.log.suite" | sed 's/^/        /'
    fi
}

# The suite as it is: no table of its databases is protected.
run_plain() {
    cluster direct
    regress direct "$server" --schedule="$home/suite/parallel_schedule"
    report direct "suite, direct"
    stop
    cluster through
    proxy through enforce.toml
    regress through "$port" --schedule="$home/suite/parallel_schedule"
    report through "suite, through" "$(memory)"
    stop
    compare direct through
}

run_pipeline() {
    cluster direct
    pipeline direct "$server"
    report direct "libpq_pipeline, direct"
    stop
    cluster through
    proxy through enforce.toml
    pipeline through "$port"
    report through "libpq_pipeline, through" "$(memory)"
    stop
    compare direct through
}

# The tables that the suite writes: names in CREATE TABLE that also stand in a write.
written_tables() {
    local made='create +(unlogged +)?table +(if +not +exists +)?[a-z_][a-z_0-9]*'
    local written='(update|delete +from|merge +into|insert +into)( +only)? +[a-z_][a-z_0-9]*'
    local writes='(update|delete +from|merge +into)( +only)? +[a-z_][a-z_0-9]*'
    comm -12 <(names "$made" suite/sql/*.sql) \
        <({ names "$writes" suite/sql/*.sql && names "$written" suite/sql/insert_conflict.sql; } | sort -u)
}

names() {
    local pattern="$1"
    shift
    cat "$@" | grep -oiwE "$pattern" | tr '[:upper:]' '[:lower:]' | sed -E 's/.* //' | sort -u
}

# prepare: the database of the suite with the names of the tables that are to be protected.
prepare() {
    "$bin/psql" -X -q -v ON_ERROR_STOP=1 -p "$server" -d postgres <<'SQL'
CREATE DATABASE regression TEMPLATE template0;
ALTER DATABASE regression SET lc_messages TO 'C';
ALTER DATABASE regression SET lc_monetary TO 'C';
ALTER DATABASE regression SET lc_numeric TO 'C';
ALTER DATABASE regression SET lc_time TO 'C';
ALTER DATABASE regression SET bytea_output TO 'hex';
ALTER DATABASE regression SET timezone_abbreviations TO 'Default';
\c regression
CREATE SCHEMA suite;
CREATE TABLE suite.protected (name name PRIMARY KEY);
GRANT USAGE ON SCHEMA suite TO PUBLIC;
GRANT SELECT ON suite.protected TO PUBLIC;
\copy suite.protected FROM protected.txt
SQL
}

# The suite with the tables that it writes protected. Its expected output knows no version column, so the output of a
# direct run on a database of the same kind takes its place.
run_protected() {
    local test differ=0 equal=0
    written_tables >protected.txt
    { echo 'mode = "enforce"' && sed 's/.*/[tables.&]/' protected.txt; } >protected.toml
    cp protect.sql suite/sql/
    touch suite/expected/protect.out
    sed '/^test: test_setup$/a test: protect' suite/parallel_schedule >suite/protected_schedule
    cluster direct
    prepare
    regress direct "$server" --use-existing --schedule="$home/suite/protected_schedule"
    stop
    cluster through
    proxy through protected.toml
    prepare
    regress through "$port" --use-existing --schedule="$home/suite/protected_schedule"
    echo "protected: $(wc -l <protected.txt) names of tables; $(memory)"
    stop
    for test in $(cut -d ' ' -f 2 direct.tests); do
        # Where the suite did not get that far there is no output.
        touch "direct.out/results/$test.out" "through.out/results/$test.out"
        if diff -u <(./mask.pl <"direct.out/results/$test.out") <(./mask.pl <"through.out/results/$test.out") \
            >"$test.diff"; then
            rm "$test.diff"
            equal="$((equal + 1))"
        else
            differ="$((differ + 1))"
            echo "    differs: $test"
        fi
    done
    echo "    $equal equal, $differ differ; the differences are in target/postgres-suite/results/protected"
}

for run in "${runs[@]}"; do
    "run_$run"
    # The names of clusters and results are the next run's, too.
    rm -rf -- "$results/$run"
    mkdir -p "$results/$run"
    mv -- *.tests *.log *.suite *.out *.diff "$results/$run/" 2>/dev/null || true
    rm -rf direct through
done
exit "$failed_at_all"
