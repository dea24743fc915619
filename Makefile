# SPDX-License-Identifier: MPL-2.0
#
# larder's build, in one file. `make` alone prints help.
#
# Everything that is made goes to build/<variant>/: `release` by default, `asan` with SAN=address,undefined, `tsan` with SAN=thread,
# `debug` with DEBUG=1. The first target that needs a library makes build/config.mk: it installs the distribution's packages when
# pkg-config cannot find one, and writes down the flags; make includes that file and starts itself again.
#
# Sources are found by wildcard: a new file in proto/, actors/ or gateway/ is part of the binary, one in tests/unit/ or
# tests/contract/ that ends in _test.c is a test. Knobs: SAN= DEBUG= T=<part of a test's name> V=1 DB= (flow tests: sqlite, mysql).

MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VERSION := 0.1.0
SAN ?=
DEBUG ?=
T ?=
V ?=
Q := $(if $(V),,@)

VARIANT := $(if $(SAN),$(if $(findstring thread,$(SAN)),tsan,asan),$(if $(DEBUG),debug,release))
OUT := build/$(VARIANT)

# --- packages ---

PACKAGES_BUILD := pkg-config libzmq3-dev libczmq-dev libmsgpack-dev libjansson-dev libcurl4-gnutls-dev \
  libsodium-dev libjwt-dev libssl-dev libsqlite3-dev default-libmysqlclient-dev
PACKAGES_TEST := libcriterion-dev mariadb-server-core mariadb-client-core mariadb-client python3 python3-zmq python3-msgpack python3-pytest python3-pytest-xdist curl libfaketime
PACKAGES_LINT := clang clang-format clang-tidy cppcheck libclang-rt-14-dev
# Where node is not the distribution's, its package brings npm and conflicts with the other one.
PACKAGES_BENCH := $(filter-out $(if $(shell command -v npm),npm),$(shell cat tests/bench/packages.txt))

