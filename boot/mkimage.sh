#!/bin/bash
# Makes a disk image that boots under UEFI: GPT with one FAT32 EFI system partition that holds the EFI file as
# \EFI\BOOT\BOOTX64.EFI, the configuration as \vireo\vireo.conf and other files beside it. No root, no loop device.
# The image goes as it is onto a USB stick (dd) or into Bochs (ata0-master, mode=flat) and QEMU (format=raw).
# Used by `make image`, `make usb` and the boot tests.
# SPDX-License-Identifier: MIT
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD:-$here/build}

usage() {
	cat >&2 <<-EOF
	usage: mkimage.sh [--acpi] [--efi FILE] [--loadoptions TEXT] OUT CONF [FILE[=NAME]...]
	  OUT                 the image
	  CONF                becomes \\vireo\\vireo.conf; "-": no configuration
	  FILE[=NAME]         host file, becomes \\vireo\\NAME (default: its own name); NAME may begin with / for the root
	  --acpi              put the test program first that installs ACPI tables (for Bochs); it starts the EFI file
	  --efi FILE          instead of $build/BOOTX64.EFI
	  --loadoptions TEXT  command line for that EFI file (with --acpi only)
	EOF
	exit 2
}

die() {
	echo "mkimage.sh: $*" >&2
	exit 1
}

acpi= efi=$build/BOOTX64.EFI options=
while [[ ${1-} == --* ]]; do
	case $1 in
	--acpi) acpi=$build/ACPI.EFI ;;
	--efi) efi=${2-} && shift || usage ;;
	--loadoptions) options=${2-} && shift || usage ;;
	*) usage ;;
	esac
	shift
done
[[ $# -ge 2 ]] || usage
[[ -z $options || -n $acpi ]] || die "--loadoptions needs --acpi: only that program passes them on"
out=$1 conf=$2
shift 2

# What goes where: sources[i] -> targets[i], a path from the root of the partition.
sources=() targets=()
add() {
	[[ -f $1 ]] || die "$1: no such file"
	sources+=("$1") targets+=("$2")
}
if [[ -n $acpi ]]; then
	add "$acpi" EFI/BOOT/BOOTX64.EFI
	add "$efi" EFI/vireo/BOOTX64.EFI
else
	add "$efi" EFI/BOOT/BOOTX64.EFI
fi
[[ $conf == - ]] || add "$conf" vireo/vireo.conf
for f in "$@"; do
	file=${f%%=*} name=$(basename "${f%%=*}")
	[[ $f == *=* ]] && name=${f#*=}
	if [[ $name == /* ]]; then add "$file" "${name#/}"; else add "$file" "vireo/$name"; fi
done
tmp=
trap 'rm -rf "$tmp"' EXIT
if [[ -n $options ]]; then
	tmp=$(mktemp -d)
	printf '%s' "$options" > "$tmp/loadoptions.txt"
	add "$tmp/loadoptions.txt" vireo/loadoptions.txt
fi

# FAT32 needs more than 65,525 clusters (Microsoft FAT specification 1.03), hence the minimum of 48 MiB with clusters of
# one sector. Bochs wants whole cylinders of 16 heads and 63 sectors; a MiB before and one behind are GPT's.
bytes=0
for s in "${sources[@]}"; do bytes=$((bytes + $(stat -Lc %s "$s"))); done
mib=$((bytes * 21 / 20 / 1048576 + 8))
((mib >= 48)) || mib=48
cluster=1
((mib < 320)) || cluster=8
cylinder=$((16 * 63))
sectors=$((((mib + 2) * 2048 + cylinder - 1) / cylinder * cylinder))
length=$(((sectors - 2048 - 34) / 2048 * 2048))

rm -f "$out" "$out.lock"
truncate -s $((sectors * 512)) "$out"
sgdisk --clear --set-alignment=2048 --new=1:2048:+$((length / 2))K --typecode=1:ef00 --change-name=1:VIREO "$out" > /dev/null
export MTOOLS_SKIP_CHECK=1
mformat -i "$out@@1M" -F -T $length -h 16 -s 63 -H 2048 -c $cluster -v VIREO ::
for t in "${targets[@]}"; do
	folder=
	for part in $(dirname "$t" | tr / ' '); do
		[[ $part != . ]] || continue
		folder=$folder/$part
		mmd -D s -i "$out@@1M" "::$folder" < /dev/null > /dev/null 2>&1 || true
	done
done
for i in "${!sources[@]}"; do
	mcopy -o -i "$out@@1M" "${sources[i]}" "::/${targets[i]}"
done
