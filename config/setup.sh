#!/bin/bash
# Makes this machine ready: Debian packages, virtual environment and, asked for `guest`, the guest image.
# Usage: setup.sh [guest] [test]      `test` brings the servers that tests run against; quick when there is nothing to do; says what it does otherwise
#        setup.sh newest              the newest libraries in place of those that config/versions.txt names, and names them there
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."
export PATH=$PATH:/usr/sbin:/sbin

say() { echo "setup: $*" >&2; }
fail() { say "$1" && exit "${2:-69}"; }

missing_packages() {
    local wanted
    mapfile -t wanted < <(sed 's/#.*//; /^\s*$/d' "${lists[@]}")
    # dpkg-query fails if it does not know one of them
    { dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null || true; } |
        awk '$1 == "installed" {print $2}' | sort -u >"$scratch/installed"
    printf '%s\n' "${wanted[@]}" | sort -u | comm -23 - "$scratch/installed"
}

apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \
        -o APT::Update::Error-Mode=any "$@"
}

install_packages() {
    command -v dpkg-query >/dev/null || fail "this machine is no Debian; see config/packages.txt for what is needed"
    local missing
    mapfile -t missing < <(missing_packages)
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || fail "not root, and these packages are missing: ${missing[*]}" 77
    say "installing ${missing[*]}"
    if ! apt install -y --no-install-recommends "${missing[@]}" >"$scratch/apt" 2>&1; then
        apt update >"$scratch/apt" 2>&1 || { cat "$scratch/apt" >&2; fail "apt-get update failed"; }
        apt install -y --no-install-recommends "${missing[@]}" >"$scratch/apt" 2>&1 ||
            { cat "$scratch/apt" >&2; fail "apt-get install failed"; }
    fi
}

python() { # the first one that csnode runs on and that can make a virtual environment
    local candidate
    for candidate in "${PYTHON:-python3}" python3.11 python3.12 python3.13 /usr/bin/python3; do
        if "$candidate" -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.11, 3.12 or 3.13 with venv; say which with PYTHON=..."
}

environment() {
    local stamp chosen
    stamp=$(cat pyproject.toml config/versions.txt | sha256sum)
    [ "$(cat .venv/setup-stamp 2>/dev/null)" != "$stamp" ] || [ ! -x .venv/bin/csnode ] || return 0
    if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
        chosen=$(python)
        say "making .venv with $("$chosen" --version)"
        "$chosen" -m venv --clear .venv
    fi
    say "installing csnode and its libraries into .venv"
    install -c config/versions.txt
    echo "$stamp" >.venv/setup-stamp
}

install() {
    PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip install -q "$@" -e '.[libvirt,postgresql,zookeeper,redis,fence,test]' >&2
}

newest() {
    say "installing the newest libraries into .venv"
    install --upgrade --upgrade-strategy eager
    sed -i '/^[^#]/d' config/versions.txt
    .venv/bin/python -m pip freeze --exclude-editable >>config/versions.txt
}

guest() {
    local stamp
    stamp=$(find config/guest -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
    [ "$(cat .cache/guest/stamp 2>/dev/null)" != "$stamp" ] || [ ! -f .cache/guest/tiny.qcow2 ] || return 0
    say "building the guest image into .cache/guest"
    apt-cache show linux-image-cloud-amd64 >/dev/null 2>&1 || apt update >&2
    bash config/guest/build.sh .cache/guest
    echo "$stamp" >.cache/guest/stamp
}

lists=(config/packages.txt) image='' upgrade=''
for what in "$@"; do
    case $what in
    guest) image=wanted ;;
    test) lists+=(config/packages-test.txt) ;;
    newest) upgrade=wanted ;;
    *) fail "usage: setup.sh [guest] [test] | newest" 64 ;;
    esac
done
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
install_packages
environment
[ -z "$upgrade" ] || newest
[ -z "$image" ] || guest
