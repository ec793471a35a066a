# libhunyuanvideo, the program hyv, the patched ffmpeg, and their tests. Wildcards, -MMD, one rule for C.
#
#   make            library and hyv in build/        make demo    a patched ffmpeg and demo.mp4
#   make check      set-up and every test            make install PREFIX=/usr/local
#
# Instruction sets are chosen at run time: *_avx2.c and *_avx512.c get their flags here, all other files none.

PREFIX  ?= /usr/local
BUILD   ?= build
CC      ?= cc
OPT     ?= -O3
WERROR  ?= -Werror
FFMPEG  ?=
VERSION := 0.1.0
SOMAJOR := 0.1

PACKAGES := yaml-0.1 jansson libpcre2-8 libutf8proc
DEPS_CFLAGS = $(shell pkg-config --cflags $(PACKAGES))
DEPS_LIBS   = $(shell pkg-config --libs $(PACKAGES)) -lm -lpthread

WARN   := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes $(WERROR)
CFLAGS_ALL = -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 $(OPT) -g -fPIC -fvisibility=hidden \
             -ffp-contract=off -fno-math-errno -pthread $(WARN) \
             -DHYV_DATADIR='"$(PREFIX)/share/hunyuanvideo"' $(DEPS_CFLAGS) $(SANITIZE) $(CFLAGS)
LDFLAGS_ALL = $(SANITIZE) $(LDFLAGS)

LIB_SRC := $(wildcard engine/*/*.c) $(filter-out engine/cli.c,$(wildcard engine/*.c)) \
           $(wildcard kernels/*.c kernels/*/*.c)
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/obj/%.o)
CLI_OBJ := $(BUILD)/obj/engine/cli.o

TEST_SRC := $(wildcard tests/*/test_*.c tests/*/check_*.c)
TEST_BIN := $(TEST_SRC:%.c=$(BUILD)/%)
TEST_AUX := $(BUILD)/obj/tests/check.o $(BUILD)/obj/tests/golden.o
BENCH_BIN := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/bench/bench_*.c))

STATIC := $(BUILD)/lib/libhunyuanvideo.a
SHARED := $(BUILD)/lib/libhunyuanvideo.so.$(VERSION)

all: lib hyv
lib: $(STATIC) $(SHARED) $(BUILD)/lib/pkgconfig/libhunyuanvideo.pc
hyv: $(BUILD)/hyv

$(BUILD)/obj/%_avx2.o: CFLAGS += -mavx2 -mfma -mf16c
$(BUILD)/obj/%_avx512.o: CFLAGS += -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mprefer-vector-width=512

$(BUILD)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(STATIC): $(LIB_OBJ)
	@mkdir -p $(@D)
	@rm -f $@
	$(AR) rcs $@ $^

$(SHARED): $(LIB_OBJ)
	@mkdir -p $(@D)
	$(CC) -shared -Wl,-soname,libhunyuanvideo.so.$(SOMAJOR) -Wl,--no-undefined $(LDFLAGS_ALL) -o $@ $^ $(DEPS_LIBS)
	@ln -sf libhunyuanvideo.so.$(VERSION) $(BUILD)/lib/libhunyuanvideo.so.$(SOMAJOR)
	@ln -sf libhunyuanvideo.so.$(VERSION) $(BUILD)/lib/libhunyuanvideo.so

# The build tree's own .pc file: FFmpeg can be configured against the library without installing it.
$(BUILD)/lib/pkgconfig/libhunyuanvideo.pc: configure-hook/hunyuanvideo.pc.in Makefile
	@mkdir -p $(@D) $(BUILD)/include
	@ln -sf ../../engine/hunyuanvideo.h $(BUILD)/include/hunyuanvideo.h
	sed -e 's|@PREFIX@|$(abspath $(BUILD))|' -e 's|@LIBDIR@|$(abspath $(BUILD))/lib|' \
	    -e 's|@INCLUDEDIR@|$(abspath $(BUILD))/include|' -e 's|@VERSION@|$(VERSION)|' $< > $@

$(BUILD)/hyv: $(CLI_OBJ) $(STATIC)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(DEPS_LIBS)

$(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(TEST_AUX) $(STATIC)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(TEST_LIBS) $(DEPS_LIBS)

tests: $(TEST_BIN)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

.PHONY: all lib hyv tests
.SECONDARY:
