# build/soak/lifecycle, the soak test of VMs' lives (tests/soak): the core's sources on a simulated machine.
# SPDX-License-Identifier: MIT

# sched_peek.c includes hv/sched/sched.c. clock, log and what drives hardware are simulated.
SOAK_CORE := $(filter-out hv/sched/sched.c hv/boot_info.c hv/clock.c hv/log.c hv/main.c hv/panic.c hv/stray.c hv/lib/% hv/shell/%, \
        $(filter hv/%,$(CORE_C))) hv/lib/chacha20.c hv/lib/heap.c hv/lib/number.c arch/x86/cpu_state.c arch/x86/entropy.c \
        arch/x86/mitigations.c arch/x86/walk.c arch/x86/window.c
SOAK_OBJ := $(SOAK_CORE:%.c=$(BUILD)/soak/%.o) $(BUILD)/soak/tests/soak/sched_peek.o
SOAK_SIM := $(patsubst %.c,$(BUILD)/soak/%.o,$(filter-out %/sched_peek.c,$(wildcard tests/soak/*.c)))

# Each basic block of the core says so: there another CPU may come in between.
$(SOAK_OBJ): HOST_CFLAGS += -fsanitize-coverage=trace-pc

-include $(SOAK_OBJ:.o=.d) $(SOAK_SIM:.o=.d)

$(BUILD)/soak/%.o: %.c | generated
	$(call say,CC,$@)
	$(Q)$(CC) $(HOST_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/soak/lifecycle: $(SOAK_OBJ) $(SOAK_SIM)
	$(call say,LD,$@)
	$(Q)$(CC) $(HOST_CFLAGS) -Wl,--wrap=phys_alloc,--wrap=phys_free,--wrap=phys_take_frame \
	        -Wl,--wrap=phys_split_chunk,--wrap=phys_give_chunk,--wrap=phys_reserve \
	        -Wl,--wrap=pv_look_again,--wrap=pv_leaves,--wrap=pv_take_eoi $^ -o $@
