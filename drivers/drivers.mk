# The screen's font, from a Debian package (psf-unifont).
# SPDX-License-Identifier: MIT
FONT := /usr/share/consolefonts/Unifont-APL8x16.psf.gz

generated: $(BUILD)/gen/font.h
$(BUILD)/gen/font.h: drivers/mkfont.py $(FONT)
	@mkdir -p $(@D)
	$(PYTHON) drivers/mkfont.py $(FONT) $@
