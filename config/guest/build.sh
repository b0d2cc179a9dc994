#!/bin/bash
# Builds a tiny guest out of Debian packages: kernel, busybox and dropbear, nothing installed.
# Usage: build.sh OUTDIR      makes OUTDIR/tiny.qcow2 and OUTDIR/tiny.qcow2.sha256 (30 s, 55 MiB virtual)
#
# Needs the packages named in config/packages.txt; no root file system is mounted, no loop device is
# used. The guest: DHCP, metadata as CloudStack serves it, READY on the serial console, ping, ssh, http.
set -euo pipefail
umask 022
out=$(realpath -m "${1:?usage: build.sh OUTDIR}")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PATH=$PATH:/usr/sbin:/sbin
mkdir -p "$out"

boot_mib=20 # FAT: kernel, initrd, boot loader
root_mib=16 # ext4: everything else

packages() { # unpacked into $work/packages
    local kernel
    kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ {print $2; exit}')
    [ -n "$kernel" ] || { echo "build.sh: apt knows no kernel; run apt-get update" >&2; exit 69; }
    mkdir -p "$work/debs" "$work/packages"
    chmod 777 "$work" "$work/debs" # apt fetches as its own user
    (cd "$work/debs" && apt-get download -qq "$kernel" busybox-static dropbear-bin \
        libtomcrypt1 libtommath1 libgmp10 libcrypt1 zlib1g)
    for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/packages"; done
    version=$(ls "$work/packages/lib/modules")
    depmod -b "$work/packages" "$version" 2>/dev/null
}

program() { # PROGRAM FOLDER: the program and the libraries it is linked to
    local libraries=$work/packages/usr/lib/x86_64-linux-gnu:$work/packages/lib/x86_64-linux-gnu linked
    install -D -m755 "$1" "$root/$2/$(basename "$1")"
    linked=$(LD_LIBRARY_PATH=$libraries ldd "$1")
    if grep "not found" <<<"$linked" >&2; then exit 70; fi
    awk '/=> \//{print $1, $3} /^\t\/lib64/{print $1, $1}' <<<"$linked" | while read -r name file; do
        case $name in /*) ;; *) name=/lib/x86_64-linux-gnu/$name ;; esac
        [ -e "$root$name" ] || install -D -m755 "$(realpath "$file")" "$root$name"
    done
}

modules() { # INTO MODULE...: with what they depend on, and an index of their own
    local into=$1 file
    shift
    for module in "$@"; do
        modprobe -d "$work/packages" -S "$version" --show-depends "$module" 2>/dev/null |
            awk '/^insmod/ {print $2}'
    done | sort -u | while read -r file; do
        install -D -m644 "$file" "$into/lib/modules/$version/${file#*/lib/modules/"$version"/}"
    done
    depmod -b "$into" "$version" 2>/dev/null
    rm -f "$into/lib/modules/$version"/modules.*.bin # busybox reads modules.dep
}

root_tree() { # the whole system, in $root
    root=$work/root
    mkdir -p "$root"/{bin,sbin,dev,proc,sys,run,tmp,mnt,root/.ssh,etc/dropbear,var/log,lib64}
    install -m755 "$work"/packages/{usr/,}bin/busybox "$root/bin/" 2>/dev/null || true
    for name in $("$root/bin/busybox" --list); do
        case $name in busybox | dpkg* | rpm | ssl_client) ;; *) ln -sf busybox "$root/bin/$name" ;; esac
    done
    ln -s /bin/busybox "$root/sbin/init"
    ln -s /run "$root/var/run"
    program "$work/packages/usr/sbin/dropbear" usr/sbin
    program "$work/packages/usr/bin/dropbearkey" usr/bin
    modules "$root" virtio_net virtio_balloon virtio-rng button evdev
    cp -r "$here/root/." "$root/"
    chmod 755 "$root"/etc/init.d/* "$root"/usr/bin/* "$root"/usr/share/udhcpc/* \
        "$root"/www/cgi-bin/* "$root"/etc/acpi/PWRF/*
    # Root's password is "csnode": this guest shows that machines run, it keeps no secrets.
    echo "root:$("$root/bin/busybox" mkpasswd -m sha512 csnode):19000:0:99999:7:::" >"$root/etc/shadow"
    chmod 600 "$root/etc/shadow"
}

initrd() { # busybox and the drivers of the disk; it finds the root file system and goes there
    local tree=$work/initrd
    mkdir -p "$tree"/{bin,dev,proc,sys,root}
    cp "$root/bin/busybox" "$tree/bin/"
    install -m755 "$here/initrd/init" "$tree/init"
    modules "$tree" virtio_pci virtio_blk virtio_scsi sd_mod
    (cd "$tree" && find . | cpio -o -H newc --quiet -R 0:0 | gzip -9n) >"$work/initrd.gz"
}

disk() { # MBR, SYSLINUX on FAT16 (a third of GRUB's time under emulation), ext4
    local offset=$((1 + boot_mib))
    truncate -s ${boot_mib}M "$work/boot.raw"
    mkfs.vfat -F 16 -n BOOT -s 4 -h 2048 "$work/boot.raw" >/dev/null
    mcopy -i "$work/boot.raw" "$work/packages/boot/vmlinuz-$version" ::vmlinuz
    mcopy -i "$work/boot.raw" "$work/initrd.gz" ::initrd.gz
    mcopy -i "$work/boot.raw" "$here/syslinux.cfg" ::syslinux.cfg
    syslinux -i "$work/boot.raw"
    truncate -s ${root_mib}M "$work/root.raw"
    mke2fs -q -t ext4 -b 4096 -O ^metadata_csum,^64bit,^has_journal -L tinyroot -m 0 \
        -E root_owner=0:0 -d "$root" "$work/root.raw"
    truncate -s $((offset + root_mib + 1))M "$work/disk.raw"
    printf 'label: dos\nstart=1MiB, size=%sMiB, type=6, bootable\nstart=%sMiB, size=%sMiB, type=83\n' \
        $boot_mib $offset $root_mib | sfdisk -q "$work/disk.raw"
    dd if=/usr/lib/syslinux/mbr/mbr.bin of="$work/disk.raw" bs=440 count=1 conv=notrunc status=none
    dd if="$work/boot.raw" of="$work/disk.raw" bs=1M seek=1 conv=notrunc,sparse status=none
    dd if="$work/root.raw" of="$work/disk.raw" bs=1M seek=$offset conv=notrunc,sparse status=none
}

packages
root_tree
initrd
disk
qemu-img convert -c -f raw -O qcow2 "$work/disk.raw" "$out/tiny.qcow2.new"
mv -f "$out/tiny.qcow2.new" "$out/tiny.qcow2" # a new file: the old one may back a running guest
(cd "$out" && sha256sum tiny.qcow2 >tiny.qcow2.sha256)
