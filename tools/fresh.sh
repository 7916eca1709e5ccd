#!/usr/bin/env bash
# Proves the README on a machine that has nothing: a bare Debian of this machine's release in a
# temporary folder, a clone of what is committed here, and the README's commands in it. As a user
# with sudo: make demo, make stop. As root: make demo twice, make stop, make test. Needs root.
#
#   tools/fresh.sh             (make fresh)
#   FAST=1 tools/fresh.sh      the quick tests in place of all
#   KEEP=1 tools/fresh.sh      leaves the folder for a look; its mounts are gone all the same
#
# The mirror is the one that this machine's apt uses; apt's and pip's settings, proxies and the
# bundle of certificate authorities are taken over where there are any.
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$PWD

if [ "$(id -u)" -ne 0 ]; then
    echo "$0 needs root: it makes and mounts a Debian in a folder" >&2
    exit 2
fi
if ! command -v debootstrap >/dev/null; then
    echo "installing debootstrap, which makes the bare Debian"
    DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends debootstrap
fi
# shellcheck source=/dev/null # what every Debian has
release=$(. /etc/os-release && echo "$VERSION_CODENAME")

# The address of the archive that apt reads this release from, in either form of its sources.
find_mirror() {
    { cat /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } |
        awk -v suite="$release" '
            /^URIs:/ { uri = $2 }
            /^Suites:/ { for (i = 2; i <= NF; i++) if ($i == suite && uri) { print uri; exit } }'
    { cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || true; } |
        awk -v suite="$release" '
            $1 == "deb" { sub(/ \[[^]]*\]/, ""); if ($3 == suite) { print $2; exit } }'
}
mirror=$(find_mirror | head -n 1)
if [ -z "$mirror" ]; then
    echo "no apt source of this machine has the release '$release'" >&2
    exit 1
fi

root=$(mktemp -d "${TMPDIR:-/tmp}/akidb-fresh-XXXXXX")
chmod 755 "$root" # its users must be able to enter
log=$root.log

# Ends what still runs inside, unmounts, removes. Only processes whose root is the folder are ended,
# and nothing is removed while something is mounted below it.
clean_up() {
    local process target
    trap "" INT TERM # what follows must not stop half-way
    rm -f "$log"
    for process in /proc/[0-9]*; do
        if [ "$(readlink "$process/root" 2>/dev/null)" = "$root" ]; then
            kill -9 "${process#/proc/}" 2>/dev/null || true
        fi
    done
    while read -r target; do
        umount "$target" || umount -l "$target" || true
    done < <(awk -v root="$root/" 'index($2, root) == 1 { print $2 }' /proc/mounts | sort -r)
    if awk -v root="$root/" 'index($2, root) == 1 { found = 1 } END { exit !found }' /proc/mounts; then
        echo "left behind, since something is still mounted below it: $root" >&2
    elif [ -n "${KEEP:-}" ]; then
        echo "kept: $root"
    else
        rm -rf --one-file-system "$root"
    fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

echo "== a bare Debian $release from $mirror in $root"
if ! debootstrap --variant=minbase "$release" "$root" "$mirror" >"$log" 2>&1; then
    tail -n 20 "$log"
    exit 1
fi
mount -t proc proc "$root/proc"
mount -t tmpfs -o size=1g tmpfs "$root/dev/shm"
for device in null zero full random urandom tty; do # where debootstrap could not make nodes
    if [ ! -c "$root/dev/$device" ]; then
        rm -f "$root/dev/$device"
        touch "$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    fi
done
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # packages start no services
chmod +x "$root/usr/sbin/policy-rc.d"

# --- What this machine needs to reach packages, the new one needs too. ---
cp /etc/resolv.conf "$root/etc/resolv.conf"
printf '127.0.0.1 localhost %s\n::1 localhost\n' "$(hostname)" >"$root/etc/hosts"
{ grep -lE '^[[:space:]]*Acquire' /etc/apt/apt.conf.d/* 2>/dev/null || true; } |
    xargs -r cp -t "$root/etc/apt/apt.conf.d"
rm -f "$root/etc/apt/sources.list"
for source in /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list; do
    if [ -e "$source" ] && grep -q "$release" "$source" && grep -qF "$mirror" "$source"; then
        cp "$source" "$root/${source#/}"
    fi
done
if [ -e /etc/pip.conf ]; then
    cp /etc/pip.conf "$root/etc/pip.conf"
fi
environment=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8)
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY PIP_INDEX_URL \
    PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST PIP_DEFAULT_TIMEOUT; do
    if [ -n "${!name:-}" ]; then
        environment+=("$name=${!name}")
    fi
done
for bundle in "${SSL_CERT_FILE:-}" "${CURL_CA_BUNDLE:-}" /etc/ssl/certs/ca-certificates.crt; do
    if [ -n "$bundle" ] && [ -r "$bundle" ]; then
        # The same place as here, so that settings which name it hold.
        mkdir -p "$root$(dirname "$bundle")" "$root/etc/ssl/certs"
        cp "$bundle" "$root/etc/ssl/host-certificates.crt"
        [ -e "$root$bundle" ] || cp "$bundle" "$root$bundle"
        for name in SSL_CERT_FILE CURL_CA_BUNDLE REQUESTS_CA_BUNDLE PIP_CERT; do
            environment+=("$name=/etc/ssl/host-certificates.crt")
        done
        break
    fi
done

inside() { # user, command: in a login shell of the new machine
    local home=/root
    [ "$1" = root ] || home=/home/$1
    echo "== $1: $2"
    chroot "$root" env -i "${environment[@]}" HOME="$home" USER="$1" \
        setpriv --reuid "$1" --regid "$1" --init-groups bash -c "cd ~/akidb 2>/dev/null || cd ~; $2"
}

# What the README takes for granted: git to clone with, make, and sudo for the user.
inside root 'export DEBIAN_FRONTEND=noninteractive; apt-get -q -y update &&
    apt-get -q -y install --no-install-recommends git make sudo' >>"$log" 2>&1 || {
    tail -n 20 "$log"
    exit 1
}
chroot "$root" useradd --create-home --shell /bin/bash newcomer
echo 'newcomer ALL=(ALL) NOPASSWD:ALL
Defaults env_keep += "http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY"' \
    >"$root/etc/sudoers.d/newcomer"
for home in root home/newcomer; do
    git clone -q --no-hardlinks "file://$repository" "$root/$home/akidb"
done
chroot "$root" chown -R newcomer:newcomer /home/newcomer/akidb
if [ -d "$repository/../shared" ]; then
    cp -r "$repository/../shared" "$root/root/shared"
fi

began=$SECONDS
inside newcomer 'make demo'
inside newcomer 'make stop'
inside root 'make demo'
inside root 'make demo'
inside root 'make stop'
if [ -n "${FAST:-}" ]; then
    inside root 'tools/setup.sh --test && make quick'
else
    inside root 'make test'
fi
echo "== the README holds on a bare Debian $release ($((SECONDS - began)) s)"
