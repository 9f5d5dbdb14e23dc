#!/bin/bash
# Makes an ext4 image with a Debian 12 in it: apt, systemd, udev, D-Bus, a login on ttyS0; root has no password. What a VM
# has no use for is left out: manuals, translations, the database of hardware. The modules of virtual devices come from
# Debian's kernel package by way of guests/linux/fetch.sh; the kernel itself stays outside.
# Usage: guests/debian/mkroot.sh OUT LINUX (the folder that fetch.sh filled). Called by make; needs no loop device, and root
# no more than mmdebstrap does: a user with subordinate ids (/etc/subuid) will do. The same packages give the same files.
# SPDX-License-Identifier: MIT
set -eu
PATH=$PATH:/usr/sbin:/sbin
out=$(readlink -f "$1")
linux=$(readlink -f "$2")
size=144M
# Nothing is younger than Debian 12's summer: a file of the guest's future would be one that its checks complain about.
export SOURCE_DATE_EPOCH=1690000000

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
release=$(sed 's/^linux-image-//' "$linux/version")
mkdir -p "$work/$release/kernel"
cp "$linux"/modules/*.ko "$work/$release/kernel/"
touch "$work/$release"/modules.{order,builtin,builtin.modinfo} # depmod asks for them

# The mirrors that the system's own apt uses for Debian 12; where it knows none, mmdebstrap's own.
sources=$(apt-get indextargets --format "deb \$(REPO_URI) \$(CODENAME) main" \
	"Identifier: Packages" "Origin: Debian" "Component: main" | grep ' bookworm' | sort -u || true)
mirrors=()
[ -z "$sources" ] || mapfile -t mirrors <<<"$sources"

# Runs as root of the new system, $1 is its root folder. An empty machine-id is filled at the first boot, and that is not
# taken for the installation's. What is masked costs time, and needs a network, LVM or a module that is not there.
# shellcheck disable=SC2016
settings='
	set -eu
	echo debian >"$1/etc/hostname"
	printf "127.0.0.1 localhost debian\n::1 localhost\n" >"$1/etc/hosts"
	echo "/dev/vda / ext4 defaults 0 0" >"$1/etc/fstab" # its journal is enough: no check at each boot
	: >"$1/etc/machine-id"
	chroot "$1" passwd --quiet --delete root
	chroot "$1" systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
		fstrim.timer e2scrub_reap.service proc-sys-fs-binfmt_misc.automount'

echo "debian: fetching packages and unpacking them (some minutes)"
# The hooks merge /usr before anything is installed: the package that does so afterwards wants the whole of perl.
# shellcheck disable=SC2016
mmdebstrap --quiet --variant=apt --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
	--aptopt='Apt::Install-Recommends "false"' --include=systemd-sysv,udev,kmod,dbus,e2fsprogs \
	--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/lib/udev/hwdb.d/*' \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
	--customize-hook='mkdir "$1/usr/lib/modules"' --customize-hook="copy-in $work/$release /usr/lib/modules" \
	--customize-hook="chroot \"\$1\" depmod $release" \
	--customize-hook="$settings" \
	bookworm "$work/root.tar" "${mirrors[@]}"

# Owners and modes are those of the archive, whoever runs this.
rm -f "$out.new"
export E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH
mkdir "$work/root"
# shellcheck disable=SC2016
fakeroot sh -eu -c 'tar -x --numeric-owner -f "$1/root.tar" -C "$1/root" --exclude="./dev/*"
	mke2fs -q -t ext4 -b 4096 -m 1 -J size=4 -L debian -U 6465626e-6961-4e00-8000-766972656f00 \
		-E hash_seed=6465626e-6961-4e00-8000-766972656f01,lazy_itable_init=0,lazy_journal_init=0 \
		-d "$1/root" "$2.new" "$3"' sh "$work" "$out" "$size"
mv "$out.new" "$out"