PKG_CONFIG_NAMES := libzmq libczmq msgpack jansson libcurl libsodium libjwt libcrypto sqlite3 libmariadb
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# Installs what is missing of a list of packages, and says what.
define install_packages
missing=$$(for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
if [ -n "$$missing" ]; then \
  echo "Installing from the distribution's packages:" $$missing; \
  $(SUDO) apt-get update -q && DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -q --no-install-recommends $$missing; \
fi
endef

GOALS := $(or $(MAKECMDGOALS),help)
ifneq ($(filter-out help clean deps,$(GOALS)),)
include build/config.mk
endif

# The HTTP parser comes as C sources. Their package would bring node with it, so only its files are taken.
LLHTTP_SOURCES := llhttp.c api.c http.c
build/llhttp/llhttp.h:
	@mkdir -p build/llhttp
	@if [ -f /usr/share/llhttp/llhttp.c ]; then cp /usr/share/llhttp/*.c /usr/share/include/llhttp/llhttp.h build/llhttp; else \
	  echo "Loading llhttp from the distribution's package node-llhttp"; \
	  cd build/llhttp && { apt-get download -q node-llhttp || { $(SUDO) apt-get update -q && apt-get download -q node-llhttp; }; } && \
	  dpkg-deb -x node-llhttp_*.deb package && cp package/usr/share/llhttp/*.c package/usr/share/include/llhttp/llhttp.h . && \
	  rm -r package node-llhttp_*.deb; fi

build/config.mk: Makefile build/llhttp/llhttp.h
	@mkdir -p build
	@pkg-config --exists $(PKG_CONFIG_NAMES) 2>/dev/null || { $(call install_packages,$(PACKAGES_BUILD)); }
	@{ echo "CFLAGS_PKG := $$(pkg-config --cflags $(PKG_CONFIG_NAMES) | sed 's/-I/-isystem /g') -isystem build/llhttp -DLLHTTP_STRICT_MODE=1"; \
	   echo "LIBS_PKG := $$(pkg-config --libs $(PKG_CONFIG_NAMES))"; } > $@

# --- flags ---

CC := gcc
INCLUDES := -Iproto/tables -Iproto/codec -Iproto/json -Iproto/client -Iactors -Igateway
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wswitch-enum -Wformat=2 \
  -Wcast-qual -Wundef -Werror
CFLAGS := -std=c17 -D_GNU_SOURCE -DLARDER_VERSION='"$(VERSION)"' -g $(WARNINGS) $(INCLUDES) $(CFLAGS_PKG)
LDLIBS := $(LIBS_PKG) -lpthread -lm
ifneq ($(SAN),)
CFLAGS += -O1 -fno-omit-frame-pointer -fsanitize=$(SAN) -fno-sanitize-recover=all
LDFLAGS += -fsanitize=$(SAN)
else ifneq ($(DEBUG),)
CFLAGS += -O0
else
CFLAGS += -O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE -fcf-protection
LDFLAGS += -pie -Wl,-z,relro,-z,now
endif

# --- what there is ---

PROTO_SOURCES := $(sort $(wildcard proto/*/*.c))
SERVER_SOURCES := $(sort $(wildcard actors/*/*.c actors/*/*/*.c gateway/*.c gateway/*/*.c))
UNIT_SOURCES := $(sort $(wildcard tests/unit/*_test.c))
CONTRACT_SOURCES := $(sort $(wildcard tests/contract/*_test.c))
SUPPORT_SOURCES := $(sort $(wildcard tests/support/*.c))
FUZZ_SOURCES := $(sort $(wildcard tests/fuzz/fuzz_*.c))
RANDOM_SOURCES := $(sort $(wildcard tests/random/*.c))
SAMPLE_SOURCES := $(sort $(wildcard samples/*.c))

object = $(patsubst %.c,$(OUT)/obj/%.o,$(1))
PROTO_OBJECTS := $(call object,$(PROTO_SOURCES))
LLHTTP_OBJECTS := $(LLHTTP_SOURCES:%.c=$(OUT)/obj/llhttp/%.o)
SERVER_OBJECTS := $(call object,$(SERVER_SOURCES))
TEST_OBJECTS := $(call object,$(UNIT_SOURCES) $(CONTRACT_SOURCES) $(SUPPORT_SOURCES) tests/runner/verify_often.c)
RANDOM_OBJECTS := $(call object,$(RANDOM_SOURCES))
DEPENDENCIES := $(patsubst %.o,%.d,$(PROTO_OBJECTS) $(SERVER_OBJECTS) $(TEST_OBJECTS) $(RANDOM_OBJECTS) $(OUT)/obj/actors/main.o $(call object,$(SAMPLE_SOURCES)))

.PHONY: help all deps run test unit contract flow lint fuzz bench bench-against docs install clean format

help:
	@echo "make run      install what is missing, build, start the shop on http://127.0.0.1:8080 (data under var/)"
	@echo "make test     install what is missing, build, run all tests on SQLite and on a private MariaDB server"
	@echo
	@echo "make all      build build/release/larder, liblarder and the samples"
	@echo "make unit     unit tests only                        T=name picks some"
	@echo "make contract the suites that run on both databases  T=name picks some"
	@echo "make flow     tests that drive the running program   T=name picks some"
	@echo "make lint     format, warnings of two compilers, clang-tidy, cppcheck, the house's own rules"
	@echo "make fuzz     libFuzzer targets, SECONDS_EACH=60"
	@echo "make bench    measure larder beside its peers, print one table"
	@echo "make bench-against COMMIT=...  measure this tree beside an earlier commit, in turn"
	@echo "make docs     write the generated tables into PROTOCOL.md and README.md"
	@echo "make install  DESTDIR= PREFIX=/usr/local"
	@echo "make deps     install every package that any target needs"
	@echo "SAN=address,undefined or SAN=thread builds with sanitizers, DEBUG=1 without optimisation, V=1 shows commands"

all: $(OUT)/larder $(OUT)/liblarder.a $(OUT)/liblarder.so $(patsubst %.c,$(OUT)/%,$(SAMPLE_SOURCES))

deps: build/llhttp/llhttp.h
	@$(call install_packages,$(PACKAGES_BUILD) $(PACKAGES_TEST) $(PACKAGES_LINT))

run: all
	@$(OUT)/larder run $(ARGS)

# --- building ---

$(OUT)/obj/%.o: %.c build/config.mk
	@mkdir -p $(@D)
	@$(if $(V),,echo "  CC  $<")
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c $< -o $@

$(OUT)/obj/llhttp/%.o: build/config.mk
	@mkdir -p $(@D)
	@$(if $(V),,echo "  CC  llhttp/$*.c")
	$(Q)$(CC) $(filter-out $(WARNINGS),$(CFLAGS)) -c build/llhttp/$*.c -o $@

$(OUT)/shared/%.o: %.c build/config.mk
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -fPIC -MMD -MP -c $< -o $@

$(OUT)/liblarder.a: $(PROTO_OBJECTS)
	@$(if $(V),,echo "  AR  $@")
	$(Q)rm -f $@ && ar rcs $@ $^

$(OUT)/liblarder.so: $(patsubst %.c,$(OUT)/shared/%.o,$(PROTO_SOURCES))
	@$(if $(V),,echo "  LD  $@")
	$(Q)$(CC) $(filter-out -pie,$(LDFLAGS)) -shared -Wl,-soname,liblarder.so.0 $^ -o $@ $(LDLIBS)

$(OUT)/libserver.a: $(SERVER_OBJECTS) $(LLHTTP_OBJECTS)
	@$(if $(V),,echo "  AR  $@")
	$(Q)rm -f $@ && ar rcs $@ $^

$(OUT)/larder: $(OUT)/obj/actors/main.o $(OUT)/libserver.a $(OUT)/liblarder.a
	@$(if $(V),,echo "  LD  $@")
	$(Q)$(CC) $(LDFLAGS) $^ -o $@ $(LDLIBS)

$(patsubst %.c,$(OUT)/%,$(SAMPLE_SOURCES)): $(OUT)/samples/%: $(OUT)/obj/samples/%.o $(OUT)/liblarder.a
	@$(if $(V),,echo "  LD  $@")
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) $^ -o $@ $(LDLIBS)

$(OUT)/unit_tests: $(call object,$(UNIT_SOURCES) $(SUPPORT_SOURCES)) $(filter-out %/random_operations.o,$(RANDOM_OBJECTS)) $(OUT)/libserver.a $(OUT)/liblarder.a
	@$(if $(V),,echo "  LD  $@")
	$(Q)$(CC) $(LDFLAGS) $^ -o $@ $(LDLIBS) -lcriterion

$(OUT)/contract_tests: $(call object,$(CONTRACT_SOURCES) $(SUPPORT_SOURCES)) $(OUT)/libserver.a $(OUT)/liblarder.a
	@$(if $(V),,echo "  LD  $@")
	$(Q)$(CC) $(LDFLAGS) $^ -o $@ $(LDLIBS) -lcriterion

$(OUT)/random_operations: $(RANDOM_OBJECTS) $(OUT)/libserver.a $(OUT)/liblarder.a
	@$(if $(V),,echo "  LD  $@")
	$(Q)$(CC) $(LDFLAGS) $^ -o $@ $(LDLIBS)

$(OUT)/verify_often: $(OUT)/obj/tests/runner/verify_often.o $(OUT)/libserver.a $(OUT)/liblarder.a
	@$(if $(V),,echo "  LD  $@")
	$(Q)$(CC) $(LDFLAGS) $^ -o $@ $(LDLIBS)

$(OUT)/must_fail_test: tests/runner/must_fail_test.c build/config.mk
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $< -o $@ -lcriterion

# --- tests ---

.PHONY: test-packages
$(TEST_OBJECTS) $(OUT)/must_fail_test: | test-packages

test-packages:
	@$(call install_packages,$(PACKAGES_TEST))

# Criterion passes a test that leaks; tests/reports does not.
SANITIZER_OPTIONS = ASAN_OPTIONS=log_path=$(CURDIR)/$(OUT)/report:detect_leaks=1 LSAN_OPTIONS=exitcode=0 \
  UBSAN_OPTIONS=print_stacktrace=1:log_path=$(CURDIR)/$(OUT)/report
# What a test waits for takes longer on a busy machine: measured once for all tests of a run, by patience.py.
PATIENCE = LARDER_TEST_PATIENCE=$${LARDER_TEST_PATIENCE:-$$(tests/support/patience.py)}
FILTER = $(if $(T),--filter '*$(T)*/*')

# Checks alert rules. Only the one program of the package is wanted (19 MB to load): installing it would start a server.
build/promtool:
	@mkdir -p build/prometheus
	@if command -v promtool >/dev/null; then ln -sf "$$(command -v promtool)" $@; else \
	  echo "Loading promtool from the distribution's package prometheus"; \
	  (cd build/prometheus && apt-get download -q prometheus && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb) && \
	  ln -sf prometheus/usr/bin/promtool $@; fi

test: test-packages build/promtool all $(OUT)/random_operations $(OUT)/verify_often $(OUT)/unit_tests $(OUT)/contract_tests $(OUT)/must_fail_test
	@tests/run $(OUT)

unit: test-packages $(OUT)/unit_tests
	@rm -f $(OUT)/report.*
	@$(PATIENCE) $(SANITIZER_OPTIONS) V=$(V) tests/quietly $(OUT)/unit_tests -j2 $(FILTER)
	@tests/reports $(OUT)

contract: test-packages $(OUT)/contract_tests
	@rm -f $(OUT)/report.*
	@$(PATIENCE) $(SANITIZER_OPTIONS) V=$(V) tests/support/mariadb.sh run tests/quietly $(OUT)/contract_tests -j6 $(FILTER)
	@tests/reports $(OUT)

flow: test-packages build/promtool all $(OUT)/random_operations $(OUT)/verify_often
	@rm -f $(OUT)/report.*
	@$(PATIENCE) LARDER=$(CURDIR)/$(OUT)/larder $(SANITIZER_OPTIONS) tests/support/mariadb.sh run tests/driven $(if $(T),-k '$(T)')
	@tests/reports $(OUT)

# --- checks, tools ---

.PHONY: lint-packages
lint-packages:
	@$(call install_packages,$(PACKAGES_LINT))

lint: lint-packages all
	@CFLAGS_PKG='$(CFLAGS_PKG)' INCLUDES='$(INCLUDES)' OUT='$(OUT)' tests/lint

format: lint-packages
	clang-format -i $$(git ls-files '*.c' '*.h')

SECONDS_EACH ?= 60
FUZZ_TARGETS := $(patsubst tests/fuzz/%.c,build/fuzz/%,$(FUZZ_SOURCES))
FUZZ_OBJECTS := $(patsubst %.c,build/fuzz/obj/%.o,$(PROTO_SOURCES) $(SERVER_SOURCES))
FUZZ_LLHTTP := $(LLHTTP_SOURCES:%.c=build/fuzz/obj/llhttp/%.o)
FUZZ_CFLAGS = $(filter-out -O2 -fcf-protection -fPIE -D_FORTIFY_SOURCE=2,$(CFLAGS)) -O1 -fno-sanitize-recover=all
$(FUZZ_OBJECTS) $(FUZZ_LLHTTP) $(FUZZ_TARGETS) $(patsubst %.c,build/fuzz/obj/%.o,$(RANDOM_SOURCES)): | lint-packages

build/fuzz/obj/llhttp/%.o: build/config.mk
	@mkdir -p $(@D)
	$(Q)clang $(filter-out $(WARNINGS),$(FUZZ_CFLAGS)) -fsanitize=fuzzer-no-link,address,undefined -c build/llhttp/$*.c -o $@

build/fuzz/obj/%.o: %.c build/config.mk
	@mkdir -p $(@D)
	@$(if $(V),,echo "  CC  $@")
	$(Q)clang $(FUZZ_CFLAGS) -fsanitize=fuzzer-no-link,address,undefined -MMD -MP -c $< -o $@

build/fuzz/libfuzzed.a: $(FUZZ_OBJECTS) $(FUZZ_LLHTTP)
	$(Q)rm -f $@ && ar rcs $@ $^

# Stands on the random sequence, and on the actors themselves.
build/fuzz/fuzz_operations: $(patsubst %.c,build/fuzz/obj/%.o,$(filter-out %/random_operations.c,$(RANDOM_SOURCES)))

build/fuzz/%: tests/fuzz/%.c build/fuzz/libfuzzed.a
	@$(if $(V),,echo "  LD  $@")
	$(Q)clang $(FUZZ_CFLAGS) -Itests/random -fsanitize=fuzzer,address,undefined $(filter %.c,$^) $(filter %.o,$^) $(filter %.a,$^) -o $@ $(LDLIBS)

fuzz: $(FUZZ_TARGETS)
	@for target in $(patsubst tests/fuzz/%.c,%,$(FUZZ_SOURCES)); do \
	  mkdir -p build/corpus/$$target; \
	  build/fuzz/$$target -max_total_time=$(SECONDS_EACH) -max_len=4096 -len_control=0 -print_final_stats=1 -verbosity=0 \
	    -artifact_prefix=build/corpus/$$target- build/corpus/$$target >build/corpus/$$target.log 2>&1 \
	    || { tail -n 60 build/corpus/$$target.log; echo "$$target found a fault"; exit 1; }; \
	  echo "$$target: $$(sed -n 's/^stat::number_of_executed_units: *//p' build/corpus/$$target.log) runs in $(SECONDS_EACH) s, no fault"; \
	done

BENCH_PROGRAMS := $(OUT)/bench/events $(OUT)/bench/letters $(OUT)/bench/orders $(OUT)/bench/search $(OUT)/bench/rabbit

.PHONY: bench-packages
bench-packages:
	@$(call install_packages,$(PACKAGES_BENCH))

$(OUT)/bench/%: tests/bench/programs/%.c $(OUT)/libserver.a $(OUT)/liblarder.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ -o $@ $(LDLIBS)

$(OUT)/bench/rabbit: tests/bench/peers/rabbit.c | bench-packages
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $< -o $@ -lrabbitmq -lpthread

bench: all test-packages bench-packages $(BENCH_PROGRAMS)
	/usr/bin/python3 tests/bench/bench.py $(ARGS)

# This tree beside COMMIT, in turn and in one run.
bench-against: all test-packages bench-packages
	/usr/bin/python3 tests/bench/compare.py $(COMMIT) $(ARGS)

docs: all
	tests/docs write

PREFIX ?= /usr/local
install: all
	install -D -m 755 $(OUT)/larder $(DESTDIR)$(PREFIX)/bin/larder
	install -D -m 644 $(OUT)/liblarder.a $(DESTDIR)$(PREFIX)/lib/liblarder.a
	install -D -m 755 $(OUT)/liblarder.so $(DESTDIR)$(PREFIX)/lib/liblarder.so.0
	ln -sf liblarder.so.0 $(DESTDIR)$(PREFIX)/lib/liblarder.so
	install -d $(DESTDIR)$(PREFIX)/include/larder $(DESTDIR)$(PREFIX)/lib/pkgconfig
	install -m 644 proto/client/larder.h proto/codec/err.h proto/codec/id.h proto/codec/wire.h proto/tables/*.def $(DESTDIR)$(PREFIX)/include/larder
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' proto/larder.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/larder.pc

clean:
	rm -rf build

-include $(DEPENDENCIES) $(FUZZ_OBJECTS:.o=.d) $(patsubst %.c,build/fuzz/obj/%.d,$(RANDOM_SOURCES))
