# libhunyuanvideo, the program hyv, the patched ffmpeg, and their tests. Wildcards, -MMD, one rule for C.
#
#   make            library and hyv in build/        make demo    a patched ffmpeg and demo.mp4
#   make check      set-up and every test            make install PREFIX=/usr/local
#
# Instruction sets are chosen at run time: *_avx2.c, *_avx512.c, *_amx.c and such get their flags here, all other files none.

PREFIX  ?= /usr/local
BUILD   ?= build
CC      ?= cc
OPT     ?= -O3
WERROR  ?= -Werror
FFMPEG  ?= 9.0
VERSION := 0.1.0
SOMAJOR := 0.1

PACKAGES := yaml-0.1 jansson libpcre2-8 libutf8proc libxxhash
DEPS_CFLAGS = $(shell pkg-config --cflags $(PACKAGES))
DEPS_LIBS   = $(shell pkg-config --libs $(PACKAGES)) -lm -lpthread

WARN   := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes $(WERROR)
CFLAGS_ALL = -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 $(OPT) -g -fPIC -fvisibility=hidden \
             -ffp-contract=off -fno-math-errno -pthread $(WARN) \
             -DHYV_DATADIR='"$(PREFIX)/share/hunyuanvideo"' $(DEPS_CFLAGS) $(SANITIZE) $(ISA_FLAGS) $(CFLAGS)
LDFLAGS_ALL = $(SANITIZE) $(LDFLAGS)

CLI_SRC := $(wildcard engine/cli*.c)
LIB_SRC := $(wildcard engine/*/*.c) $(filter-out $(CLI_SRC),$(wildcard engine/*.c)) \
           $(wildcard kernels/*.c kernels/*/*.c)
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/obj/%.o)
CLI_OBJ := $(CLI_SRC:%.c=$(BUILD)/obj/%.o)

TEST_SRC := $(wildcard tests/*/test_*.c tests/*/check_*.c)
TEST_BIN := $(TEST_SRC:%.c=$(BUILD)/%)
TEST_AUX := $(addprefix $(BUILD)/obj/tests/,check.o golden.o gguf.o tiny.o damage.o deviation.o)
BENCH_BIN := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/bench/bench_*.c))

FUZZ_MAIN = $(BUILD)/obj/tests/fuzz/replay.o
STATIC := $(BUILD)/lib/libhunyuanvideo.a
SHARED := $(BUILD)/lib/libhunyuanvideo.so.$(VERSION)

all: lib hyv
lib: $(STATIC) $(SHARED) $(BUILD)/lib/pkgconfig/libhunyuanvideo.pc
hyv: $(BUILD)/hyv

$(BUILD)/obj/%_avx2.o: ISA_FLAGS = -mavx2 -mfma -mf16c
$(BUILD)/obj/%_avx512.o: ISA_FLAGS = -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mprefer-vector-width=512
$(BUILD)/obj/%_avx512bf16.o: ISA_FLAGS = -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16 -mfma -mf16c -mprefer-vector-width=512
$(BUILD)/obj/%_avxvnni.o: ISA_FLAGS = -mavx2 -mavxvnni -mfma -mf16c
$(BUILD)/obj/%_avx512vnni.o: ISA_FLAGS = -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mfma -mf16c -mprefer-vector-width=512
$(BUILD)/obj/%_amx.o: ISA_FLAGS = -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16 -mamx-tile -mamx-bf16 -mamx-int8 -mfma -mf16c -mprefer-vector-width=512

$(BUILD)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo "CC $@"
	@$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(STATIC): $(LIB_OBJ)
	@mkdir -p $(@D)
	@rm -f $@
	@$(AR) rcs $@ $^

$(SHARED): $(LIB_OBJ)
	@mkdir -p $(@D)
	@$(CC) -shared -Wl,-soname,libhunyuanvideo.so.$(SOMAJOR) -Wl,--no-undefined $(LDFLAGS_ALL) -o $@ $^ $(DEPS_LIBS)
	@ln -sf libhunyuanvideo.so.$(VERSION) $(BUILD)/lib/libhunyuanvideo.so.$(SOMAJOR)
	@ln -sf libhunyuanvideo.so.$(VERSION) $(BUILD)/lib/libhunyuanvideo.so

