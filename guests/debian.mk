# The Debian guest: a root file system on a virtual disk, and an initramfs that finds it. Debian's cloud kernel is that of
# guests/linux.mk, which make reads after this file: hence $$ among what must be there before.
# SPDX-License-Identifier: MIT
DEBIAN_DIR := $(BUILD)/debian
DEBIAN_FILES := $(DEBIAN_DIR)/debian.img $(DEBIAN_DIR)/debian.initrd

# It stays until `make clean`, or until the recipe changes.
$(DEBIAN_DIR)/debian.img: guests/debian/mkroot.sh | $$(LINUX_DIR)/vmlinuz $$(LINUX_MODULES)
	@mkdir -p $(@D)
	guests/debian/mkroot.sh $@ $(LINUX_DIR)

$(DEBIAN_DIR)/debian.initrd: guests/debian/initramfs.sh guests/debian/init /bin/busybox | $$(LINUX_MODULES)
	@mkdir -p $(@D)
	guests/debian/initramfs.sh $@ $(LINUX_DIR)/modules

.PHONY: debian debian-files
debian-files: $(DEBIAN_FILES)
debian: ## boot Vireo with a whole Debian on a virtual disk, in this terminal (as make run)
	@$(MAKE) --no-print-directory run CONF=guests/debian/vireo.conf FILES='$(DEBIAN_FILES)'
