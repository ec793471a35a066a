/* One packed matrix product for linear, convolution and attention: y[m, n] = start + sum over k of
 * left[m, k] * right[n, k].
 *
 * Blocking follows Goto and van de Geijn (2008): the right operand is packed into panels of `nr`
 * columns, the left into panels of `mr` rows, a micro-kernel multiplies two panels with its sums in
 * registers. Operands are given as packers, which decode weights or gather the taps of a
 * convolution on the way; no other copy of an operand exists. The order of the sum is canonical
 * (cpu.h).
 *
 * In bf16 a panel is narrowed while it is hot: to pairs of neighbouring k where the processor
 * multiplies pairs, else to rounded f32. Blocking counts elements of panels, k or pairs. Where the
 * processor multiplies whole tiles, a left panel is a row of tiles and every panel is as deep as
 * some tiles, filled up with zeros. Knows no operator.
 */
#ifndef HYV_CPU_GEMM_H
#define HYV_CPU_GEMM_H

#include "cpu.h"

enum {
    HYV_GEMM_MR_MAX = 32,
    HYV_GEMM_NR_MAX = 32,
    HYV_GEMM_DEPTH = 768,         /* k a block at most */
    HYV_GEMM_DEPTH_PASS = 4608,   /* k packed at once of the right operand, */
    HYV_GEMM_PASS = 3145728,      /* floats of it packed at once, */
    HYV_GEMM_CHUNK = 1572864,     /* floats of the left packed at once, */
    HYV_GEMM_CHUNK_MAX = 6291456, /* or up to so many with a larger third cache; */
    HYV_GEMM_CHUNK_DEPTH = 3072,  /* by columns not fewer rows than it has of this depth, */
    HYV_GEMM_SHORT_ROWS = 2048,   /* and not more than these, however short they are */
    HYV_GEMM_BESIDE_DEPTH = 1536, /* elements of the left packed beside the right at least */
    HYV_GEMM_SUMS = 393216,       /* floats of sums a task at most */
    HYV_GEMM_ROWS =
        168, /* rows a task of the left at most: half of a 1 MiB L2 cache at full depth, */
    HYV_GEMM_ROWS_MAX = 320,   /* or of a 2 MiB one */
    HYV_GEMM_FEW_ROWS = 56,    /* up to here threads share columns, not rows; */
    HYV_GEMM_SOME_ROWS = 320,  /* up to here where there are */
    HYV_GEMM_MANY_COLS = 1024, /* so many columns to share */
    HYV_GEMM_PIECE = 128,      /* elements of a row decoded at once, unless a block has more */
    HYV_GEMM_BUFFER = HYV_BLOCK_MAX * HYV_GEMM_NR_MAX /* floats that a packer may work in */
};

