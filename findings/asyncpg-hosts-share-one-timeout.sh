#!/usr/bin/env bash
# Of several PostgreSQL hosts, one that is silent keeps asyncpg from the others, and libpq not.
#
# What: asyncpg 0.32.0 and psql of PostgreSQL 15 (Debian 12), each given two hosts of which the first accepts connections
# and says nothing, as a frozen server does.
#
# Expected: asyncpg takes libpq's addresses of several hosts, which are tried in turn. libpq's connect_timeout counts for each
# host by itself, so asyncpg's `timeout` does too: the second host answers after the first has had its time.
#
# Seen: asyncpg's timeout counts for all hosts together. The silent one uses it up, the second is never tried, and
# connect() fails with a server at hand that answers in milliseconds. A longer timeout changes nothing.
# A host that refuses connections does no harm. (asyncpg's issue 1155 asks for a timeout for each host.)
#
# What it means: several hosts in asyncpg's address help against a server that has stopped, and not against one that hangs or
# whose network drops packets.
set -euo pipefail

[ "$(id -u)" = 0 ] || { echo "run this as root: PostgreSQL runs as a user of its own" >&2; exit 2; }
programs=/usr/lib/postgresql/15/bin
[ -x "$programs/initdb" ] || apt-get install -y --no-install-recommends postgresql-15 >/dev/null
python3 -c 'import ensurepip, venv' 2>/dev/null ||
    apt-get install -y --no-install-recommends python3-venv >/dev/null
folder=$(mktemp -d)
as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
finish() {
    [ ! -e "$folder/db/postmaster.pid" ] || as_postgres "$programs/pg_ctl" -D "$folder/db" -m immediate stop >/dev/null
    rm -rf "$folder"
}
trap finish EXIT
chmod 711 "$folder"
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check asyncpg==0.32.0
version=$("$programs/postgres" --version)
echo "$version; $(env/bin/python --version); asyncpg 0.32.0"
case $version in *" 15."*) ;; *) echo "DIFFERENT: this was seen with PostgreSQL 15" >&2; exit 1 ;; esac

install -d -o postgres db
port=$(env/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
as_postgres "$programs/initdb" -D db -A trust -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null
as_postgres "$programs/pg_ctl" -D db -w -l db/log start -o "-p $port -c listen_addresses=127.0.0.1 -c fsync=off\
 -c unix_socket_directories=$folder/db" >/dev/null
export DATABASE="postgresql://postgres@127.0.0.1:$port/postgres"

cat >try.py <<'PYTHON'
import asyncio
import os
import socket
import subprocess
import sys

import asyncpg

GOOD = os.environ["DATABASE"].rsplit(":", 1)[1].split("/")[0]
PSQL = sys.argv[1]


async def by_asyncpg(first, within_s):
    url = f"postgresql://postgres@127.0.0.1:{first},127.0.0.1:{GOOD}/postgres"
    try:
        session = await asyncpg.connect(url, timeout=within_s)
    except Exception as error:
        return type(error).__name__
    session.terminate()
    return "connected to the second host"


async def by_psql(first, within_s):
    where = f"host=127.0.0.1,127.0.0.1 port={first},{GOOD} user=postgres dbname=postgres connect_timeout={within_s}"
    done = await asyncio.to_thread(
        subprocess.run, (PSQL, "-XAt", where, "-c", "SHOW port"), capture_output=True, text=True
    )
    return "connected to the second host" if done.stdout.strip() == GOOD else done.stderr


async def main():
    silent, refusing = socket.create_server(("127.0.0.1", 0)), socket.socket()
    refusing.bind(("127.0.0.1", 0))  # nobody listens there
    hosts = {"silent": silent.getsockname()[1], "refusing": refusing.getsockname()[1]}
    differs = 0
    print("expected: all of them connect to the second host")
    for tries, name, host, within_s, seen in (
        (by_psql, "psql", "silent", 2, "connected to the second host"),
        (by_asyncpg, "asyncpg", "refusing", 2, "connected to the second host"),
        (by_asyncpg, "asyncpg", "silent", 2, "TimeoutError"),
        (by_asyncpg, "asyncpg", "silent", 6, "TimeoutError"),
    ):
        now = await tries(hosts[host], within_s)
        print(f"  {name:8} first host {host:9} timeout {within_s} s   {now}")
        if now != seen:
            print(f"DIFFERENT: it was: {seen}", file=sys.stderr)
            differs = 1
    sys.exit(differs)


asyncio.run(main())
PYTHON
env/bin/python try.py "$programs/psql"
echo "as found: a silent host uses up asyncpg's timeout for all of them"
