/* conv3d with kernel 3x3x3 and stride 1 by minimal filtering F(2x2, 3x3) of each frame (Winograd
 * 1980; Lavin and Gray 2016): 12 products a channel and output voxel instead of 27.
 *
 * A tile of 2x2 output voxels reads 4x4 input voxels d of each of three frames. Transformed,
 * V = B^T d B and U = G g G^T with
 *
 *   B^T d = (d0 - d2, d1 + d2, d2 - d1, d1 - d3)      G g = (g0, (g0+g1+g2)/2, (g0-g1+g2)/2, g2)
 *
 * the sums over channels and frames are 16 matrix products, one for each of the 4x4 positions, and
 * y = A^T M A with A^T m = (m0 + m1 + m2, m1 - m2 - m3). Filters are transformed once a call; V
 * exists only as packed panels, M for some tiles at a time. The bias is the start of position (1,
 * 1), which every output takes once. The factors are 1 and 1/2, so rounding grows little. Where
 * products in bf16 are emulated, both operands are rounded before their transformation and all else
 * is f32; where bf16 is multiplied as such it would be rounded after it, so there conv3d does
 * without.
 */
#include "conv3d_winograd.h"

#include "rows.h"

enum {
    SIDE = 4, /* of an input tile, */
    OUT = 2,  /* of an output tile */
    POSITIONS = SIDE * SIDE,
    BIASED = SIDE + 1, /* position (1, 1) */
    TAPS = 3,
    PIECE = HYV_GEMM_BUFFER / HYV_GEMM_MR_MAX, /* channels transformed at once */
    CHANNELS_MIN = 16,
    SUMS_MAX = 1 << 22, /* floats of M at once, */
    TILES_MAX = 768,    /* and tiles: voxels that are read for each position stay in a cache */
    PADDING =
        48, /* floats from one position's matrix to the next, lest they meet in a cache's set */
    ALIGNMENT = 64
};

typedef struct tiling {
    hyv_backend *be;
    const hyv_gemm_functions *f;
    hyv_gemm_functions products; /* those of f, which round nothing */
    const hyv_row_functions *rows;
    hyv_mat x, y;
    const hyv_weight *W;
    hyv_grid grid, tiles; /* of x and of y */
    int64_t skipped;      /* frames before those of y */
    float *filters;       /* of each position [filters, TAPS * channels], */
    float *sums;          /* [count, filters] */
    void *memory;         /* of the products */
    int64_t first, count; /* tiles at a time */
    int position;
} tiling;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Floats from one position's matrix to the next. */
static int64_t padded(int64_t floats)
{
    return floats + PADDING;
}

static int64_t clamp(int64_t v, int64_t size)
{
    return v < 0 ? 0 : v >= size ? size - 1 : v;
}

/* Of the last frames of a grid, which have `rows` voxels. */
static hyv_grid tiles_of(int64_t rows, hyv_grid g)
{
    return (hyv_grid){rows / (g.h * g.w), (g.h + OUT - 1) / OUT, (g.w + OUT - 1) / OUT};
}

bool hyv_conv3d_is_winograd(const hyv_gemm_functions *f, int64_t filters, int64_t channels,
                            hyv_grid grid, hyv_grid kernel, hyv_grid stride)
{
    const hyv_grid tiles = tiles_of(hyv_grid_rows(grid), grid);
    const bool fits = kernel.t == TAPS && kernel.h == TAPS && kernel.w == TAPS && stride.t == 1 &&
                      stride.h == 1 && stride.w == 1;
    return fits && hyv_gemm_is_f32(f) && filters >= CHANNELS_MIN && channels >= CHANNELS_MIN &&
           4 * POSITIONS * tiles.h * tiles.w < TAPS * TAPS * TAPS * grid.h * grid.w;
}

/* ---- transformations --------------------------------------------------------------------------
 */

static void transform_filter(void *arg, int64_t filter, int thread)
{
    const tiling *p = arg;
    const int64_t channels = p->x.cols, depth = TAPS * channels;
    const int64_t stride = padded(p->y.cols * depth);
    float *taps = (float *)(void *)hyv_cpu_of(p->be)->scratch[thread].data; /* [9, channels] */
    for (int64_t t = 0; t < TAPS; t++) {
        hyv_decode_weight(p->f, taps, p->W, filter, t * TAPS * depth, TAPS * depth);
        if (p->f->narrow)
            p->f->narrow(taps, taps, 1, TAPS * depth);
        p->rows->tile_filter(p->filters + filter * depth + t * channels, stride, taps, channels);
    }
}

