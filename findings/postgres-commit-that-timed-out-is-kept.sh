#!/usr/bin/env bash
# A COMMIT that timed out in asyncpg is a COMMIT that took place, if it was waiting for a synchronous standby.
#
# What: PostgreSQL 15 (Debian 12) with synchronous_standby_names, and timeouts of asyncpg 0.32.0 and of the server.
#
# Expected: a statement that ran into a timeout was ended and had no effect. Whoever fears for a COMMIT that waits for
# a standby sets the server's statement_timeout, which "aborts any statement that takes longer".
#
# Seen: statement_timeout does not end the wait: it is switched off before a transaction commits. asyncpg's timeout does,
# by sending a cancel. PostgreSQL answers by giving up the wait and keeping the transaction, on the primary alone, where everybody
# sees it at once. asyncpg raises TimeoutError as for any statement, and the connection can be used on, outside any
# transaction. The server's only word of it is a WARNING, which asyncpg shows to log listeners and to nobody else. Until
# the cancel is through, the rows cannot be seen: who looks right after the TimeoutError is led to believe in a rollback.
#
# What it means: a program that does again what timed out does it twice, and what it saw may be lost with the primary.
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
as_postgres "$programs/pg_ctl" -D db -w -l db/log start -o "-p $port -c listen_addresses=127.0.0.1 -c fsync=off -c synchronous_standby_names=missing\
 -c unix_socket_directories=$folder/db" >/dev/null
export DATABASE="postgresql://postgres@127.0.0.1:$port/postgres"

cat >try.py <<'PYTHON'
import asyncio
import os
import sys

import asyncpg

URL = os.environ["DATABASE"]
differs = 0


def is_as(what, now, seen):
    global differs
    print(f"  {what:62} {now}")
    if now != seen:
        print(f"DIFFERENT: {what}: it was {seen}, and is {now}", file=sys.stderr)
        differs = 1


async def until(look, what):
    for _ in range(200):
        if found := await look():
            return found
        await asyncio.sleep(0.1)
    sys.exit(f"DIFFERENT: within 20 s it never came to this: {what}")


async def begun(number, **settings):
    """A session that has that row and nothing left to do but to commit."""
    session = await asyncpg.connect(URL, server_settings=settings)
    await session.execute("BEGIN")
    await session.execute(f"INSERT INTO thing VALUES ({number})")
    return session


async def by_server(watcher):
    session = await begun(1, statement_timeout="500ms")
    commit = asyncio.ensure_future(session.execute("COMMIT"))
    await asyncio.wait((commit,), timeout=4)
    waits = await watcher.fetchval(
        "SELECT wait_event FROM pg_stat_activity WHERE pid = $1", session.get_server_pid()
    )
    is_as("with statement_timeout 500ms, after 4 s (expected: it failed)",
          "it failed" if commit.done() else f"it waits for {waits}", "it waits for SyncRep")
    session.terminate()
    await asyncio.wait((commit,))
    commit.exception()


async def by_asyncpg(watcher):
    warned = []
    session = await begun(2)
    session.add_log_listener(lambda _, said: warned.append(f"{said.severity_en}: {said.message}"))
    try:
        await session.execute("COMMIT", timeout=1)
        end = "it committed"
    except Exception as error:
        end = type(error).__name__
    is_as("with asyncpg's timeout of 1 s", end, "TimeoutError")

    async def shown():
        return await watcher.fetchval("SELECT count(*) FROM thing WHERE id = 2")

    is_as("rows that others see then (expected: 0)", await until(shown, "the row is there"), 1)
    is_as("the same connection goes on", await session.fetchval("SELECT 'yes'"), "yes")
    is_as("in a transaction", session.is_in_transaction(), False)
    is_as("said to log listeners", "; ".join(warned),
          "WARNING: canceling wait for synchronous replication due to user request")
    session.terminate()


async def main():
    watcher = await asyncpg.connect(URL, server_settings={"synchronous_commit": "local"})
    await watcher.execute("CREATE TABLE thing (id int)")
    print("a COMMIT while the synchronous standby is missing:")
    await by_server(watcher)
    await by_asyncpg(watcher)
    await watcher.close()
    sys.exit(differs)


asyncio.run(main())
PYTHON
env/bin/python try.py
echo "as found: asyncpg's timeout ends the wait and keeps the transaction"
