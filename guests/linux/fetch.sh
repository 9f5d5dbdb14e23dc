#!/bin/bash
# Fetches Debian's cloud kernel, whatever version is current, and puts its bzImage at DIR/vmlinuz, the modules that the
# guest's power button and its virtual devices need at DIR/modules, and those of KVM, for `make bench`, at DIR/kvm.
# Usage: guests/linux/fetch.sh DIR. Called by make; needs no root and no installed kernel.
# SPDX-License-Identifier: MIT
set -eu
out=$1
mkdir -p "$out"
cd "$out"

# The system's own package lists first; where they are absent or too old, lists of our own under DIR/apt.
apt_options=(-q -o APT::Sandbox::User="$(id -un)")
own_lists() {
	echo "fetch: reading Debian's package lists"
	mkdir -p apt/lists/partial apt/cache
	apt_options+=(-o "Dir::State::lists=$PWD/apt/lists" -o "Dir::Cache=$PWD/apt/cache" -o Debug::NoLocking=1)
	apt-get "${apt_options[@]}" update >/dev/null
}

# linux-image-cloud-amd64 is an empty package that depends on the current versioned one.
kernel_package() {
	apt-cache "${apt_options[@]}" --no-all-versions show linux-image-cloud-amd64 2>/dev/null |
		sed -n 's/^Depends: *\(linux-image-[^ ,]*\).*/\1/p'
}

download() {
	package=$(kernel_package) && [ -n "$package" ] || return 1
	echo "fetch: downloading $package"
	apt-get "${apt_options[@]}" download "$package" >/dev/null 2>fetch.log
}

rm -f ./linux-image-*.deb
if ! download; then
	own_lists
	if ! download; then
		cat fetch.log >&2 || true
		echo "fetch: can't get linux-image-cloud-amd64 from the Debian mirrors in /etc/apt" >&2
		exit 1
	fi
fi
members=(./boot/vmlinuz-*)
for module in drivers/acpi/button drivers/input/evdev drivers/virtio/virtio drivers/virtio/virtio_ring \
	drivers/virtio/virtio_pci_modern_dev drivers/virtio/virtio_pci_legacy_dev drivers/virtio/virtio_pci \
	drivers/block/virtio_blk drivers/char/hw_random/virtio-rng drivers/virtio/virtio_balloon \
	drivers/char/virtio_console \
	net/core/failover drivers/net/net_failover drivers/net/virtio_net \
	net/llc/llc net/802/stp net/802/garp net/802/mrp net/8021q/8021q; do
	members+=("./lib/modules/*/kernel/$module.ko")
done
for module in virt/lib/irqbypass arch/x86/kvm/kvm arch/x86/kvm/kvm-intel; do
	members+=("./lib/modules/*/kernel/$module.ko")
done
rm -rf unpacked modules kvm
mkdir unpacked modules kvm
dpkg-deb --fsys-tarfile ./linux-image-*.deb | tar -x -C unpacked --wildcards "${members[@]}" # fails if one is missing
find unpacked -path '*/kernel/*/kvm/*.ko' -exec mv -t kvm {} +
find unpacked -name irqbypass.ko -exec mv -t kvm {} +
find unpacked -name '*.ko' -exec mv -t modules {} +
mv unpacked/boot/vmlinuz-* vmlinuz.new
[ "$(head -c 518 vmlinuz.new | tail -c 4)" = HdrS ] || { echo "fetch: $package holds no bzImage" >&2; exit 1; }
touch modules/*.ko kvm/*.ko
mv vmlinuz.new vmlinuz
echo "$package" >version
rm -rf ./linux-image-*.deb unpacked fetch.log apt