/* B^T combines two of four: (first, second), and whether with a minus. */
static const struct {
    int first, second;
    bool minus;
} pairs[SIDE] = {{0, 2, true}, {1, 2, false}, {2, 1, true}, {1, 3, true}};

/* A tile's input: the last frame it reads, if that is there, and in a frame the four voxels that
 * the position at hand combines. */
typedef struct place {
    int64_t frame, voxel[4];
} place;

/* Of `n` tiles from `first` on. */
static void find_voxels(const tiling *p, place *out, int64_t first, int n)
{
    const int down = p->position / SIDE, across = p->position % SIDE;
    const hyv_grid tiles = p->tiles, g = p->grid;
    hyv_grid at = {p->skipped + first / (tiles.h * tiles.w), first / tiles.w % tiles.h,
                   first % tiles.w};
    for (int i = 0; i < n; i++) {
        const int64_t h = OUT * at.h - 1, w = OUT * at.w - 1;
        const int64_t h0 = clamp(h + pairs[down].first, g.h) * g.w;
        const int64_t h1 = clamp(h + pairs[down].second, g.h) * g.w;
        const int64_t w0 = clamp(w + pairs[across].first, g.w);
        const int64_t w1 = clamp(w + pairs[across].second, g.w);
        out[i] = (place){at.t, {h0 + w0, h1 + w0, h0 + w1, h1 + w1}};
        if (++at.w < tiles.w)
            continue;
        at.w = 0;
        if (++at.h < tiles.h)
            continue;
        at.h = 0;
        at.t++;
    }
}

/* V of a position for `count` channels of frame tap `t`; `rounded` has room for four voxels of
 * them. */
static void transform_voxels(const tiling *p, float *out, const place *at, int64_t t,
                             int64_t channel, int64_t count, float *rounded)
{
    const bool minus_down = pairs[p->position / SIDE].minus;
    const bool minus_across = pairs[p->position % SIDE].minus;
    const bool halves = p->x.type == HYV_BF16;
    const int64_t size = halves ? sizeof(uint16_t) : sizeof(float);
    const int64_t first = clamp(at->frame + t - (TAPS - 1), p->grid.t) * p->grid.h * p->grid.w;
    const char *x = (const char *)p->x.data + (first * p->x.ld + channel) * size;
    const void *d[4];
    for (int i = 0; i < 4; i++) {
        d[i] = x + at->voxel[i] * p->x.ld * size;
        if (!p->f->narrow || halves)
            continue;
        p->f->narrow(rounded + i * PIECE, d[i], 1, count);
        d[i] = rounded + i * PIECE;
    }
    if (halves)
        p->rows->tile_halves(out, d, minus_down, minus_across, count);
    else
        p->rows->tile_input(out, d, minus_down, minus_across, count);
}

/* Row i of the operand is tile p->first + i, element t * channels + c is channel c of frame tap t.
 */
static void pack_tiles(const void *operand, const hyv_gemm_functions *f, float *out, int width,
                       int64_t first, int n, int64_t k0, int64_t depth, float *buffer)
{
    const tiling *p = operand;
    const int64_t channels = p->x.cols;
    const float *rows[HYV_GEMM_MR_MAX];
    place at[HYV_GEMM_MR_MAX];
    find_voxels(p, at, p->first + first, n);
    for (int64_t done = 0, count; done < depth; done += count) {
        const int64_t t = (k0 + done) / channels, channel = (k0 + done) % channels;
        count = least(least(channels - channel, depth - done), PIECE);
        for (int i = 0; i < n; i++) {
            transform_voxels(p, buffer + i * PIECE, at + i, t, channel, count,
                             buffer + width * PIECE);
            rows[i] = buffer + i * PIECE;
        }
        f->transpose(out + done * width, width, rows, n, count);
    }
}

/* y of some of the tiles at hand, from their sums. */
static void write_tiles(void *arg, int64_t first, int64_t count, int thread)
{
    const tiling *p = arg;
    const int64_t filters = p->y.cols, stride = padded(p->count * filters);
    (void)thread;
    for (int64_t i = first; i < first + count; i++) {
        const int64_t tile = p->first + i, frame = tile / (p->tiles.h * p->tiles.w);
        const int64_t h0 = OUT * (tile / p->tiles.w % p->tiles.h), w0 = OUT * (tile % p->tiles.w);
        for (int64_t h = h0; h < least(h0 + OUT, p->grid.h); h++)
            for (int64_t w = w0; w < least(w0 + OUT, p->grid.w); w++) {
                float *y = hyv_row(p->y, (frame * p->grid.h + h) * p->grid.w + w);
                p->rows->tile_output(y, p->sums + i * filters, stride, h > h0, w > w0, filters);
            }
    }
}

