#!/usr/bin/env bash
# A Linux bridge keeps the MTU it was given only if giving it was a change.
#
# What: ip(8) of iproute2 and the bridge of the Linux kernel. Seen with iproute2 6.1.0 (Debian 12), Linux 6.18.
# The kernel has kept a set MTU since 4.17.
#
# Expected: `ip link add br0 mtu 9000 type bridge`, or `ip link set br0 mtu 1500`, says which MTU the bridge
# is to have, and the bridge keeps it whatever is plugged in, as it does after `ip link set br0 mtu 1400`.
#
# Seen: the MTU of creation is a guess until the first port comes. Then the bridge takes the smallest MTU of
# its ports, which lowers it, and also raises it. Setting the MTU that the bridge has already is
# no change to the kernel, so it fixes nothing. When the last port leaves, the bridge has 1500 again.
#
# What it means: a bridge for tunnels that was made with 1450 has 1500 once a card with 1500 is plugged in, and a bridge
# for large frames made with 9000 loses them with the first ordinary card. A tool that sets an MTU only where it
# differs from what it reads never fixes it.
set -euo pipefail

[ "$(id -u)" = 0 ] || { echo "run this as root: it makes a network namespace" >&2; exit 2; }
command -v ip >/dev/null || apt-get install -y --no-install-recommends iproute2 >/dev/null
folder=$(mktemp -d)
space="finding-$$"
trap 'ip netns del "$space" 2>/dev/null || true; rm -rf "$folder"' EXIT

version=$(ip -V)
echo "$version; Linux $(uname -r)"
case $version in *iproute2-6.1.*) ;; *) echo "DIFFERENT: this was seen with iproute2 6.1" >&2; exit 1 ;; esac

ip netns add "$space"
in_space() { ip -n "$space" "$@"; }
mtu() { in_space -o link show br0 | sed -E 's/.* mtu ([0-9]+) .*/\1/'; }
port() { # a port of that name and MTU
    in_space link add "$1" mtu "$2" type veth peer name "$1-peer" mtu "$2"
}
differs=0
is() { # what happened, the MTU that was seen when this was written
    local now
    now=$(mtu)
    printf '  %-62s %s\n' "$1" "$now"
    [ "$now" = "$2" ] || { echo "DIFFERENT: $1: the MTU was $2, and is $now" >&2; differs=1; }
}
port small 1400
port large 9000

echo "made with an MTU of 9000:"
in_space link add br0 mtu 9000 type bridge
is "as made" 9000
in_space link set small master br0
is "a port with 1400 is plugged in (expected: 9000)" 1400
in_space link set small nomaster
is "that port leaves (expected: 9000)" 1500
in_space link del br0

echo "made with an MTU of 1450:"
in_space link add br0 mtu 1450 type bridge
in_space link set large master br0
is "a port with 9000 is plugged in (expected: 1450)" 9000
in_space link set large nomaster
in_space link del br0

echo "made without an MTU, then set to 1500, which it has:"
in_space link add br0 type bridge
in_space link set br0 mtu 1500
in_space link set small master br0
is "a port with 1400 is plugged in (expected: 1500)" 1400
in_space link set small nomaster
in_space link del br0

echo "made with 1499, then set to 1500:"
in_space link add br0 mtu 1499 type bridge
in_space link set br0 mtu 1500
in_space link set small master br0
is "a port with 1400 is plugged in" 1500
in_space link set small nomaster
is "that port leaves" 1500

[ "$differs" = 0 ] || exit 1
echo "as found: only an MTU that was a change is kept"
