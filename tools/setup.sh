#!/usr/bin/env bash
# Installs what AkiDB needs to build (and with --test, to be tested) from Debian or Ubuntu packages.
# Says what is missing and why before it installs it, and does nothing when all is there.
# Runs as root, or as a user who may use sudo.
set -euo pipefail

build_packages="
gcc                   the compiler
libc6-dev             the C library's headers
make                  the front door: make build, make test
cmake                 the build
ninja-build           the build
pkg-config            finds the libraries
libssl-dev            TLS and SHA-256
libsqlite3-dev        the catalog
libxxhash-dev         hashing
libcurl4-openssl-dev  the transport to S3
libzstd-dev           compression of Parquet pages
libsnappy-dev         compression of Parquet pages
liblz4-dev            compression of Parquet pages
zlib1g-dev            compression of Parquet pages
node-llhttp           the C sources of the HTTP/1.1 parser
curl                  make demo talks to the server with it
ca-certificates       lets curl, git and pip check whom they talk to
"
test_packages="
git                   tests that look at what is committed
python3               integration tests
python3-venv          their pinned packages, in build/venv
clang                 the second compiler, and the fuzzers
libclang-rt-14-dev    the fuzzers' and sanitizers' run time
clang-format          lint: layout
clang-tidy            lint: defects
shellcheck            lint: scripts
nodejs                the AWS SDK for JavaScript against akidb mock-s3; Parquet in JavaScript and Rust
npm                   its pinned packages, in build/npm
gcc-aarch64-linux-gnu the kernels for ARM
libc6-dev-arm64-cross the kernels for ARM
qemu-user-static      runs them
"

with_tests=no
case ${1:-} in
'') ;;
--test) with_tests=yes ;;
*)
    echo "usage: $0 [--test]" >&2
    exit 2
    ;;
esac

if ! command -v dpkg-query >/dev/null; then
    echo "This is not Debian or Ubuntu. Install the counterparts of these yourself, then go on:"
    echo "$build_packages"
    [ $with_tests = no ] || echo "$test_packages"
    exit 0
fi

is_installed() {
    case $1 in # from wherever: the packages of others exclude Debian's
    nodejs) command -v node >/dev/null && return ;;
    npm) command -v npm >/dev/null && return ;;
    esac
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Packages whose name differs between releases: the first that apt knows.
known_name() {
    local name
    for name in "$@"; do
        if is_installed "$name" || apt-cache show "$name" >/dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
    echo "$1"
}

missing=()
list=""
while read -r name reason; do
    [ -n "$name" ] || continue
    if ! is_installed "$name"; then
        case $name in # clang's run time is named after its version
        libclang-rt-*) name=$(known_name "$name" libclang-rt-{15,16,17,18,19}-dev) ;;
        esac
        if ! is_installed "$name"; then
            missing+=("$name")
            list+=$(printf '  %-22s %s' "$name" "$reason")$'\n'
        fi
    fi
done <<<"$build_packages$([ $with_tests = no ] || echo "$test_packages")"

if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi
echo "AkiDB needs ${#missing[@]} packages that this machine does not have; apt-get installs them now:"
printf '%s' "$list"

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "This needs root and there is no sudo. As root, run: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
run_apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 "$@"
}
run_apt update
run_apt install --no-install-recommends "${missing[@]}"
