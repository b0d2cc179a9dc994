#!/usr/bin/env bash
# libvirt says that a machine was resumed before it says that it was started.
#
# What: lifecycle events of libvirt 9.0.0 with QEMU 7.2 (Debian 12), a machine without disk, without KVM.
#
# Expected: a machine's first event is "started". "Resumed" follows "suspended". virsh destroy, which pulls the plug, is
# "stopped" with the reason "destroyed", and nothing else.
#
# Seen: libvirt starts QEMU with its processors halted and then tells it to go on, and passes that on: the first event of
# each start is "resumed", and "started" comes second. A machine that is started paused has "started" first, then
# "suspended". virsh destroy is "shutdown" first, with the reason "finished after host request", though no guest was asked.
#
# What it means: who tracks machines by events must not take "resumed" for a machine that runs already, and cannot
# tell by "shutdown" that a guest shut down cleanly.
set -euo pipefail

[ "$(id -u)" = 0 ] || { echo "run this as root: it starts a libvirtd of its own" >&2; exit 2; }
for pair in libvirtd:libvirt-daemon-system virsh:libvirt-clients qemu-system-x86_64:qemu-system-x86; do
    command -v "${pair%%:*}" >/dev/null || apt-get install -y --no-install-recommends "${pair#*:}" >/dev/null
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

versions="libvirt $(virsh --version), $(qemu-system-x86_64 --version | head -1)"
echo "$versions"
case $versions in "libvirt 9.0."*" version 7.2."*) ;; *)
    echo "DIFFERENT: this was seen with libvirt 9.0 and QEMU 7.2" >&2; exit 1 ;;
esac

cat >qemu.conf <<'CONF'
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
remember_owner = 0
dynamic_ownership = 0
stdio_handler = "file"
CONF
printf 'auth_unix_rw = "none"\nauth_unix_ro = "none"\nunix_sock_group = "root"\n' >libvirtd.conf
cat >machine.xml <<'XML'
<domain type='qemu'>
  <name>one</name>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices><video><model type='none'/></video></devices>
</domain>
XML

# All that follows runs in namespaces of its own: when its first process ends, the kernel ends all that it started.
cat >inside.sh <<'SH'
set -euo pipefail
mkdir run etc lib log cache
mount --bind run /run
for part in etc:/etc/libvirt lib:/var/lib/libvirt log:/var/log/libvirt cache:/var/cache/libvirt; do
    mkdir -p "${part#*:}"
    mount --bind "${part%%:*}" "${part#*:}"
done
cp qemu.conf libvirtd.conf /etc/libvirt/
echo "127.0.0.1 localhost $(hostname)" >hosts
mount --bind hosts /etc/hosts  # libvirtd looks its own name up
libvirtd >libvirtd.out 2>&1 &
export LIBVIRT_DEFAULT_URI=qemu:///system LC_ALL=C
wait_for() { # a command that will succeed
    for _ in $(seq 200); do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.1
    done
    echo "DIFFERENT: within 20 s it never came to: $*" >&2
    exit 1
}
wait_for virsh -q list
virsh event --all --loop >events 2>&1 &
watcher=$!
# virsh event begins to hear some time after it was started: define another machine until it does.
marks=0
marked() {
    marks=$((marks + 1))
    sed "s/>one</>mark-$marks</" machine.xml >mark.xml
    virsh -q define mark.xml && sleep 0.1 && grep -q mark- events
}
wait_for marked
# libvirt sends events in order, so when a new mark is heard, all before it has been.
until_now() {
    marked >/dev/null
    wait_for grep -q "'mark-$marks'" events
    wc -l <events
}
told() { # what is done, the events that were seen when this was written, and the command
    local what=$1 seen=$2 now
    shift 2
    until_now >from
    virsh -q "$@" >/dev/null
    until_now >to
    now=$(sed -n "$(($(cat from) + 1)),$(cat to)p" events | sed -n "s/^event 'lifecycle' for domain 'one': //p" |
        sed 's/ *$//' | paste -sd ';' | sed 's/;/; /g')
    printf '  %-16s %s\n' "$what" "$now"
    [ "$now" = "$seen" ] || { printf 'DIFFERENT: %s was: %s\n' "$what" "$seen" >&2; touch differs; }
}
virsh -q define machine.xml >/dev/null
told "start" "Resumed Unpaused; Started Booted" start one
told "destroy" "Shutdown Finished after host request; Stopped Destroyed" destroy one
told "start --paused" "Started Booted; Suspended Paused" start --paused one
told "destroy" "Shutdown Finished after host request; Stopped Destroyed" destroy one
kill "$watcher"
SH
unshare --mount --propagation private --pid --mount-proc --fork --kill-child=KILL bash inside.sh
[ ! -e differs ] || exit 1
echo "as found: resumed comes before started"