# The build tree's own .pc file: FFmpeg can be configured against the library without installing it.
$(BUILD)/lib/pkgconfig/libhunyuanvideo.pc: configure-hook/hunyuanvideo.pc.in Makefile
	@mkdir -p $(@D) $(BUILD)/include
	@ln -sf ../../engine/hunyuanvideo.h $(BUILD)/include/hunyuanvideo.h
	@sed -e 's|@PREFIX@|$(abspath $(BUILD))|' -e 's|@LIBDIR@|$(abspath $(BUILD))/lib|' \
	    -e 's|@INCLUDEDIR@|$(abspath $(BUILD))/include|' -e 's|@VERSION@|$(VERSION)|' $< > $@

$(BUILD)/hyv: $(CLI_OBJ) $(STATIC)
	@$(CC) $(LDFLAGS_ALL) -o $@ $^ $(DEPS_LIBS)

$(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(TEST_AUX) $(STATIC)
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS_ALL) -o $@ $^ $(TEST_LIBS) $(DEPS_LIBS)

# These make allocations and reads fail.
$(BUILD)/tests/fault/%: TEST_LIBS += -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
$(BUILD)/tests/fault/test_readers: TEST_LIBS += -Wl,--wrap=read,--wrap=open64,--wrap=mmap64

# Fuzz targets: with replay.c over their corpus (make check), or with libFuzzer.
FUZZ_BIN := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/fuzz/fuzz_*.c))
$(BUILD)/tests/fuzz/%: $(BUILD)/obj/tests/fuzz/%.o $(BUILD)/obj/tests/fuzz/fuzz.o $(FUZZ_MAIN) $(TEST_AUX) $(STATIC)
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS_ALL) $(FUZZ_FLAGS) -o $@ $^ $(DEPS_LIBS)

fuzz-programs: $(FUZZ_BIN)
tests: $(TEST_BIN)
bench-programs: $(BENCH_BIN)

# ---- FFmpeg ---------------------------------------------------------------------------------------

# A patched FFmpeg of one or more releases, or of the user's own tree; build/ffmpeg is the newest built.
ffmpeg: packages-ffmpeg
	$(MAKE) $(PARALLEL) lib hyv
	configure-hook/build-ffmpeg.sh $(if $(FFMPEG_SRC),--source "$(FFMPEG_SRC)",$(FFMPEG))

# Shots from English and Chinese prompts, one with a cut, one as a picture in the picture: one command line.
define DEMO_GRAPH
hunyuanvideo=seed=1:prompt='a purple heart moves to the right on the sand. Cut to the same heart in front of a white wall',
    scale=480:480[one];
hunyuanvideo=seed=2:prompt='夜空上，一个黄色五角星变大',scale=480:480[two];
hunyuanvideo=seed=3:prompt='a red triangle to the left of a blue square, on the grass',scale=480:480[three];
hunyuanvideo=seed=4:prompt='一个小白色三角形在灰色背景上上升',scale=120:120,pad=128:128:4:4:white,loop=2:17[small];
[one][two][three]concat=3[shots]; [shots][small]overlay=W-w-16:16
endef
export DEMO_GRAPH
demo: ffmpeg
	$(BUILD)/ffmpeg -hide_banner -loglevel info -y -filter_complex "$$DEMO_GRAPH" \
	    -c:v libx264 -pix_fmt yuv420p -movflags +faststart demo.mp4
	@echo "Made demo.mp4 with the small model that comes along. With real weights: model=FOLDER (see README.md)."

# The README's picture: frames of that clip.
demo-sheet: demo
	$(BUILD)/ffmpeg -v error -y -i demo.mp4 -vf "select='eq(mod(n,5),1)',scale=216:216,tile=5x2:padding=4" -frames:v 1 \
	    libavfilter-patch/doc/demo.png

# ---- tests ----------------------------------------------------------------------------------------

# As many jobs as processors, unless make was told a number.
PARALLEL = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell getconf _NPROCESSORS_ONLN))

