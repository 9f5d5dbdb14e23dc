#!/bin/bash
# Makes sure that the Debian packages of tests/packages.txt are installed: first step of `make run`, `make test`, ...
# Installs what is missing as root or through sudo; where neither can be had, prints the one line to type and fails.
# When nothing is missing it takes a few milliseconds and says nothing.
# SPDX-License-Identifier: MIT
set -eu
here=$(dirname "$(readlink -f "$0")")

if ! command -v dpkg-query >/dev/null; then
	echo "install: this is not Debian; install the equivalents of tests/packages.txt and try 'make all'" >&2
	exit 1
fi

wanted=$(sed 's/#.*//' "$here/packages.txt")
installed=" $(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | tr '\n' ' ')"
missing=
for package in $wanted; do
	[[ $installed == *" $package "* ]] || missing+=" $package"
done
[ -n "$missing" ] || exit 0

# Prints the way to become root, or fails. A password is asked for only where somebody can type it.
root_command() {
	if [ "$(id -u)" -eq 0 ]; then
		echo env
	elif sudo -n true 2>/dev/null; then
		echo sudo -n
	elif command -v sudo >/dev/null && [ -t 0 ] && [ -t 2 ]; then
		echo sudo
	else
		return 1
	fi
}

if ! root=$(root_command); then
	echo "install: packages are missing and this user can't install them. As root, type:" >&2
	echo "apt-get update && apt-get install --no-install-recommends$missing"
	exit 1
fi

echo "install:$missing"
[ "$root" != sudo ] || echo "install: sudo may ask for your password"
apt_install() {
	# shellcheck disable=SC2086 # words are meant to split
	$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
}
# The package lists of a fresh machine are absent, those of an old one name files that are gone.
# shellcheck disable=SC2086
if ! apt-get install -s -q --no-install-recommends $missing >/dev/null 2>&1; then
	$root apt-get update -q
	apt_install
elif ! apt_install; then
	$root apt-get update -q
	apt_install
fi
