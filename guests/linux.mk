# The Linux guest: Debian's cloud kernel and an initramfs with busybox.
# SPDX-License-Identifier: MIT
LINUX_DIR := $(BUILD)/linux
LINUX_FILES := $(LINUX_DIR)/vmlinuz $(LINUX_DIR)/initrd

# Order only: a kernel that was fetched stays until `make clean`. One module of each folder stands for all.
LINUX_MODULES := $(LINUX_DIR)/modules/virtio_console.ko
KVM_MODULES := $(LINUX_DIR)/kvm/kvm-intel.ko
$(LINUX_DIR)/vmlinuz $(LINUX_MODULES) $(KVM_MODULES) &: | guests/linux/fetch.sh
	guests/linux/fetch.sh $(LINUX_DIR)

$(LINUX_DIR)/init: guests/linux/init.c
	$(call say,CC,$@)
	$(Q)$(CC) -std=c17 -O2 -ffreestanding -mgeneral-regs-only -fno-stack-protector -fno-pie -no-pie -nostdlib -static $(WARN) \
	        -Wl,--build-id=none,-z,noexecstack -s $< -o $@

$(LINUX_DIR)/initrd: guests/linux/initramfs.sh guests/linux/inittab $(LINUX_DIR)/init /bin/busybox | $(LINUX_MODULES)
	guests/linux/initramfs.sh $@ $(LINUX_DIR)/init $(LINUX_DIR)/modules

.PHONY: linux
linux: $(LINUX_FILES) $(KVM_MODULES)
