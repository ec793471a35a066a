/* The CPU backend: chooses the instruction set once, owns threads and working memory, fills the
 * table.
 *
 * Device memory is host memory, so weights are used where they lie. Operators stand in their own
 * files.
 */
#include "cpu.h"

#include <errno.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../half.h"
#include "gemm.h"
#include "gemm_int8.h"
#include "rows.h"

enum {
    PAGES = 64 << 10, /* whole pages, whatever the kernel's size of one */
    LARGE_PAGE = 2 << 20,
    MAPPED_MIN = 128 << 10
};
enum { ALIGNMENT = 64, ROWS_GRAIN = 16384, DEFAULT_CACHE = 512 << 10 };

static const char *const isa_names[] = {"c", "avx2", "avx512", "avx512bf16", "amx"};

static bool isa_there(hyv_isa isa)
{
    switch (isa) {
#if defined(__x86_64__)
    case HYV_ISA_AMX: {
        const unsigned wanted = 1u << 22 | 1u << 24 | 1u << 25; /* bf16, tiles, int8 */
        unsigned a, b, c, d = 0;
        return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & wanted) == wanted &&
               isa_there(HYV_ISA_AVX512BF16);
    }
    case HYV_ISA_AVX512BF16: {
        unsigned a = 0, b, c, d; /* this one too */
        return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 5) &&
               isa_there(HYV_ISA_AVX512);
    }
    case HYV_ISA_AVX512:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               isa_there(HYV_ISA_AVX2);
    case HYV_ISA_AVX2: {
        unsigned a, b, c = 0, d; /* half floats: a bit that older compilers have no name for */
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
    }
#endif
    default:
        return isa == HYV_ISA_C;
    }
}

/* Intel's processors since Sapphire Rapids, which has half floats as well, take two cycles for what
 * AVX512_BF16 does with pairs of bf16, and half a cycle for a multiply-add in f32 of rounded ones:
 * 80 and 165 GFLOP/s were measured on one core. They multiply pairs in tiles, where those are to be
 * had. */
static bool pairs_pay(void)
{
#if defined(__x86_64__)
    unsigned a, b, c, d = 0;
    return !__builtin_cpu_is("intel") || !__get_cpuid_count(7, 0, &a, &b, &c, &d) ||
           !(d & 1u << 23);
#else
    return true;
#endif
}

/* Linux saves tiles only for a process that has asked for it. False also where it is too old, or
 * where a thread's signal stack is too small for them. */
static bool tiles_granted(void)
{
#if defined(SYS_arch_prctl)
    enum { ASK = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, ASK, TILE_DATA) == 0;
#else
    return false;
#endif
}

/* Asks for tiles only if they would be used: fp32 has no use for them. */
static bool isa_usable(hyv_isa isa, hyv_precision precision)
{
    return isa_there(isa) &&
           (isa != HYV_ISA_AMX || precision == HYV_PRODUCTS_FP32 || tiles_granted());
}

/* The wanted instruction set, or the best for "auto"; -EINVAL, -ENOTSUP. */
static int choose_isa(const char *name, hyv_isa *isa, const hyv_backend_config *config)
{
    char line[128];
    if (!name || strcmp(name, "auto") == 0) {
        *isa = HYV_ISAS - 1;
        while (!isa_usable(*isa, config->precision) || (*isa == HYV_ISA_AVX512BF16 && !pairs_pay()))
            (*isa)--;
        return 0;
    }
    for (int i = 0; i < HYV_ISAS; i++)
        if (strcmp(name, isa_names[i]) == 0) {
            *isa = (hyv_isa)i;
            if (isa_usable(*isa, config->precision))
                return 0;
            snprintf(line, sizeof(line), "isa: this machine has no %s; auto takes the best it has",
                     name);
            if (config->message)
                config->message(config->opaque, line);
            return -ENOTSUP;
        }
    snprintf(line, sizeof(line), "isa: %.32s is none of auto, c, avx2, avx512, avx512bf16, amx",
             name);
    if (config->message)
        config->message(config->opaque, line);
    return -EINVAL;
}

