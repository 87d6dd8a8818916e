# Installation: headers keep their folders (#include "replica/node.h") under include/pbft.

.PHONY: install uninstall
BINDIR     := $(PREFIX)/bin
LIBDIR     := $(PREFIX)/lib
INCLUDEDIR := $(PREFIX)/include/pbft
DOCDIR     := $(PREFIX)/share/doc/pbft
UNITDIR    := $(PREFIX)/lib/systemd/system
INSTALLED_PROGRAMS := $(filter-out pbftd-faulty pbft-hostile,$(PROGRAMS))

install: all ## install to $(DESTDIR)$(PREFIX)
	@install -d $(addprefix $(DESTDIR),$(BINDIR) $(LIBDIR)/pkgconfig $(INCLUDEDIR) $(DOCDIR))
	@for p in $(INSTALLED_PROGRAMS); do install -m 755 $(OUT)/bin/$$p $(DESTDIR)$(BINDIR)/; done
	@install -m 644 $(LIB) $(DESTDIR)$(LIBDIR)/
	@install -m 644 $(OUT)/lib/libpbft.so.$(VERSION) $(DESTDIR)$(LIBDIR)/
	@ln -sf libpbft.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	@ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libpbft.so
	@sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	    -e 's|@VERSION@|$(VERSION)|' mk/pbft.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/pbft.pc
	@for h in $(filter-out %_internal.h,$(PUBLIC_HEADERS)); do install -D -m 644 $$h $(DESTDIR)$(INCLUDEDIR)/$$h; done
	@for d in $(wildcard LICENSE README.md CHANGELOG.md); do install -m 644 $$d $(DESTDIR)$(DOCDIR)/; done
	@cp -r docs $(DESTDIR)$(DOCDIR)/ # README.md links to it
	@for u in $(wildcard deploy/*.service); do install -D -m 644 $$u $(DESTDIR)$(UNITDIR)/$$(basename $$u); done
	@echo "Installed to $(DESTDIR)$(PREFIX)"

uninstall: ## remove what install put there
	@rm -f $(addprefix $(DESTDIR)$(BINDIR)/,$(INSTALLED_PROGRAMS))
	@rm -f $(addprefix $(DESTDIR)$(LIBDIR)/,libpbft.a libpbft.so $(SONAME) libpbft.so.$(VERSION) pkgconfig/pbft.pc)
	@rm -f $(addprefix $(DESTDIR)$(UNITDIR)/,$(notdir $(wildcard deploy/*.service)))
	@rm -rf $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(DOCDIR)
	@echo "Removed from $(DESTDIR)$(PREFIX)"
