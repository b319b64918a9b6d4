# Pillarbox: "make help" lists the targets.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
BUILD    = CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
PREFIX  ?= /usr/local
DESTDIR ?=
FUZZTIME ?= 20000x
BENCHTIME ?= 1s
TESTFLAGS ?=
PACKAGES ?= ./...
NFPM      = v2.48.0
ARCH     ?= $(shell $(GO) env GOARCH)
SOURCES  = cmd mailstore pop3 quota smtp tls

.DEFAULT_GOAL := help
.PHONY: help build run test race lint fuzz-short e2e crash simulate simulate-mutations bench \
	binary install uninstall clean deb rpm package-test

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: ## build bin/pillarbox, one static binary
	$(BUILD) -o bin/pillarbox ./cmd/pillarbox

run: build ## set up a demonstration office in var/, test it, and serve it
	@sh etc/demo.sh

test: ## run the test suite
	$(GO) test $(TESTFLAGS) $(PACKAGES)

race: ## run the test suite with the race detector
	$(MAKE) test TESTFLAGS=-race

lint: ## gofmt, go vet and staticcheck
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt wants:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet -tags e2e,crash ./...
	$(GO) tool staticcheck -tags e2e,crash ./...

fuzz-short: ## fuzz every parser of client bytes, FUZZTIME inputs each
	@set -e; for dir in $$($(GO) list -f '{{.Dir}}' ./...); do \
		for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9]+' $$dir/*_test.go 2>/dev/null | cut -c6-); do \
			echo "$$f in $$dir"; \
			$(GO) test -run='^$$' -fuzz="^$$f$$" -fuzztime=$(FUZZTIME) -fuzzminimizetime=10x $$dir; \
		done; done

e2e: ## test the binary with real mail programs (packages: .ci/packages.txt)
	$(GO) test -tags e2e -count=1 -v -timeout 20m ./cmd/internal/e2e

crash: ## cut the power of a virtual machine that receives mail, and look at what it holds (QEMU; PILLARBOX_CRASH_ROUNDS)
	@GO="$(GO)" sh etc/crash/crash.sh

simulate: ## live through histories until stopped, or replay one (SIMULATE_SEED, _COUNT, _STEPS, _WORKERS, _HISTORY)
	@if [ -n "$$SIMULATE_HISTORY" ]; then run=TestReplay; else run=TestSimulation; fi; \
	SIMULATE_COUNT=$${SIMULATE_COUNT:-0} $(GO) test -count=1 -timeout 0 -run "^$$run$$" ./cmd/internal/simulate -v

simulate-mutations: ## put faults back into the server, one after the other: the simulation must find each (SIMULATE_MUTATIONS)
	@SIMULATE_MUTATIONS=$${SIMULATE_MUTATIONS:-all} $(GO) test -count=1 -timeout 0 -run '^TestMutations$$' ./cmd/internal/simulate -v

bench: ## measure the server beside bare loops (TMPDIR chooses the disk, BENCHTIME and BENCHMESSAGES how long)
	@GO="$(GO)" BENCHTIME=$(BENCHTIME) sh etc/bench.sh

# sudo's PATH may lack Go, so a binary that is newer than the sources is installed as it is.
binary:
	@newer=; [ ! -e bin/pillarbox ] || \
		newer=$$(find go.mod go.sum $(SOURCES) -type f -newer bin/pillarbox ! -name '*_test.go' ! -path '*/testdata/*' 2>/dev/null | head -n 1); \
	if [ -e bin/pillarbox ] && [ -z "$$newer" ]; then exit 0; fi; \
	if command -v $(GO) >/dev/null 2>&1; then exec $(MAKE) build; fi; \
	if [ -e bin/pillarbox ]; then \
		echo "note: bin/pillarbox is older than $$newer and is installed as it is; 'make build' as a user with Go makes a new one"; \
	else echo "bin/pillarbox is missing, and $(GO) is not in this PATH: run 'make build' as a user with Go, then 'sudo make install'" >&2; exit 1; fi

install: binary ## install bin/pillarbox, the systemd unit, the service's account, and sendmail where there is none (as root; needs no Go after "make build")
	install -D -m 0755 bin/pillarbox $(DESTDIR)$(PREFIX)/bin/pillarbox
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/doc/pillarbox README.md CHANGELOG.md LICENSE
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/doc/pillarbox/etc etc/pillarbox.toml
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/doc/pillarbox/etc/docs etc/docs/*.md
	install -d $(DESTDIR)/etc/systemd/system
	sed 's|@PREFIX@|$(PREFIX)|' etc/systemd/pillarbox.service > $(DESTDIR)/etc/systemd/system/pillarbox.service
	install -m 0644 etc/systemd/pillarbox.socket $(DESTDIR)/etc/systemd/system/pillarbox.socket
	@if [ -z "$(DESTDIR)" ] && ! id pillarbox >/dev/null 2>&1; then \
		useradd --system --home-dir /var/lib/pillarbox --shell /usr/sbin/nologin pillarbox; fi
	@if [ -n "$(DESTDIR)" ]; then :; \
	elif [ -e /usr/sbin/sendmail ] || [ -L /usr/sbin/sendmail ]; then \
		[ "$$(readlink /usr/sbin/sendmail)" = "$(PREFIX)/bin/pillarbox" ] || \
			echo "/usr/sbin/sendmail is another program's and stays; 'pillarbox sendmail' does the same"; \
	else ln -s $(PREFIX)/bin/pillarbox /usr/sbin/sendmail; fi
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
	@if [ -e "$(DESTDIR)/etc/pillarbox/pillarbox.toml" ] || \
		{ [ -z "$(DESTDIR)" ] && systemctl -q is-active pillarbox 2>/dev/null; }; then \
		echo "Next: sudo systemctl restart pillarbox"; \
	else echo "Next: pillarbox setup YOUR.DOMAIN --mailbox NAME"; fi

uninstall: ## remove what install has put there; configuration, mail and the account stay (as root)
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then systemctl disable --now pillarbox.socket pillarbox 2>/dev/null || true; fi
	rm -f $(DESTDIR)/etc/systemd/system/pillarbox.service $(DESTDIR)/etc/systemd/system/pillarbox.socket
	@if [ -z "$(DESTDIR)" ] && [ "$$(readlink /usr/sbin/sendmail)" = "$(PREFIX)/bin/pillarbox" ]; then rm -f /usr/sbin/sendmail; fi
	rm -f $(DESTDIR)$(PREFIX)/bin/pillarbox
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/pillarbox
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
	@echo "/etc/pillarbox, /var/lib/pillarbox and the account pillarbox stay; README says how to remove them"

deb rpm: ## make the Debian or RPM package in dist/ (ARCH is amd64, arm64 or arm)
	@GO="$(GO)" VERSION="$(VERSION)" NFPM=$(NFPM) sh etc/package/build.sh $@ $(ARCH)

package-test: ## install, upgrade and remove the package in a Debian that systemd boots (as root; debootstrap, systemd-nspawn)
	@GO="$(GO)" NFPM=$(NFPM) sh etc/package/test.sh

clean: ## remove what was built (the demonstration office in var/ too)
	rm -rf bin dist var
