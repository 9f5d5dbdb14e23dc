# `make coverage`: how much of each source the unit tests and the soak test run on this machine, and what runs only on the
# real thing. Everything is compiled once more, with counters, into build/coverage/.
# SPDX-License-Identifier: MIT
COVERAGE := $(BUILD)/coverage

# In the second make, below.
HOST_CFLAGS += $(if $(COVERED),--coverage)
.PHONY: coverage coverage-files
coverage-files: $(UNIT_BIN) $(BUILD)/soak/lifecycle

coverage: packages ## lines of the sources that unit tests and soak test run, and those that they don't
	$(BUILD_NOW) BUILD=$(COVERAGE) COVERED=1 coverage-files
	@find $(COVERAGE) -name '*.gcda' -delete
	@for test in $(UNIT_BIN:$(BUILD)/%=$(COVERAGE)/%); do $$test > $(COVERAGE)/said 2>&1 || { cat $(COVERAGE)/said; exit 1; }; done
	@for seed in 1 2 3; do $(COVERAGE)/soak/lifecycle --seed $$seed > $(COVERAGE)/said || { cat $(COVERAGE)/said; exit 1; }; done
	@gcovr --root . --object-directory $(COVERAGE) $(COVERAGE) $(addprefix --filter ,arch/ boot/ hv/ drivers/) \
	        --json $(COVERAGE)/all.json --txt $(COVERAGE)/all.txt
	@cat $(COVERAGE)/all.txt
	@echo 'Only on the real thing (make test, make test-long):'
	@for file in $(CORE_C) $(wildcard boot/*.c); do grep -qF "\"$$file\"" $(COVERAGE)/all.json || echo "  $$file"; done