/* ---- the convolution --------------------------------------------------------------------------
 */

static int64_t tiles_at_once(int64_t rows, int64_t filters, hyv_grid grid)
{
    const int64_t most = least(SUMS_MAX / (POSITIONS * filters), TILES_MAX);
    return least(hyv_grid_rows(tiles_of(rows, grid)), most > 0 ? most : 1);
}

/* Bytes of the shared memory that hold the filters and the sums. */
static size_t held(int64_t tiles, int64_t filters, int64_t channels)
{
    const int64_t floats = padded(filters * TAPS * channels) + padded(tiles * filters);
    const size_t bytes = (size_t)(POSITIONS * floats) * sizeof(float);
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* What the products share beside that: the last one, of the tiles that are left, may be of so few
 * rows that it takes more than the others. */
static size_t shared_bytes(const hyv_gemm_functions *f, int64_t tiles, int64_t most,
                           int64_t filters, int64_t channels)
{
    const size_t whole = hyv_gemm_scratch(f, most, filters, TAPS * channels, 0);
    const size_t last =
        tiles % most ? hyv_gemm_scratch(f, tiles % most, filters, TAPS * channels, 0) : 0;
    return whole > last ? whole : last;
}

static size_t taps_bytes(int64_t channels)
{
    return (size_t)(TAPS * TAPS * channels) * sizeof(float);
}

/* M for the tiles at hand: one product a position. */
static void multiply(tiling *p)
{
    const int64_t filters = p->y.cols, depth = TAPS * p->x.cols;
    for (p->position = 0; p->position < POSITIONS && !p->be->err; p->position++) {
        const hyv_mat right = {p->filters + p->position * padded(filters * depth), filters, depth,
                               depth, HYV_F32};
        const hyv_gemm_call call = {.functions = &p->products,
                                    .memory = p->memory,
                                    .rows = p->count,
                                    .cols = filters,
                                    .depth = depth,
                                    .left = p,
                                    .pack_left = pack_tiles,
                                    .right = &right,
                                    .pack_right = hyv_pack_mat,
                                    .bias = p->position == BIASED ? p->W->bias : NULL,
                                    .y = {p->sums + p->position * padded(p->count * filters),
                                          p->count, filters, filters, HYV_F32}};
        hyv_gemm(p->be, &call);
    }
}

void hyv_cpu_conv3d_winograd(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W,
                             hyv_grid grid)
{
    hyv_cpu *cpu = hyv_cpu_of(be);
    const int64_t most = tiles_at_once(y.rows, y.cols, grid), depth = TAPS * x.cols;
    const int64_t tiles = hyv_grid_rows(tiles_of(y.rows, grid));
    const size_t reserved = held(most, y.cols, x.cols);
    const size_t shared = shared_bytes(cpu->gemm, tiles, most, y.cols, x.cols);
    char *memory = hyv_cpu_shared(be, reserved + shared);
    if (!memory || !hyv_cpu_scratch_all(be, taps_bytes(x.cols)))
        return;
    tiling p = {.be = be,
                .f = cpu->gemm,
                .products = *cpu->gemm,
                .rows = cpu->rows,
                .x = x,
                .y = y,
                .W = W,
                .grid = grid,
                .tiles = tiles_of(y.rows, grid),
                .skipped = grid.t - y.rows / (grid.h * grid.w),
                .filters = (float *)(void *)memory,
                .memory = memory + reserved};
    p.sums = p.filters + POSITIONS * padded(y.cols * depth);
    p.products.narrow = NULL;
    hyv_pool_run(be, y.cols, transform_filter, &p);
    for (p.first = 0; p.first < tiles && !be->err; p.first += most) {
        p.count = least(most, tiles - p.first);
        multiply(&p);
        hyv_cpu_rows(be, p.count, OUT * OUT * y.cols, write_tiles, &p);
    }
}

size_t hyv_cpu_conv3d_winograd_scratch(const hyv_gemm_functions *f, int64_t rows, int64_t filters,
                                       int64_t channels, hyv_grid grid, int threads)
{
    const int64_t most = tiles_at_once(rows, filters, grid), depth = TAPS * channels;
    const int64_t tiles = hyv_grid_rows(tiles_of(rows, grid));
    const size_t thread =
        hyv_gemm_scratch(f, most, filters, depth, 1) - hyv_gemm_scratch(f, most, filters, depth, 0);
    const size_t taps = taps_bytes(channels);
    return held(most, filters, channels) + shared_bytes(f, tiles, most, filters, channels) +
           (size_t)threads * (thread > taps ? thread : taps);
}