/* A bit of eax or ecx of cpuid's leaf 7. */
static bool feature(unsigned subleaf, bool in_eax, int bit)
{
#if defined(__x86_64__)
    unsigned a = 0, b, c = 0, d;
    return __get_cpuid_count(7, subleaf, &a, &b, &c, &d) && ((in_eax ? a : c) >> bit & 1);
#else
    (void)subleaf, (void)in_eax, (void)bit;
    return false;
#endif
}

bool hyv_cpu_has_int8(hyv_int8_kind kind, hyv_isa isa)
{
    switch (kind) {
    case HYV_INT8_AMX:
        return isa == HYV_ISA_AMX;
    case HYV_INT8_AVX512VNNI:
        return isa >= HYV_ISA_AVX512 && feature(0, false, 11);
    case HYV_INT8_AVXVNNI:
        return isa >= HYV_ISA_AVX2 && feature(1, true, 4);
    case HYV_INT8_AVX2:
        return isa >= HYV_ISA_AVX2;
    default:
        return true;
    }
}

/* Bytes of a third-level cache, 0 or less where nobody knows. The kernel names one such cache;
 * sysconf sums up all of a package's on some of AMD's processors, of which a core has only its own.
 */
static int64_t third_cache_bytes(void)
{
    long long kib = 0;
    FILE *f = fopen("/sys/devices/system/cpu/cpu0/cache/index3/size", "re");
    if (f) {
        if (fscanf(f, "%lldK", &kib) != 1)
            kib = 0;
        fclose(f);
    }
    if (kib > 0)
        return kib << 10;
#if defined(_SC_LEVEL3_CACHE_SIZE)
    return sysconf(_SC_LEVEL3_CACHE_SIZE);
#else
    return 0;
#endif
}

/* An eighth of the third cache, which others may share, within what was measured to be worth it. */
static int64_t chunk_floats(void)
{
    const int64_t floats = third_cache_bytes() / 8 / (int64_t)sizeof(float);
    const int64_t least = floats < HYV_GEMM_CHUNK ? HYV_GEMM_CHUNK : floats;
    return least < HYV_GEMM_CHUNK_MAX ? least : HYV_GEMM_CHUNK_MAX;
}

int hyv_cpu_products(const hyv_backend_config *config, hyv_isa *isa, hyv_gemm_functions **gemm)
{
    const int err = choose_isa(config->isa, isa, config);
    if (err < 0)
        return err;
    *gemm = malloc(3 * sizeof(**gemm)); /* and those of int8 and of f32, if there are any */
    if (!*gemm)
        return -ENOMEM;
    **gemm = hyv_gemm_for(*isa, config->precision);
    (*gemm)->chunk = chunk_floats();
    if ((*gemm)->wide) {
        (*gemm)[2] = *(*gemm)->wide;
        (*gemm)[2].chunk = (*gemm)->chunk;
        (*gemm)->wide = *gemm + 2;
    }
    if (config->precision != HYV_PRODUCTS_INT8)
        return 0;
    hyv_int8_kind kind = HYV_INT8_KINDS - 1;
    while (!hyv_cpu_has_int8(kind, *isa))
        kind--;
    (*gemm)[1] = hyv_gemm_int8_for(kind);
    (*gemm)[1].chunk = (*gemm)->chunk;
    (*gemm)->int8 = *gemm + 1;
    return 0;
}

/* ---- memory -----------------------------------------------------------------------------------
 */

