#!/usr/bin/env bash
# A name that dnsmasq resolves is not there for a program built with musl.
#
# What: dnsmasq 2.90 with address= and local=, and getaddrinfo of glibc 2.36 and of musl 1.2.3 (all Debian 12).
#
# Expected: address=/svc.lab.test/192.0.2.10 gives that name an IPv4 address, and local=/lab.test/ says that
# nobody else is to be asked about the domain. So a question for its IPv6 address (AAAA) is answered with no
# error and no data, for the name exists. dnsmasq(8) says so of local= with that very name.
#
# Seen: with local= of the domain above, the answer for AAAA is NXDOMAIN: there is no such name, while A is
# answered. glibc uses the one answer that it got. musl asks for both, and takes NXDOMAIN for either
# as the answer to both (RFC 8020 lets it): the name does not resolve. Asked for IPv4 alone, musl finds it too.
# With host-record= in place of address=, the answer for AAAA has no data and no error, and both find the name.
#
# What it means: a name tried on Debian works, and fails in guests of Alpine and other musl systems.
set -euo pipefail

[ "$(id -u)" = 0 ] || { echo "run this as root: it makes a network namespace" >&2; exit 2; }
for pair in dnsmasq:dnsmasq-base musl-gcc:musl-tools gcc:gcc ip:iproute2; do
    command -v "${pair%%:*}" >/dev/null || apt-get install -y --no-install-recommends "${pair#*:}" >/dev/null
done
[ -e /usr/include/netdb.h ] || apt-get install -y --no-install-recommends libc6-dev >/dev/null
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

versions="dnsmasq $(dpkg-query -W -f '${Version}' dnsmasq-base), glibc $(dpkg-query -W -f '${Version} ' libc6 |
    cut -d ' ' -f 1), musl $(dpkg-query -W -f '${Version}' musl-tools)"
echo "$versions"
case $versions in "dnsmasq 2.90-"*", glibc 2.36-"*", musl 1.2."*) ;; *)
    echo "DIFFERENT: this was seen with dnsmasq 2.90, glibc 2.36 and musl 1.2" >&2; exit 1 ;;
esac

cat >find.c <<'C'
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* find NAME FAMILY: prints whether getaddrinfo finds it; FAMILY is 4, or 0 for any. */
int main(int count, char **given)
{
    struct addrinfo hints, *found = 0;
    int error;

    if (count != 3)
        return 2;
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_family = given[2][0] == '4' ? AF_INET : AF_UNSPEC;
    error = getaddrinfo(given[1], "80", &hints, &found);
    puts(error == 0 ? "found" : error == EAI_NONAME ? "no such name" : gai_strerror(error));
    return 0;
}
C
musl-gcc -static -o find-musl find.c
gcc -o find-glibc find.c
cat >ask.py <<'PYTHON'
"""ask.py TYPE: the code and the number of answers that 127.0.0.1 gives for svc.lab.test."""

import socket
import struct
import sys
import time

CODES = {0: "NOERROR", 3: "NXDOMAIN", 5: "REFUSED"}
name = b"".join(bytes((len(part),)) + part for part in (b"svc", b"lab", b"test")) + b"\0"
question = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + name + struct.pack("!2H", int(sys.argv[1]), 1)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
    door.settimeout(1)
    for _ in range(20):  # dnsmasq may still be starting
        try:
            door.sendto(question, ("127.0.0.1", 53))
            head = struct.unpack("!6H", door.recv(1500)[:12])
        except OSError:
            time.sleep(0.1)
        else:
            print(CODES.get(head[1] & 15, head[1] & 15), head[3])
            break
    else:
        sys.exit("dnsmasq does not answer")
PYTHON
cat >inside.sh <<'SH'
set -euo pipefail
ip link set lo up
echo "nameserver 127.0.0.1" >resolv.conf
mount --bind resolv.conf /etc/resolv.conf
dnsmasq --keep-in-foreground --conf-file=empty --no-resolv --no-hosts --user=root --pid-file= \
    --listen-address=127.0.0.1 --bind-interfaces "$@" &
server=$!
trap 'kill "$server"' EXIT
echo "A $(python3 ask.py 1), AAAA $(python3 ask.py 28); glibc: $(./find-glibc svc.lab.test 0);" \
    "musl: $(./find-musl svc.lab.test 0); musl, IPv4 alone: $(./find-musl svc.lab.test 4)"
SH
: >empty
differs=0
with() { # what was seen when this was written, and dnsmasq's options
    local seen=$1 now
    shift
    now=$(unshare --net --mount bash inside.sh "$@")
    printf '%s\n    %s\n' "$*" "$now"
    [ "$now" = "$seen" ] || { printf 'DIFFERENT: it was\n    %s\n' "$seen" >&2; differs=1; }
}
echo "expected everywhere: A NOERROR 1, AAAA NOERROR 0, and found"
with "A NOERROR 1, AAAA NXDOMAIN 0; glibc: found; musl: no such name; musl, IPv4 alone: found" \
    --address=/svc.lab.test/192.0.2.10 --local=/lab.test/
with "A NOERROR 1, AAAA NOERROR 0; glibc: found; musl: found; musl, IPv4 alone: found" \
    --address=/svc.lab.test/192.0.2.10 --local=/svc.lab.test/ --local=/lab.test/
with "A NOERROR 1, AAAA NOERROR 0; glibc: found; musl: found; musl, IPv4 alone: found" \
    --host-record=svc.lab.test,192.0.2.10 --local=/lab.test/

[ "$differs" = 0 ] || exit 1
echo "as found: address= under a local= domain denies the name to musl"