SUMMARY := $(BUILD)/check.summary
RUN     := tests/run.sh $(SUMMARY)
SCRIPTS := tests/layers.sh tests/symbols.sh tests/header.sh $(wildcard tests/cli/*.sh tests/presets/*.sh)

check: packages-check
	@mkdir -p $(BUILD) && rm -f $(SUMMARY) && touch $(SUMMARY)
	@$(MAKE) --no-print-directory $(PARALLEL) all tests bench-programs
	-@$(RUN) $(TEST_BIN) $(SCRIPTS)
	@$(MAKE) --no-print-directory check-isa check-sanitizers check-compilers check-valgrind check-ffmpeg
	@tests/run.sh --total $(SUMMARY)

# Every operator and the golden models with the instruction sets that this machine may lack (tests/isa): needs AVX2.
ISA_TESTS := $(wildcard tests/kernels/check_*.c) tests/run/test_golden.c
ISA_BIN   := $(ISA_TESTS:%.c=$(BUILD)/isa/%)
check-isa: packages-check
	@$(MAKE) --no-print-directory $(PARALLEL) BUILD=$(BUILD)/isa OPT=-O2 \
	    ISA_FLAGS="-Itests/isa -mavx2 -mfma -mf16c -Wno-psabi" $(ISA_BIN)
	-@QUICK=1 $(RUN) $(ISA_BIN)

# The unit and golden tests again, with AddressSanitizer and UndefinedBehaviorSanitizer.
SANITIZE_BUILD := $(BUILD)/sanitize
SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
check-sanitizers:
	@$(MAKE) --no-print-directory $(PARALLEL) BUILD=$(SANITIZE_BUILD) SANITIZE="$(SANITIZERS)" OPT=-O1 hyv tests fuzz-programs
	-@QUICK=1 $(RUN) $(TEST_SRC:%.c=$(SANITIZE_BUILD)/%)
	-@$(RUN) $(foreach t,$(FUZZ_TARGETS),"$(SANITIZE_BUILD)/tests/fuzz/fuzz_$(t) tests/fuzz/corpus/$(t)")

# libFuzzer over every target (or FUZZ_TARGETS="json gguf"), FUZZ_SECONDS each; a finding is left in build/fuzz.
FUZZ_TARGETS ?= $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SECONDS ?= 60
fuzz:
	@$(MAKE) --no-print-directory $(PARALLEL) BUILD=$(BUILD)/fuzz CC=clang OPT=-O1 FUZZ_MAIN= FUZZ_FLAGS=-fsanitize=fuzzer \
	    SANITIZE="$(SANITIZERS) -fsanitize=fuzzer-no-link" fuzz-programs
	@set -e; for t in $(FUZZ_TARGETS); do mkdir -p $(BUILD)/fuzz/corpus/$$t; echo "fuzz_$$t"; \
	    $(BUILD)/fuzz/tests/fuzz/fuzz_$$t -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=1024 -timeout=10 -max_len=65536 \
	        -verbosity=0 -print_final_stats=1 -artifact_prefix=$(BUILD)/fuzz/found-$$t- $(BUILD)/fuzz/corpus/$$t tests/fuzz/corpus/$$t; done

# The other compiler, with warnings as errors.
check-compilers:
	-@$(RUN) "$(MAKE) --no-print-directory $(PARALLEL) BUILD=$(BUILD)/clang CC=clang OPT=-O1 all tests bench-programs > $(BUILD)/clang.log 2>&1 && echo '1 passed, 0 failed' || { tail -n 30 $(BUILD)/clang.log; echo '0 passed, 1 failed'; }"

check-valgrind: hyv
	-@$(RUN) tests/valgrind.sh

check-ffmpeg: lib hyv
	@configure-hook/build-ffmpeg.sh $(FFMPEG)
	-@$(RUN) $(foreach release,$(FFMPEG),"tests/lavfi/run.sh $(release)" "tests/lavfi/fate.sh $(release)")

# The published geometry with made-up weights under memory=12G and 10G; 49 GB in FOLDER_13B, not part of check.
FOLDER_13B ?= $(BUILD)/13b
check-13b: hyv $(BUILD)/tests/synthetic/make_13b
	tests/synthetic/run_13b.sh $(FOLDER_13B)

bench: TEST_LIBS = -ldl
bench: lib bench-programs
	@env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BUILD)/tests/bench/bench_ops

# How far bf16 and int8 are from fp32: the golden models, the small model, and a block of each kind at the 13B's width;
# PRECISION="model=DIR prompt=x ..." for another model instead.
bench-precision: $(BUILD)/tests/bench/bench_precision $(BUILD)/tests/bench/bench_model
ifdef PRECISION
	$< $(PRECISION)
else
	$<
	$< presets=presets model=nano preset=nano prompt='a red star moves to the right over green grass' seed=42
	for p in bf16 int8; do for block in double single; do \
	    $(BUILD)/tests/bench/bench_model -p $$p -w bf16 -d $$block 2 8 8 32 || exit 1; done; done
endif

# What the plan says beside what is measured; PLAN="model=DIR prompt=x ..." for another model and size.
PLAN ?= model=tests/golden/t2v prompt=cat width=64 height=48 frames=17 steps=100 seed=1
bench-plan: $(BUILD)/tests/bench/bench_plan
	$< $(PLAN)

# The same work by PyTorch, diffusers and transformers, which are installed below build/.
PEERS_PYTHON = $(BUILD)/peers/bin/python
$(PEERS_PYTHON): tests/bench/requirements.txt
	python3 -m venv $(BUILD)/peers
	$(PEERS_PYTHON) -m pip install --quiet -r $<
	@touch $@
bench-peers: packages-nano ffmpeg hyv bench-programs $(PEERS_PYTHON)
	$(PEERS_PYTHON) tests/bench/peers.py --bench $(BUILD)/tests/bench/bench_model --hyv $(BUILD)/hyv \
	    --ffmpeg $(BUILD)/ffmpeg --scratch $(BUILD) $(PEERS)

# ---- the small model ------------------------------------------------------------------------------

# Trains it from nothing, or goes on where that was stopped: some eight hours on two quiet cores. State and PyTorch
# lie outside the checkout; the finished model goes to presets/nano.
NANO_STATE ?= $(HOME)/.cache/hunyuanvideo/nano
NANO_PYTHON = $(NANO_STATE)/venv/bin/python
$(NANO_PYTHON): presets/nano/train/requirements.txt
	python3 -m venv $(NANO_STATE)/venv
	$(NANO_PYTHON) -m pip install --quiet -r $<
	@touch $@
nano: packages-nano $(NANO_PYTHON)
	$(NANO_PYTHON) presets/nano/train/train.py --state $(NANO_STATE) $(NANO_STAGES)

# Prompts it has not seen, through the patched ffmpeg, judged from pixels: some twenty minutes.
score: packages-check ffmpeg
	presets/nano/score.py --ffmpeg $(BUILD)/ffmpeg $(SCORE)

lint: packages-lint
	clang-format --dry-run --Werror $(wildcard engine/*.[ch] engine/*/*.[ch] kernels/*.[ch] kernels/*/*.[ch] tests/*.[ch] tests/*/*.[ch])
	cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,portability --inline-suppr \
	    -I. -D_GNU_SOURCE -DHYV_DATADIR='""' engine kernels
	clang-tidy --quiet $(LIB_SRC) $(CLI_SRC) -- -std=c11 -D_GNU_SOURCE -DHYV_DATADIR='""' $(DEPS_CFLAGS)