static size_t whole(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

static bool is_mapped(size_t bytes)
{
    return bytes >= MAPPED_MIN;
}

/* `bytes` from the kernel, from a large page's boundary on if they fill one. */
static void *map_block(size_t bytes)
{
    const size_t size = whole(bytes, PAGES), spare = size < LARGE_PAGE ? 0 : LARGE_PAGE;
    char *p = mmap(NULL, size + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    if (spare == 0)
        return p;
    const size_t before = whole((uintptr_t)p, LARGE_PAGE) - (uintptr_t)p;
    if (before)
        munmap(p, before);
    munmap(p + before + size, spare - before);
    madvise(p + before, size, MADV_HUGEPAGE);
    return p + before;
}

/* All but small blocks come from the kernel and go back to it when they are freed, so that a run
 * holds what its plan says. Large ones in large pages: operands are read a few bytes of many rows
 * at a time, and looking up a page for each costs more than reading them. A kernel that has none to
 * give, gives small ones. */
static void *new_block(size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return NULL;
    return is_mapped(bytes) ? map_block(bytes) : aligned_alloc(ALIGNMENT, whole(bytes, ALIGNMENT));
}

/* As many bytes as it was made with. */
static void free_block(void *p, size_t bytes)
{
    if (p && is_mapped(bytes))
        munmap(p, whole(bytes, PAGES));
    else
        free(p);
}

/* The size stands in front of the address that is handed out. */
static void *cpu_alloc(hyv_backend *be, size_t bytes)
{
    (void)be;
    if (bytes > SIZE_MAX - 2 * ALIGNMENT)
        return NULL;
    char *p = new_block(bytes + ALIGNMENT);
    if (!p)
        return NULL;
    memcpy(p, &bytes, sizeof(bytes));
    return p + ALIGNMENT;
}

static size_t cpu_free(hyv_backend *be, void *address)
{
    (void)be;
    size_t bytes;
    memcpy(&bytes, (char *)address - ALIGNMENT, sizeof(bytes));
    free_block((char *)address - ALIGNMENT, bytes + ALIGNMENT);
    return bytes;
}

static void drop(hyv_scratch *s)
{
    free_block(s->data, s->bytes);
    *s = (hyv_scratch){0};
}

static void *grow(hyv_backend *be, hyv_scratch *s, size_t bytes)
{
    if (s->bytes >= bytes)
        return s->data;
    drop(s);
    s->data = new_block(bytes);
    if (!s->data) {
        char line[128];
        snprintf(line, sizeof(line), "out of memory: %zu bytes for an operator to work in", bytes);
        hyv_fail(be, -ENOMEM, line);
        return NULL;
    }
    s->bytes = bytes;
    return s->data;
}

/* What it had of its own before there was an arena, the backend gives back. */
void *hyv_cpu_shared(hyv_backend *be, size_t bytes)
{
    hyv_scratch *own = &hyv_cpu_of(be)->shared;
    void *lent = hyv_arena_lend(be, bytes);
    if (!lent)
        return grow(be, own, bytes);
    drop(own);
    return lent;
}

bool hyv_cpu_scratch_all(hyv_backend *be, size_t bytes)
{
    hyv_cpu *cpu = hyv_cpu_of(be);
    for (int i = 0; i < cpu->threads; i++)
        if (!grow(be, &cpu->scratch[i], bytes))
            return false;
    return true;
}

static size_t cpu_scratch(const hyv_backend *be)
{
    const hyv_cpu *cpu = be->impl;
    size_t bytes = cpu->shared.bytes;
    for (int i = 0; i < cpu->threads; i++)
        bytes += cpu->scratch[i].bytes;
    return bytes;
}

static void cpu_upload(hyv_backend *be, hyv_mat dst, const float *host)
{
    (void)be;
    for (int64_t i = 0; i < dst.rows; i++)
        memcpy(hyv_row(dst, i), host + i * dst.cols, (size_t)dst.cols * sizeof(float));
}

static void cpu_download(hyv_backend *be, float *host, hyv_mat src)
{
    (void)be;
    for (int64_t i = 0; i < src.rows; i++)
        memcpy(host + i * src.cols, hyv_row(src, i), (size_t)src.cols * sizeof(float));
}

/* Weights lie in a mapped file: asks the kernel to read ahead. */
static void cpu_fetch(hyv_backend *be, void *dst, const void *host, size_t bytes)
{
    (void)be, (void)dst;
    const uintptr_t page = 4096, first = (uintptr_t)host / page * page;
    madvise((void *)first, (uintptr_t)host + bytes - first, MADV_WILLNEED);
}

/* ---- rows -------------------------------------------------------------------------------------
 */

typedef struct rows_call {
    int64_t rows, piece;
    hyv_rows_task *body;
    void *arg;
} rows_call;

static void rows_piece(void *arg, int64_t index, int thread)
{
    const rows_call *c = arg;
    const int64_t first = index * c->piece, left = c->rows - first;
    c->body(c->arg, first, left < c->piece ? left : c->piece, thread);
}

void hyv_cpu_rows(hyv_backend *be, int64_t rows, int64_t cols, hyv_rows_task *body, void *arg)
{
    const int64_t piece = cols >= ROWS_GRAIN ? 1 : ROWS_GRAIN / cols;
    rows_call call = {rows, piece, body, arg};
    hyv_pool_run(be, (rows + piece - 1) / piece, rows_piece, &call);
}

/* ---- life -------------------------------------------------------------------------------------
 */

static void cpu_destroy(hyv_backend *be)
{
    hyv_cpu *cpu = be->impl;
    hyv_pool_close(&cpu->pool);
    for (int i = 0; i < HYV_THREADS_MAX_CPU; i++)
        drop(&cpu->scratch[i]);
    drop(&cpu->shared);
    free(cpu->gemm);
    free(cpu);
}

static int cpu_create(hyv_backend *be, const hyv_backend_config *config)
{
    hyv_cpu *cpu = calloc(1, sizeof(*cpu));
    if (!cpu)
        return -ENOMEM;
    int err = hyv_cpu_products(config, &cpu->isa, &cpu->gemm);
    if (err < 0) {
        free(cpu);
        return err;
    }
    cpu->threads = config->threads > 0 ? config->threads : hyv_pool_processors();
    if (cpu->threads > HYV_THREADS_MAX_CPU)
        cpu->threads = HYV_THREADS_MAX_CPU;
    const long cache = sysconf(_SC_LEVEL2_CACHE_SIZE);
    cpu->cache_bytes = cache > 0 ? (size_t)cache : DEFAULT_CACHE;
    cpu->rows = hyv_rows_for(cpu->isa);
    be->impl = cpu;
    err = hyv_pool_open(&cpu->pool, &cpu->threads);
    if (err < 0) {
        free(cpu->gemm);
        free(cpu);
    }
    return err;
}

static void cpu_describe(const hyv_backend *be, char *text, size_t size)
{
    static const char *const products[] = {"", ", products in bf16", ", products in bf16 and int8"};
    const hyv_cpu *cpu = be->impl;
    snprintf(text, size, "cpu (%s, %d thread%s%s)", isa_names[cpu->isa], cpu->threads,
             cpu->threads == 1 ? "" : "s", products[be->config.precision]);
}

const hyv_backend_ops hyv_cpu_backend = {
    .name = "cpu",
    .activation = HYV_F32,
    .host_memory = true,
    .create = cpu_create,
    .destroy = cpu_destroy,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .upload = cpu_upload,
    .download = cpu_download,
    .fetch = cpu_fetch,
    .linear = hyv_cpu_linear,
    .conv3d = hyv_cpu_conv3d,
    .attention = hyv_cpu_attention,
    .layer_norm = hyv_cpu_layer_norm,
    .rms_norm = hyv_cpu_rms_norm,
    .group_norm = hyv_cpu_group_norm,
    .modulate = hyv_cpu_modulate,
    .rope = hyv_cpu_rope,
    .act = hyv_cpu_act,
    .add = hyv_cpu_add,
    .copy = hyv_cpu_copy,
    .upsample = hyv_cpu_upsample,
    .upsample_conv3d = hyv_cpu_upsample_conv3d,
    .group_statistics = hyv_cpu_group_statistics,
    .normalise_silu = hyv_cpu_normalise_silu,
    .shuffle = hyv_cpu_shuffle,
    .scratch = cpu_scratch,
    .describe = cpu_describe,
};
