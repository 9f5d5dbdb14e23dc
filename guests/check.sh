#!/bin/bash
# Runs the guests that end by themselves in QEMU's software PC, which has the same debug ports: whoever says ok there
# asks for nothing but a PC. Time is counted in instructions, so that a busy host does not disturb the clocks. QEMU answers an exit code n with 2n+1. Usage: check.sh DIRECTORY [NAME...]
# SPDX-License-Identifier: MIT
set -uo pipefail
out=$1
shift
[ $# -gt 0 ] || set -- real protected long interrupts faults timer cpuid_msr devices mb bench bench_smp
failed=0
for name; do
	if [ -f "$out/$name.disk" ]; then
		boot=(-drive "file=$out/$name.disk,format=raw")
	else
		boot=(-kernel "$out/$name.elf" -append "emulator" -initrd "$out/real.bin first module,$out/long.bin second")
	fi
	timeout 120 qemu-system-x86_64 -machine pc -accel tcg -cpu max -smp 2 -m 16 -display none -no-reboot -net none -icount shift=4,sleep=off -rtc clock=vm \
	        -serial file:"$out/$name.serial" -debugcon stdio -device isa-debug-exit,iobase=0xf4,iosize=4 "${boot[@]}" \
	        </dev/null
	code=$?
	if [ $code -ne 1 ]; then
		echo "check.sh: $name: QEMU ended with $code, expected 1"
		failed=1
	fi
done
exit $failed
