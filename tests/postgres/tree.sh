#!/usr/bin/env bash
# Makes the programs of PostgreSQL's own tests for an installed server, and prints the folder of their source tree:
#
#   tests/postgres/tree.sh BIN          BIN is the folder of postgres and psql
#
# The source comes from Debian's archive, by a list of sources of its own: the system's is neither read nor changed. It
# is of the server's very version, or where the archive no longer has it the nearest of the same major version. Only
# pg_regress, its C functions and libpq_pipeline are built. Both are kept under target/ for the next run.
set -euo pipefail

bin="$1"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
shelf="${CARGO_TARGET_DIR:-$root/target}/postgres-suite"
version="$("$bin/postgres" --version | sed 's/^[^0-9]*\([0-9]*\.[0-9]*\).*/\1/')"
major="${version%%.*}"
minor="${version#*.}"
mkdir -p "$shelf"

say() {
    printf '%s\n' "$*" >&2
}

for command in cc make perl tar bzip2; do
    command -v "$command" >/dev/null && continue
    say "$command is missing. On Debian: apt-get install gcc libc6-dev make perl tar bzip2"
    exit 1
done

# Of versions on its input the nearest to the server's, by the minor version; of two as near the newer.
nearest() {
    awk -v minor="$minor" '{ split($0, v, "."); d = v[2] - minor; print (d < 0 ? -d : d), -v[2], $0 }' |
        sort -n -k1,1 -k2,2 | head -n 1 | cut -d ' ' -f 3
}

# Asks apt, with the archive's source indexes in a folder of our own.
apt() {
    local tool="$1"
    shift
    "$tool" -q -o Dir::Etc::sourcelist="$shelf/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$shelf/apt/lists" -o Dir::Cache="$shelf/apt/cache" -o APT::Sandbox::User=root "$@"
}

# Puts the source of the nearest version into the folder and prints the archive's name.
fetch() {
    if ! command -v apt-get >/dev/null; then
        say "Only Debian's archive is known. Put postgresql-$version.tar.bz2 of postgresql.org into $shelf"
        exit 1
    fi
    local codename keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    codename="$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")"
    mkdir -p "$shelf/apt/lists/partial" "$shelf/apt/cache/archives/partial"
    cat >"$shelf/apt/sources.list" <<LIST
deb-src [signed-by=$keyring] http://deb.debian.org/debian $codename main
deb-src [signed-by=$keyring] http://deb.debian.org/debian $codename-updates main
deb-src [signed-by=$keyring] http://deb.debian.org/debian-security $codename-security main
LIST
    say "Fetching the source of PostgreSQL $version or the nearest $major"
    apt apt-get update >&2
    local package version_there
    package="$(apt apt-cache showsrc "postgresql-$major" | sed -n 's/^Version: //p' | sort -u)"
    version_there="$(sed 's/-.*//' <<<"$package" | nearest)"
    if [[ -z "$version_there" ]]; then
        say "Debian $codename has no source of PostgreSQL $major. Put postgresql-$version.tar.bz2 into $shelf"
        exit 1
    fi
    package="$(grep -F -- "$version_there-" <<<"$package" | tail -n 1)"
    (cd "$shelf/apt" && apt apt-get source --download-only "postgresql-$major=$package" >&2)
    mv "$shelf/apt/postgresql-${major}_$version_there.orig.tar.bz2" "$shelf/postgresql-$version_there.tar.bz2"
}

kept() {
    find "$shelf" -maxdepth 1 -name "postgresql-$major.*.tar.bz2" 2>/dev/null |
        sed 's/.*postgresql-//; s/\.tar\.bz2$//' | nearest
}

there="$(kept)"
if [[ "$there" != "$version" && ! -e "$shelf/nearest-to-$version" ]]; then
    fetch
    there="$(kept)"
    # An archive without this very version is not asked again.
    [[ "$there" == "$version" ]] || touch "$shelf/nearest-to-$version"
fi
tree="$shelf/postgresql-$there"

if [[ ! -e "$tree/tests-are-built" ]]; then
    say "Building the test programs of PostgreSQL $there (a minute or two, once)"
    rm -rf -- "$tree"
    tar -C "$shelf" -xjf "$tree.tar.bz2"
    jobs="$(nproc)"
    (
        cd "$tree"
        ./configure --without-readline --without-zlib --without-icu
        make -s -j"$jobs" -C src/backend generated-headers
        make -s -j"$jobs" -C src/test/regress all
        make -s -j"$jobs" -C src/interfaces/libpq all
        make -s -j"$jobs" -C src/test/modules/libpq_pipeline all
    ) >"$tree.log" 2>&1 || {
        tail -n 20 "$tree.log" >&2
        say "The test programs could not be built: see $tree.log"
        exit 1
    }
    touch "$tree/tests-are-built"
fi
printf '%s\n' "$tree"
