#!/usr/bin/env bash
# A ZeroMQ client whose key was refused once stays out for good, also when its key is admitted later.
#
# What: pyzmq 27.3.0 with its own libzmq 4.3.5, and pyzmq's ThreadAuthenticator, which admits CURVE clients by the
# certificates in a folder.
#
# Expected: a socket of ZeroMQ goes on connecting until it succeeds, so server and clients start in any order. After a
# certificate was added to the folder and configure_curve() was called again, as pyzmq says, its client gets in
# at the next attempt.
#
# Seen: the authenticator refuses with 400, libzmq tells the client so, and the client never tries again. connect() had succeeded;
# send() queues a message or says EAGAIN, as to a server that is down. Only a socket monitor sees HANDSHAKE_FAILED_AUTH
# and DISCONNECTED, and nothing after that. A second connect() to the same address on the same socket gets in.
# A client whose server is not there yet does try again, as expected.
#
# What it means: enrolling a client after its first attempt takes a restart of the client, or a monitor and
# a new connect().
set -euo pipefail

python3 -c 'import ensurepip, venv' 2>/dev/null || {
    [ "$(id -u)" = 0 ] || { echo "install python3-venv, or run this as root" >&2; exit 2; }
    apt-get install -y --no-install-recommends python3-venv >/dev/null
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check pyzmq==27.3.0

cat >try.py <<'PYTHON'
import socket
import sys
import time
from pathlib import Path

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import recv_monitor_message

RETRY_MS, PATIENCE_MS = 50, 3000
differs = 0
print(f"pyzmq {zmq.__version__}, libzmq {zmq.zmq_version()}, {sys.version.split()[0]}")
if zmq.zmq_version() != "4.3.5":
    sys.exit("DIFFERENT: this was seen with libzmq 4.3.5")


def is_as(what, now, seen):
    global differs
    print(f"  {what:66} {now}")
    if now != seen:
        print(f"DIFFERENT: {what}: it was {seen}, and is {now}", file=sys.stderr)
        differs = 1


def admitted(authenticator, folder, name):
    """Lay the public half of a certificate into the folder, and have it read."""
    text = Path(f"made/{name}.key").read_text()
    Path(folder, f"{name}.key").write_text(text)
    authenticator.configure_curve(domain="*", location=folder)


def client(context, port, server_key, name):
    made = context.socket(zmq.PUSH)
    made.curve_publickey, made.curve_secretkey = zmq.auth.load_certificate(f"made/{name}.key_secret")
    made.curve_serverkey = server_key
    made.linger, made.reconnect_ivl = 0, RETRY_MS
    watch = made.get_monitor_socket()
    made.connect(f"tcp://127.0.0.1:{port}")
    return made, watch


def events(watch, until=None):
    """The names of what the monitor told, up to that event or for as long as we have patience."""
    told, end = [], time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < end and until not in told:
        if watch.poll(100):
            told.append(zmq.Event(recv_monitor_message(watch)["event"]).name)
    return told


def arrived(server, sender):
    """Whether anything that it sends arrives, however often it tries."""
    for _ in range(PATIENCE_MS // 100):
        try:
            sender.send(b"hello", zmq.NOBLOCK)
        except zmq.Again:
            pass
        if server.poll(100):
            server.recv()
            return "arrived"
    return "never arrived"


def main():
    for folder in ("made", "allowed"):
        Path(folder).mkdir()
    for name in ("server", "first", "other"):
        zmq.auth.create_certificates("made", name)
    server_key, server_secret = zmq.auth.load_certificate("made/server.key_secret")
    context = zmq.Context()
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    admitted(authenticator, "allowed", "other")

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    early, early_watch = client(context, port, server_key, "other")
    print("a client that is admitted, and came before its server:")
    told = events(early_watch, "CONNECT_RETRIED")
    is_as("tries again", "CONNECT_RETRIED" in told, True)
    server = context.socket(zmq.PULL)
    server.linger, server.curve_server = 0, True
    server.curve_publickey, server.curve_secretkey = server_key, server_secret
    server.bind(f"tcp://127.0.0.1:{port}")
    is_as("what it sends once the server is there", arrived(server, early), "arrived")

    first, watch = client(context, port, server_key, "first")
    print("a client that came before its certificate:")
    is_as("is told so", "HANDSHAKE_FAILED_AUTH" in events(watch, "DISCONNECTED"), True)
    admitted(authenticator, "allowed", "first")
    is_as(f"its monitor, {PATIENCE_MS} ms after its certificate came (expected: it connects)",
          events(watch, "HANDSHAKE_SUCCEEDED") or "silent", "silent")
    is_as("what it sends (expected: arrived)", arrived(server, first), "never arrived")
    first.connect(f"tcp://127.0.0.1:{port}")
    is_as("what it sends after a second connect()", arrived(server, first), "arrived")

    for each in (early, first):
        each.disable_monitor()
        each.close()
    for each in (early_watch, watch, server):
        each.close(0)
    authenticator.stop()
    context.term()
    sys.exit(differs)


main()
PYTHON
timeout 60 env/bin/python try.py
echo "as found: a refused client does not try again"