typedef struct hyv_gemm_functions {
    int mr, nr;
    int depth;     /* elements a block, <= HYV_GEMM_DEPTH: long, so that loading and storing sums is
                      cheap */
    int rows;      /* a task of the left at most, where a cache holds them, <= HYV_GEMM_ROWS_MAX */
    bool by_cols;  /* threads share the columns, however many rows there are */
    int64_t chunk; /* floats of the left packed at once at most, by what the third cache holds */
    int fold;      /* k in an element of a panel: 1, or 2 for pairs of bf16 */
    int unit;      /* panels are multiples of so many elements deep: 1, or those of a tile */
    int grain;     /* k at whose multiples a stretch that transpose is called for must begin */
    /* c[rows, nr] += a * b over `depth` elements; a [depth, mr] of which `rows` <= mr are used, b
     * [depth, nr]. With `start` [nr] the sums begin there instead of at c. */
    void (*kernel)(int rows, int64_t depth, const float *a, const float *b, float *c, int64_t ldc,
                   const float *start);
    /* The same, while memory from `next` on comes nearer, `pace` floats with every 16 elements: all
     * at once it would hold up the products. Or NULL. */
    void (*kernel_fetching)(int rows, int64_t depth, const float *a, const float *b, float *c,
                            int64_t ldc, const float *start, const float *next, int64_t pace);
    /* out[k * width + i] = in[i][k] for i < n <= width, 0 for n <= i < width; k < depth. Width is
     * mr or nr. With fold 2 in pairs: out [depth / 2 rounded up, width]. */
    void (*transpose)(float *out, int width, const float *const *in, int n, int64_t depth);
    /* The same of rows of bf16, a float of `in` two neighbours, at any address: their values in
     * f32, out [2 * pairs, width]. With fold 1. */
    void (*spread)(float *out, int width, const float *const *in, int n, int64_t pairs);
    /* Panels in bf16: out [depth / fold rounded up, width] from in [depth, width], a missing k is
     * 0. NULL in f32. */
    void (*narrow)(float *out, const float *in, int width, int64_t depth);
    const struct hyv_gemm_functions *wide; /* with fold 2: those of f32, emulating bf16 */
    /* Those that pack left panels where they are laid out in another way than right ones: tiles of
     * 16 elements, [depth / 16, mr, 16], filled up with zeros by transpose and narrow. Or NULL. */
    const struct hyv_gemm_functions *left;
    /* A thread's first and last word about tiles, around its calls of `kernel`; or NULL. */
    void (*begin)(void);
    void (*end)(void);
    const struct hyv_int8_functions *bytes; /* of products in 8-bit integers (gemm_int8.h) */
    const struct hyv_gemm_functions *int8;  /* those for linears that may be such, or NULL */
    /* f32 from `count` elements, whole blocks, of another type; `in` may be unaligned. */
    void (*decode)(float *out, const void *in, hyv_type type, int64_t count);
} hyv_gemm_functions;

extern const hyv_gemm_functions hyv_gemm_c, hyv_gemm_avx2, hyv_gemm_avx512;

/* Turn the functions of AVX-512 into those that multiply pairs (gemm_avx512bf16.c), and these into
 * those that multiply tiles of pairs (gemm_amx.c). */
void hyv_gemm_use_pairs(hyv_gemm_functions *f);
void hyv_gemm_use_tiles(hyv_gemm_functions *f);

/* `narrow` of the former. */
void hyv_gemm_narrow_pairs(float *out, const float *in, int width, int64_t depth);

/* All but `int8`, which whoever owns them sets. */
hyv_gemm_functions hyv_gemm_for(hyv_isa isa, hyv_precision precision);

/* Decodes by scalar code; the definition for all `decode` entries. */
void hyv_gemm_decode_c(float *out, const void *in, hyv_type type, int64_t count);

/* Block types, as the compiler makes it for an instruction set. */
void hyv_quant_decode_avx2(float *out, const void *in, hyv_type type, int64_t count);
void hyv_quant_decode_avx512(float *out, const void *in, hyv_type type, int64_t count);

/* An operand: writes elements [k0, k0 + depth) of rows [first, first + n) of a matrix as out[k *
 * width + i], zeros for n <= i < width. `buffer` has HYV_GEMM_BUFFER floats. */
typedef void hyv_pack(const void *operand, const hyv_gemm_functions *f, float *out, int width,
                      int64_t first, int n, int64_t k0, int64_t depth, float *buffer);

/* Packs by `pack` and narrows where the functions say so: out [elements of depth, width]. With
 * pairs a packer does so itself, by transpose, where its stretches, which begin at multiples of
 * `stretch` k (0: there is one), begin at multiples of the grain. `buffer` has HYV_GEMM_BUFFERS
 * floats; k0 is a multiple of the grain. */
enum { HYV_GEMM_BUFFERS = 2 * HYV_GEMM_BUFFER };
void hyv_gemm_pack(const hyv_gemm_functions *f, hyv_pack *pack, int64_t stretch,
                   const void *operand, float *out, int width, int64_t first, int n, int64_t k0,
                   int64_t depth, float *buffer);

