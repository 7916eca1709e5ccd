#!/usr/bin/env bash
# Brings the real S3 servers that the tests run against to this machine, once.
#
#   tools/s3_servers.sh build   what is missing; says what it does and how far it is
#   tools/s3_servers.sh list    the servers that are here, one a line: name, version and program
#
# With Go 1.24 or later: versitygw and MinIO, at the versions below, by go install into
# ${AKIDB_TOOLS:-~/.cache/akidb/tools}; five to ten minutes each on two cores, and their caches
# (7 GB) are removed afterwards. Without: Ceph's radosgw, from Debian's packages.
# May be called from several places at once: one builds, the others wait for it.
# To run one by hand: tests/integration/s3_servers.py start NAME.
set -euo pipefail
cd "$(dirname "$0")/.."

# name, module, package, version. Of MinIO the releases' tags are refused by the proxy; this is what
# its @latest gives.
go_servers="
versitygw github.com/versity/versitygw github.com/versity/versitygw/cmd/versitygw v1.8.0
minio github.com/minio/minio github.com/minio/minio v0.0.0-20260212201848-7aac2a2c5b7c
"
ceph_packages=(ceph-mon ceph-osd ceph-mgr radosgw ceph-common)

tools=${AKIDB_TOOLS:-$HOME/.cache/akidb/tools}

has_go() {
    local version minor
    version=$(go env GOVERSION 2>/dev/null) || return 1
    [[ $version =~ ^go1\.([0-9]+) ]] || return 1
    minor=${BASH_REMATCH[1]}
    [ "$minor" -ge 24 ]
}

is_built() { # name, module, version
    [ -x "$tools/$1" ] || return 1
    has_go || return 0 # nothing here could tell its version, or build another
    go version -m "$tools/$1" 2>/dev/null | grep -qE "^[[:space:]]mod[[:space:]]$2[[:space:]]$3([[:space:]]|\$)"
}

# The caches are our own, so that they can be removed: what go install leaves is 50 times the size
# of the programs. A build that is interrupted finds them again.
build_one() { # name, package, version
    local log=$tools/$1.log began=$SECONDS pid packages rc=0
    export GOMODCACHE=$tools/.modules GOCACHE=$tools/.objects GOBIN=$tools/.new
    export GOFLAGS="-buildvcs=false -modcacherw" GOTOOLCHAIN=auto
    mkdir -p "$GOBIN"
    echo "building $1 $3 into $tools"
    nice -n 10 go install -v "$2@$3" >"$log" 2>&1 &
    pid=$!
    while kill -0 $pid 2>/dev/null; do
        for _ in $(seq 20); do
            sleep 1
            kill -0 $pid 2>/dev/null || break
        done
        packages=$(grep -c -v '^go: ' "$log" || true)
        echo "  $1: $packages packages compiled after $((SECONDS - began)) s"
    done
    wait $pid || rc=$?
    if [ $rc -ne 0 ]; then
        echo "$1 does not build; the end of $log:" >&2
        tail -n 5 "$log" >&2
        return 1
    fi
    mv "$GOBIN/$1" "$tools/$1"
    rm -f "$log"
    echo "$1 is ready after $((SECONDS - began)) s"
}

build_with_go() {
    local name module package version failed=0
    while read -r name module package version; do
        if [ -n "$name" ] && ! is_built "$name" "$module" "$version"; then
            build_one "$name" "$package" "$version" || failed=1
        fi
    done <<<"$go_servers"
    if [ $failed = 0 ]; then
        rm -rf "$tools/.modules" "$tools/.objects" "$tools/.new"
    fi
    return $failed
}

has_ceph() {
    local program
    for program in ceph-mon ceph-osd radosgw radosgw-admin ceph; do
        command -v "$program" >/dev/null || return 1
    done
}

install_ceph() {
    local as_root=()
    has_ceph && return 0
    echo "Without Go 1.24 (or what it builds) Ceph's radosgw is the S3 server, from Debian's packages:"
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "This needs root and there is no sudo. As root: apt-get install ${ceph_packages[*]}" >&2
            return 1
        fi
        as_root=(sudo)
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y update &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 \
            install --no-install-recommends "${ceph_packages[@]}"
}

build() {
    mkdir -p "$tools"
    exec 9>"$tools/.lock"
    if ! flock -n 9; then
        echo "another build of the S3 servers is under way in $tools: waiting for it"
        flock 9
    fi
    if has_go && build_with_go; then
        return 0
    fi
    install_ceph
}

list() {
    local name module package version
    while read -r name module package version; do
        [ -z "$name" ] || [ ! -x "$tools/$name" ] || echo "$name $version $tools/$name"
    done <<<"$go_servers"
    if has_ceph; then
        version=$(radosgw --version | cut -d' ' -f3)
        echo "radosgw $version $(command -v radosgw)"
    fi
}

case ${1:-} in
build) build ;;
list) list ;;
*)
    echo "usage: $0 build | list" >&2
    exit 2
    ;;
esac
