#!/usr/bin/env bash
# PostgreSQL does not count a transaction as idle while asyncpg has a statement prepared and not yet run.
#
# What: PostgreSQL 15 (Debian 12) with idle_in_transaction_session_timeout, and asyncpg 0.32.0.
#
# Expected: a session that is in a transaction and says nothing for longer than idle_in_transaction_session_timeout
# is ended by the server, so that a client that stalls does not hold its locks for ever.
#
# Seen: that holds after execute() and after fetch(). After prepare() it does not hold: the session is `active`, waits
# for ClientRead, and keeps its locks for as long as the client likes. asyncpg ends Parse and Describe with
# Flush, and says Sync only when the statement is run. To the server, what comes before Sync is one query that goes on.
# All of asyncpg's fetches and executes with arguments prepare first, so each has this gap between its two messages.
# (asyncpg's issue 1276 tells of sessions that look active.)
# statement_timeout does not free the locks either: it strikes when the client speaks again.
#
# What it means: the timeout does not free what a frozen client holds if it froze within this gap.
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
import sys

import asyncpg

URL = os.environ["DATABASE"]
LIMIT_S = 0.5
STUCK = "active, waits for ClientRead; the row is locked"
SEEN = {
    "execute()": "ended by the server",
    "prepare() and fetch": "ended by the server",
    "prepare() alone": STUCK,
    "prepare() alone, with statement_timeout": STUCK,
}


async def stand(watcher, session):
    """What the server says of that session, once it has been silent for six times the limit."""
    await asyncio.sleep(6 * LIMIT_S)
    row = await watcher.fetchrow(
        "SELECT state, wait_event FROM pg_stat_activity WHERE pid = $1", session.get_server_pid()
    )
    if row is None:
        return "ended by the server"
    free = await watcher.fetch("SELECT id FROM thing FOR UPDATE SKIP LOCKED")
    return f"{row['state']}, waits for {row['wait_event']}; the row is {'free' if free else 'locked'}"


async def silent_after(watcher, what):
    limits = {"idle_in_transaction_session_timeout": f"{int(LIMIT_S * 1000)}ms"}
    if "statement_timeout" in what:
        limits["statement_timeout"] = f"{int(LIMIT_S * 1000)}ms"
    session = await asyncpg.connect(URL, server_settings=limits)
    try:
        await session.execute("BEGIN")
        await session.execute("UPDATE thing SET id = id")
        if "prepare" in what:
            statement = await session.prepare("SELECT count(*) FROM thing")
            if "fetch" in what:
                await statement.fetchval()
        return await stand(watcher, session)
    finally:
        session.terminate()


async def main():
    watcher = await asyncpg.connect(URL)
    await watcher.execute("CREATE TABLE thing (id int); INSERT INTO thing VALUES (1)")
    print(f"expected: each is ended by the server, which allows {LIMIT_S} s")
    differs = 0
    for what, seen in SEEN.items():
        now = await silent_after(watcher, what)
        print(f"  silent in a transaction after {what:40} {now}")
        if now != seen:
            print(f"DIFFERENT: after {what} it was: {seen}", file=sys.stderr)
            differs = 1
    await watcher.close()
    sys.exit(differs)


asyncio.run(main())
PYTHON
env/bin/python try.py
echo "as found: a session with a statement prepared and not run is never idle"
