#!/bin/bash
# Makes the Debian guest's initramfs out of busybox-static, /init beside this file and the modules of virtual disks.
# Usage: guests/debian/initramfs.sh OUT MODULES (a folder). The same input gives the same bytes.
# SPDX-License-Identifier: MIT
set -eu
here=$(dirname "$(readlink -f "$0")")
out=$(readlink -f "$1")
modules=$(readlink -f "$2")
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

umask 022
mkdir -p "$root"/{bin,dev,lib,proc,root}
install -m 755 /bin/busybox "$root/bin/busybox"
install -m 755 "$here/init" "$root/init"
install -m 644 "$modules"/virtio{,_ring,_pci,_pci_modern_dev,_pci_legacy_dev,_blk}.ko "$root/lib/"
for applet in cat insmod mount sh switch_root umount; do
	ln -s busybox "$root/bin/$applet"
done

cd "$root"
find . -exec touch -h -d @0 {} +
find . -mindepth 1 | LC_ALL=C sort |
	cpio --quiet --reproducible -o -H newc -R 0:0 | gzip -n -9 >"$out.new"
mv "$out.new" "$out"
