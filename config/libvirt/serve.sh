#!/bin/sh
# A libvirtd of one's own, in the foreground: serve.sh FOLDER
# Answers at qemu+unix:///system?socket=FOLDER/run/libvirt-sock and touches no other libvirtd.
#
# All its files are in FOLDER. It and its machines live in a process namespace, so they end together,
# and with whoever started it (even by kill -9). Needs root.
set -eu
folder=$(realpath -m "${1:?usage: serve.sh FOLDER}")
here=$(dirname "$(realpath "$0")")
PATH=$PATH:/usr/sbin:/sbin
command -v libvirtd >/dev/null || { echo "serve.sh: libvirtd is not installed" >&2; exit 69; }
mkdir -p "$folder/etc" "$folder/run" "$folder/lib" "$folder/log" "$folder/cache" \
    /etc/libvirt /run/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt
cp "$here/qemu.conf" "$folder/etc/"
{
    cat "$here/libvirtd.conf"
    echo "host_uuid = \"$(cat /proc/sys/kernel/random/uuid)\"" # or several hosts here look like one
} >"$folder/etc/libvirtd.conf"
# libvirt looks its host name up; without an answer every connection waits for DNS to time out.
{
    echo "127.0.0.1 localhost $(hostname)"
    echo "::1 localhost"
} >"$folder/hosts"

# The inner shell is the namespace's first process: it reaps machines that end.
inner='
    mount --bind "$0/etc" /etc/libvirt
    mount --bind "$0/run" /run/libvirt
    mount --bind "$0/lib" /var/lib/libvirt
    mount --bind "$0/log" /var/log/libvirt
    mount --bind "$0/cache" /var/cache/libvirt
    mount --bind "$0/hosts" /etc/hosts
    libvirtd -f /etc/libvirt/libvirtd.conf -p /run/libvirt/libvirtd.pid &
    wait $!'
# The outer one hears SIGTERM, which unshare would not.
outer='
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc \
        sh -euc "$1" "$0" &
    trap "kill -KILL $!" TERM INT
    wait $!'
exec setpriv --pdeathsig KILL sh -uc "$outer" "$folder" "$inner"