/* Elements of a panel that `depth` k take. */
static inline int64_t hyv_gemm_elements(const hyv_gemm_functions *f, int64_t depth)
{
    const int64_t unit = (int64_t)f->fold * f->unit;
    return (depth + unit - 1) / unit * f->unit;
}

/* Whether products are of tiles (gemm_amx.c). */
static inline bool hyv_gemm_is_tiled(const hyv_gemm_functions *f)
{
    return f->unit > 1;
}

/* Whether products are of f32: in fp32, and where those in bf16 are emulated. */
static inline bool hyv_gemm_is_f32(const hyv_gemm_functions *f)
{
    return !f->narrow || f->fold == 1;
}

/* Functions whose products are. */
static inline const hyv_gemm_functions *hyv_gemm_in_f32(const hyv_gemm_functions *f)
{
    return f->wide ? f->wide : f;
}

static inline const hyv_gemm_functions *hyv_gemm_left(const hyv_gemm_functions *f)
{
    return f->left ? f->left : f;
}

static inline void hyv_gemm_begin(const hyv_gemm_functions *f)
{
    if (f->begin)
        f->begin();
}

static inline void hyv_gemm_end(const hyv_gemm_functions *f)
{
    if (f->end)
        f->end();
}

typedef struct hyv_gemm_call {
    const hyv_gemm_functions *functions; /* NULL: the backend's */
    void *memory; /* hyv_gemm_scratch for no thread, aligned to 64; NULL: hyv_cpu_shared */
    int64_t rows, cols, depth;
    int64_t stretch;  /* of the packers, as in hyv_gemm_pack */
    const void *left; /* [rows, depth] */
    hyv_pack *pack_left;
    const void *right; /* [cols, depth] */
    hyv_pack *pack_right;
    bool rounded;      /* pack_right gives values of bf16 by itself, for fold 1 */
    bool once;         /* pack_right keeps count and may pack an element only once: not by_cols */
    const float *bias; /* [cols], or NULL for 0 */
    hyv_mat y;
    /* Where row `row` of the product goes; NULL: to the row of y with that number. */
    float *(*place)(const void *left, hyv_mat y, int64_t row);
    /* Makes finished sums the result, where they are not: y[cols] from column `col` on; or NULL. */
    void (*finish)(const void *left, float *y, int64_t row, int64_t col, int64_t cols);
} hyv_gemm_call;

void hyv_gemm(hyv_backend *be, const hyv_gemm_call *call);
size_t hyv_gemm_scratch(const hyv_gemm_functions *f, int64_t rows, int64_t cols, int64_t depth,
                        int threads);

/* Packs rows of a dense or strided f32 hyv_mat. */
void hyv_pack_mat(const void *operand, const hyv_gemm_functions *f, float *out, int width,
                  int64_t first, int n, int64_t k0, int64_t depth, float *buffer);

/* Elements [first, first + count) of a row of f32 or bf16 as f32: where they lie, or in `out`. */
enum { HYV_GEMM_STRETCH = HYV_GEMM_BUFFER / HYV_GEMM_MR_MAX }; /* of so many rows in a buffer */
const float *hyv_gemm_wide(const hyv_gemm_functions *f, float *out, hyv_mat m, int64_t row,
                           int64_t first, int64_t count);

/* Packs rows of a hyv_weight, decoding them; linear.c. */
void hyv_pack_weight(const void *operand, const hyv_gemm_functions *f, float *out, int width,
                     int64_t first, int n, int64_t k0, int64_t depth, float *buffer);

/* out[count] = elements [k0, k0 + count) of a row of the effective weight, whole blocks or not;
 * linear.c. */
void hyv_decode_weight(const hyv_gemm_functions *f, float *out, const hyv_weight *W, int64_t row,
                       int64_t k0, int64_t count);

#endif
