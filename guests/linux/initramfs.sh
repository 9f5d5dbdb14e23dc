#!/bin/bash
# Makes the Linux guest's initramfs out of busybox-static, /init (init.c), /etc/inittab and the modules of the power button
# and of virtual devices.
# Usage: guests/linux/initramfs.sh OUT INIT MODULES (the compiled init.c; a folder). The same input gives the same bytes.
# SPDX-License-Identifier: MIT
set -eu
here=$(dirname "$(readlink -f "$0")")
out=$(readlink -f "$1")
init=$(readlink -f "$2")
modules=$(readlink -f "$3")
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

umask 022
mkdir -p "$root"/{bin,dev,etc/acpi/PWRF,lib,proc,root,sys,tmp}
install -m 755 /bin/busybox "$root/bin/busybox"
install -m 755 "$init" "$root/init"
install -m 644 "$here/inittab" "$root/etc/inittab"
install -m 644 "$modules"/*.ko "$root/lib/"
# What busybox's acpid runs when the power button is pressed.
printf '#!/bin/sh\nexec poweroff\n' >"$root/etc/acpi/PWRF/00000080"
chmod 755 "$root/etc/acpi/PWRF/00000080"
# A guest without virtual devices (PCI vendor 1af4) does without their drivers.
cat >"$root/etc/virtio" <<'EOF'
#!/bin/sh
grep -qs 0x1af4 /sys/bus/pci/devices/*/vendor || exit 0
for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk \
	virtio-rng virtio_balloon virtio_console; do
	insmod "/lib/$module.ko"
done
grep -qs 0x1041 /sys/bus/pci/devices/*/device || exit 0 # a network card
for module in failover net_failover virtio_net; do
	insmod "/lib/$module.ko"
done
EOF
cat >"$root/etc/vlan" <<'EOF'
#!/bin/sh
# What 802.1Q tags need: `ip link add link eth0 name eth0.7 type vlan id 7` works after it.
for module in llc stp garp mrp 8021q; do
	insmod "/lib/$module.ko"
done
EOF
chmod 755 "$root/etc/vlan"
chmod 755 "$root/etc/virtio"
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd" # the shell's prompt shows ~ for this home
echo "export HOME=/root; cd" >"$root/etc/profile"
for applet in $("$root/bin/busybox" --list); do
	[ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done

cd "$root"
find . -exec touch -h -d @0 {} +
find . -mindepth 1 | LC_ALL=C sort |
	cpio --quiet --reproducible -o -H newc -R 0:0 | gzip -n -9 >"$out.new"
mv "$out.new" "$out"
