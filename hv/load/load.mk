# The guest's DSDT: compiled by iasl into a C array, `dsdt_aml`. Any remark of the compiler is an error.
# SPDX-License-Identifier: MIT
generated: $(BUILD)/gen/dsdt.h

$(BUILD)/gen/dsdt.h: hv/load/dsdt.asl
	$(call say,IASL,$@)
	$(Q)iasl -we -vs -p $(BUILD)/gen/dsdt -tc $< > $(BUILD)/gen/dsdt.log || { cat $(BUILD)/gen/dsdt.log; exit 1; }
	$(Q)sed 's/^unsigned char .*\[\]/static const unsigned char dsdt_aml[]/' $(BUILD)/gen/dsdt.hex > $@