# ---- installing -----------------------------------------------------------------------------------

# The small model without what trained it.
NANO_FILES = $(filter-out nano/train/%.py nano/train/requirements.txt nano/score.py,$(patsubst presets/%,%,$(wildcard \
             presets/nano/*.* presets/nano/*/*.*)))
# Without what debuggers want; STRIP=: keeps it.
STRIP ?= strip
install: lib hyv
	install -d $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/bin \
	    $(DESTDIR)$(PREFIX)/share/hunyuanvideo/presets $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 $(SHARED) $(DESTDIR)$(PREFIX)/lib/
	ln -sf libhunyuanvideo.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/libhunyuanvideo.so.$(SOMAJOR)
	ln -sf libhunyuanvideo.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/libhunyuanvideo.so
	install -m 644 $(STATIC) $(DESTDIR)$(PREFIX)/lib/
	install -m 644 engine/hunyuanvideo.h $(DESTDIR)$(PREFIX)/include/
	install -m 755 $(BUILD)/hyv $(DESTDIR)$(PREFIX)/bin/
	$(STRIP) --strip-debug $(DESTDIR)$(PREFIX)/lib/libhunyuanvideo.a
	$(STRIP) --strip-unneeded $(DESTDIR)$(PREFIX)/lib/libhunyuanvideo.so.$(VERSION) $(DESTDIR)$(PREFIX)/bin/hyv
	install -m 644 presets/*.yaml $(DESTDIR)$(PREFIX)/share/hunyuanvideo/presets/
	for file in $(NANO_FILES); do \
	    install -D -m 644 presets/$$file $(DESTDIR)$(PREFIX)/share/hunyuanvideo/presets/$$file; done
	install -m 644 engine/hyv.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$${prefix}/lib|' -e 's|@INCLUDEDIR@|$${prefix}/include|' \
	    -e 's|@VERSION@|$(VERSION)|' configure-hook/hunyuanvideo.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/libhunyuanvideo.pc

packages-%:
	@configure-hook/packages.sh $*

clean:
	rm -rf $(BUILD) demo.mp4

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

.PHONY: all lib hyv tests fuzz fuzz-programs bench-programs ffmpeg demo demo-sheet check check-isa check-sanitizers check-compilers check-valgrind check-ffmpeg check-13b \
        bench bench-peers bench-plan bench-precision lint nano score install clean
.SECONDARY:
