# What a person types: run, test, usb, bench, soak, lint, help. Each first sees to the packages, then builds what it needs.
# SPDX-License-Identifier: MIT
#
# CONF      vireo.conf of the image            guests/linux/vireo.conf
# FILES     further files for the image, FILE[=NAME in \vireo]
# CMDLINE   replaces the cmdline of CONF's guests
# CPUS      of the machine (what a guest gets of it, CONF says)
# MEMORY    of the machine, MiB
# CPU       model of Bochs's processor
# BACKEND   bochs or kvm; otherwise kvm where it offers VT-x, else Bochs
CONF ?= guests/linux/vireo.conf
FILES ?=
$(foreach f,$(CONF) $(foreach g,$(FILES),$(firstword $(subst =, ,$g))),$(if $(wildcard $f)$(filter $(BUILD)/%,$f),,\
  $(error there is no file $f (CONF or FILES))))
CPUS ?= 1
CPU ?= corei7_skylake_x
MEMORY ?= 512
BACKEND ?= auto
FUZZ_SECONDS ?= 60
FUZZ_MINUTES ?= 60
SOAK_SECONDS ?= 3600
# For soak: minutes of random commands, the machine's CPUs, the number that replays a run. For fuzz-guest: the first seed,
# how many follow.
SOAK_MINUTES ?= 20
SOAK_CPUS ?= 2
SEED ?=
RUNS ?= 1000
JOBS := $(shell nproc)
BUILD_NOW = @$(MAKE) --no-print-directory -j$(JOBS)
PYTEST := $(PYTHON) -m pytest -c tests/pytest.ini --rootdir=.
export CMDLINE SOAK_MINUTES SOAK_CPUS SEED

.PHONY: packages run test test-wide test-long unit fuzz fuzz-record fuzz-guest soak soak-host faults usb bench bench-check bench-table scale lint help always
packages:
	@tests/install.sh

run: packages ## boot Vireo with Debian's Linux as its guest, in this terminal (CONF= FILES= CMDLINE= CPUS= MEMORY= CPU= BACKEND=)
	$(BUILD_NOW) $(BUILD)/run.img
	@exec $(PYTHON) tests/run.py $(BUILD)/run.img --backend $(BACKEND) --cpus $(CPUS) --memory $(MEMORY) --cpu $(CPU)

test: packages ## unit tests, fuzzers for a moment, lint, the first of the boot tests
	$(BUILD_NOW) test-files
	@exec $(PYTEST) -n $(JOBS) --dist loadgroup -m "not long and not wide" tests

test-wide: packages ## more of the boot tests: other processors and settings, four guests, each wall; .ci/run has them, too
	$(BUILD_NOW) test-files
	@exec $(PYTEST) -n $(JOBS) --dist loadgroup -m wide tests

test-long: packages ## tests that take long: hostile guests, lives of VMs, Linux on many vCPUs and models
	$(BUILD_NOW) test-files debian-files
	@exec $(PYTEST) -n $(JOBS) --dist loadgroup -m long tests

unit: packages ## only the unit tests, and fuzzers for a moment
	$(BUILD_NOW) $(UNIT_BIN) $(FUZZ_BIN) $(BUILD)/soak/lifecycle
	@exec $(PYTEST) -n $(JOBS) tests/test_unit.py

fuzz: packages ## each fuzzer for FUZZ_SECONDS (60), from tests/fuzz/corpus and what was found before on
	$(BUILD_NOW) $(FUZZ_BIN)
	@exec tests/fuzz/fuzz.py run --seconds $(FUZZ_SECONDS) --jobs $(JOBS)

fuzz-record: packages ## each fuzzer until docs/testing.md says that it ran for FUZZ_MINUTES (60); goes on where it was interrupted
	$(BUILD_NOW) $(FUZZ_BIN)
	@exec tests/fuzz/fuzz.py record --minutes $(FUZZ_MINUTES) --jobs $(JOBS)

fuzz-guest: packages ## random instructions, MSRs, ports, tables, IPIs in a VM on Bochs beside one that must not notice (SEED= RUNS= CPUS= CPU=)
	$(BUILD_NOW) all efi
	@exec $(PYTHON) tests/boot/fuzzing.py --seed "$(SEED)" --runs $(RUNS) --cpus $(CPUS) --cpu $(CPU)

soak-host: packages ## random lives of VMs on a simulated machine, for SOAK_SECONDS (3600), under sanitizers
	$(BUILD_NOW) $(BUILD)/soak/lifecycle
	@exec $(BUILD)/soak/lifecycle --seconds $(SOAK_SECONDS)

faults: packages ## RUNS (1000) such lives, in which memory runs out, guests break the rules and owners do anything at any time
	$(BUILD_NOW) $(BUILD)/soak/lifecycle
	@exec $(BUILD)/soak/lifecycle --runs $(RUNS)

usb: packages ## write build/vireo-usb.img, ready for a USB stick (CONF= FILES= CMDLINE=)
	$(BUILD_NOW) $(BUILD)/run.img
	@cp --sparse=always $(BUILD)/run.img $(BUILD)/vireo-usb.img
	@echo "$(BUILD)/vireo-usb.img is ready. To write it to a USB stick, all of whose contents are lost (lsblk shows which sdX it is):"
	@echo "  sudo dd if=$(BUILD)/vireo-usb.img of=/dev/sdX bs=4M conv=fsync status=progress"

bench: packages ## measure boot and exits, Vireo's and KVM's; write build/bench.json, bench.md, bench.svg
	$(BUILD_NOW) all efi linux
	@exec $(PYTHON) tests/bench/bench.py

bench-check: packages ## measure what repeats exactly, fail for what got worse by 2 % since tests/bench/table.json
	$(BUILD_NOW) all efi linux
	@exec $(PYTHON) tests/bench/check.py

bench-table: packages ## write tests/bench/table.json
	$(BUILD_NOW) all efi linux
	@exec $(PYTHON) tests/bench/check.py --write

scale: packages ## as many guests as memory holds: what each costs as their number grows (half an hour)
	$(BUILD_NOW) all efi linux
	@exec $(PYTHON) tests/bench/scale.py

soak: packages ## random commands for VMs for SOAK_MINUTES (20) on SOAK_CPUS (2), then 1,000 lives of one (SEED= replays)
	$(BUILD_NOW) all efi linux
	@$(PYTHON) tests/soak/soak.py
	@CYCLES=1000 exec $(PYTEST) tests/boot/test_lifecycle.py -k many_lives

lint: packages ## layers, layout, cppcheck, clang-tidy, gcc -fanalyzer
	$(BUILD_NOW) generated
	@exec $(PYTHON) tests/lint.py

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' tests/testbed.mk $(filter-out tests/testbed.mk,$(filter Makefile %.mk,$(MAKEFILE_LIST))) \
	        | expand -t 22

# --- the image of run, usb and the tests ---
$(BUILD)/run.conf: $(CONF) always
	@mkdir -p $(@D)
	@awk 'BEGIN { c = ENVIRON["CMDLINE"] } \
	        c ~ /[\r\n]/ || (c ~ /^[ \t]*"/ && c !~ /^[ \t]*"[^"]*"[ \t]*$$/) { bad = 1; exit } \
	        /^[ \t]*cmdline[ \t]*=/ && c != "" { print "cmdline = " c; found = 1; next } 1; \
	        END { if (bad) why = "expected one line; if it begins with \" nothing but one more at its end"; \
	              else if (c != "" && !found) why = FILENAME " has no line \"cmdline = ...\" that it could replace"; \
	              if (why) { print "CMDLINE=" c ": " why > "/dev/stderr"; exit 1 } }' $< > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(BUILD)/run.img: $(BUILD)/run.conf $(BUILD)/BOOTX64.EFI boot/mkimage.sh $(LINUX_FILES) $(BUILD)/run.files \
                  $(foreach f,$(FILES),$(firstword $(subst =, ,$f)))
	$(call say,IMAGE,$@)
	$(Q)boot/mkimage.sh $@ $(BUILD)/run.conf $(LINUX_FILES) $(FILES)

# Changes when FILES does.
$(BUILD)/run.files: always
	@mkdir -p $(@D)
	@echo '$(FILES)' | cmp -s - $@ || echo '$(FILES)' > $@

.PHONY: test-files
test-files: all efi linux $(BUILD)/run.img $(UNIT_BIN) $(FUZZ_BIN) $(BUILD)/soak/lifecycle

# tests/lint.py asks for the compilers' flags: `make -s print-CORE_CFLAGS`.
print-%:
	@echo '$($*)'
