/* conv3d with kernel 3x3x3 and stride 1 by minimal filtering F(4x4, 3x3) of each frame (Winograd
 * 1980; Lavin and Gray 2016): 27 products a channel and four output voxels instead of 108.
 *
 * A tile of 4x4 output voxels reads 6x6 input voxels d of each of three frames. Transformed,
 * V = B^T d B and U = G g G^T, the sums over channels and frames are 36 matrix products, one for
 * each of the 6x6 positions, and y = A^T M A. The matrices (rows_kernels.h) are those of Toom and
 * Cook for the points 0, 1, -1, 2, -1/2 and infinity: for 128 and 512 channels an output's error is
 * 2.3 to 2.6 times that of the plain sum (check_conv3d), while -2 in place of -1/2 makes it half as
 * much again or more (on the choice of points see Barabasz et al. 2020).
 *
 * B^T d is kept for a row of positions and some rows of tiles: neighbouring tiles share it, and so
 * do the six positions of the row. V and U exist only as the panels that the micro-kernel
 * multiplies. The bias is the start of position (1, 1), which every output takes once. In bf16 both
 * operands are rounded before their transformation and all else is f32; a quarter of the products
 * is less than what pairs gain, whose speed is at most twice that of f32. Tiles are multiplied so
 * fast that conv3d does without.
 */
#include "conv3d_winograd.h"

#include <string.h>

#include "rows.h"

enum {
    SIDE = HYV_TILE_SIDE, /* of an input tile, */
    OUT = HYV_TILE_OUT,   /* of an output tile */
    POSITIONS = SIDE * SIDE,
    BIASED = SIDE + 1, /* position (1, 1) */
    TAPS = 3,
    FRAME = TAPS * TAPS,
    PIECE = HYV_GEMM_BUFFER / HYV_GEMM_MR_MAX, /* channels transformed at once, */
    SLICE = 64,                                /* and of filters */
    WORK_MAX = 1 << 21,                        /* floats of a turn: they stay in a cache */
    TASKS_A_THREAD = 4,                        /* as in gemm.c */
    PADDING = 48 /* floats from one matrix to the next, lest they meet in a cache's set */
};

/* What is to be computed, and how it is cut: in turns of some rows of tiles. Either filters of all
 * positions are held, and a turn does all positions; or sums of all tiles are, and all turns do a
 * row of positions before the next. */
typedef struct shape {
    int64_t filters, channels;
    int64_t frames, depth; /* that a product sums over; frames times channels */
    int64_t panels;        /* of filters */
    hyv_grid grid;         /* of x, */
    hyv_grid tiles;        /* and of y in tiles */
    int64_t width;         /* voxels that a row of tiles reads side by side */
    int64_t rows, most;    /* of tiles: all, and those of a turn */
    int64_t summed;        /* of tiles: whose sums are held */
    int at_once;           /* rows of positions whose filters and combined voxels are held */
} shape;

/* Floats of one matrix each. */
typedef struct sizes {
    int64_t filters;  /* U of a position: [panels, depth, nr] */
    int64_t combined; /* B^T d of a row of positions: [most, frames, width, channels] */
    int64_t left;     /* V of a position: [tiles / mr, depth, mr] */
    int64_t sums;     /* M of a position: [tiles, panels * nr] */
} sizes;

typedef struct tiling {
    shape s;
    sizes size;
    hyv_backend *be;
    const hyv_gemm_functions *f;
    const hyv_row_functions *rows;
    hyv_mat x, y;
    const hyv_weight *W;
    int64_t skipped;             /* frames before those of y */
    float *filters;              /* [at_once, SIDE] matrices */
    float *combined;             /* [at_once] */
    float *left;                 /* [SIDE] */
    float *sums;                 /* [SIDE, SIDE] */
    const float *none, *bias;    /* where sums start */
    int down;                    /* the row of positions at hand, */
    int64_t first, count, parts; /* rows of tiles, and how many tasks share them, */
    int64_t summed;              /* and the first one whose sums are held */
} tiling;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t whole(int64_t n, int64_t unit)
{
    return (n + unit - 1) / unit;
}

static int64_t clamp(int64_t v, int64_t size)
{
    return v < 0 ? 0 : v >= size ? size - 1 : v;
}

/* Of the last frames of a grid, which have `rows` voxels. */
static hyv_grid tiles_of(int64_t rows, hyv_grid g)
{
    return (hyv_grid){rows / (g.h * g.w), whole(g.h, OUT), whole(g.w, OUT)};
}

static sizes sizes_of(const shape *s, const hyv_gemm_functions *f)
{
    const int64_t tiles = s->most * s->tiles.w;
    return (sizes){.filters = s->panels * f->nr * s->depth + PADDING,
                   .combined = s->most * s->width * s->depth + PADDING,
                   .left = whole(tiles, f->mr) * f->mr * s->depth + PADDING,
                   .sums = s->summed * s->tiles.w * s->panels * f->nr + PADDING};
}

/* What is held all the time is the smaller one of filters and sums. */
static shape shape_of(int64_t rows, int64_t filters, int64_t channels, hyv_grid grid,
                      const hyv_gemm_functions *f)
{
    shape s = {.filters = filters,
               .channels = channels,
               .frames = grid.t > 1 ? TAPS : 1,
               .panels = whole(filters, f->nr),
               .grid = grid,
               .tiles = tiles_of(rows, grid)};
    s.depth = s.frames * channels;
    s.width = OUT * s.tiles.w + SIDE - OUT;
    s.rows = s.tiles.t * s.tiles.h;
    const int64_t held = POSITIONS * s.panels * f->nr * s.depth, quarter = held / 4;
    const int64_t sums = POSITIONS * s.panels * f->nr * s.tiles.w; /* of a row of tiles, as next */
    const int64_t left = SIDE * s.depth * s.tiles.w, combined = s.depth * s.width;
    const int64_t room = quarter > WORK_MAX ? quarter : WORK_MAX;
    const bool by_row = s.rows * sums + held / SIDE < held + room / 2;
    s.at_once = by_row ? 1 : SIDE;
    const int64_t most =
        by_row ? room / 2 / (left + combined) : room / (sums + left + SIDE * combined);
    const int64_t turns = most > 0 ? whole(s.rows, most) : s.rows;
    s.most = whole(s.rows, turns);
    s.summed = by_row ? s.rows : s.most;
    return s;
}

bool hyv_conv3d_is_winograd(const hyv_gemm_functions *f, hyv_grid grid, hyv_grid kernel,
                            hyv_grid stride)
{
    const hyv_grid tiles = tiles_of(hyv_grid_rows(grid), grid);
    const bool fits = kernel.t == TAPS && kernel.h == TAPS && kernel.w == TAPS && stride.t == 1 &&
                      stride.h == 1 && stride.w == 1;
    return fits && !hyv_gemm_is_tiled(f) &&
           4 * POSITIONS * tiles.h * tiles.w < TAPS * TAPS * TAPS * grid.h * grid.w;
}

static float *scratch_of(const tiling *p, int thread)
{
    return (float *)(void *)hyv_cpu_of(p->be)->scratch[thread].data;
}

/* U of a position. */
static float *filters_of(const tiling *p, int down, int64_t across)
{
    return p->filters + (down % p->s.at_once * SIDE + across) * p->size.filters;
}

/* B^T d of a row of positions. */
static float *combined_of(const tiling *p, int down)
{
    return p->combined + down % p->s.at_once * p->size.combined;
}

/* ---- filters ----------------------------------------------------------------------------------
 */

/* U of a frame tap for `n` filters, of which `taps` are [n, 9, channels], as part of a panel;
 * `buffer` has room for a row of positions of SLICE channels of them. */
static void transform_frame(const tiling *p, int64_t panel, int n, int64_t tap, const float *taps,
                            float *buffer)
{
    const int64_t channels = p->s.channels, nr = p->f->nr;
    const float *rows[HYV_GEMM_NR_MAX];
    for (int64_t c = 0; c < channels; c += SLICE)
        for (int down = p->down; down < p->down + p->s.at_once; down++) {
            const int64_t count = least(SLICE, channels - c);
            for (int i = 0; i < n; i++)
                p->rows->tile_filter(buffer + i * SIDE * SLICE, SLICE, down,
                                     taps + i * FRAME * channels + c, channels, count);
            for (int across = 0; across < SIDE; across++) {
                const int64_t k = panel * p->s.depth + tap * channels + c;
                for (int i = 0; i < n; i++)
                    rows[i] = buffer + (i * SIDE + across) * SLICE;
                p->f->transpose(filters_of(p, down, across) + k * nr, (int)nr, rows, n, count);
            }
        }
}

/* U of the rows of positions at hand: panel `index` of each. Where there is one frame, all taps
 * read it, so they are added up. */
static void transform_filters(void *arg, int64_t index, int thread)
{
    const tiling *p = arg;
    const int64_t size = FRAME * p->s.channels, first = index * p->f->nr;
    const int n = (int)least(p->f->nr, p->s.filters - first);
    float *taps = scratch_of(p, thread), *buffer = taps + n * size;
    for (int64_t tap = 0; tap < TAPS; tap++) {
        const bool adds = tap > 0 && p->s.frames == 1;
        for (int i = 0; i < n; i++) {
            float *to = adds ? buffer : taps + i * size;
            hyv_decode_weight(p->f, to, p->W, first + i, tap * size, size);
            if (p->f->narrow)
                p->f->narrow(to, to, 1, size);
            if (adds)
                p->rows->add(taps + i * size, to, NULL, size);
        }
        if (p->s.frames > 1 || tap == TAPS - 1)
            transform_frame(p, index, n, p->s.frames > 1 ? tap : 0, taps, buffer);
    }
}

/* ---- voxels -----------------------------------------------------------------------------------
 */

/* B^T of six rows of voxels, `count` values side by side in each, for the rows of positions at
 * hand: values `to` and following of each. */
static void combine_rows(const tiling *p, int64_t to, const char *const from[SIDE], int64_t count,
                         float *rounded)
{
    const bool halves = p->x.type == HYV_BF16;
    const bool narrows = p->f->narrow && !halves;
    const int64_t size = halves ? sizeof(uint16_t) : sizeof(float);
    for (int64_t first = 0; first < count; first += PIECE) {
        const int64_t n = least(PIECE, count - first);
        const void *d[SIDE];
        for (int i = 0; i < SIDE; i++) {
            d[i] = from[i] + first * size;
            if (!narrows)
                continue;
            p->f->narrow(rounded + i * PIECE, d[i], 1, n);
            d[i] = rounded + i * PIECE;
        }
        for (int down = p->down; down < p->down + p->s.at_once; down++)
            (halves ? p->rows->tile_halves : p->rows->tile_input)(combined_of(p, down) + to + first,
                                                                  d, down, n);
    }
}

/* Voxels [first, first + count) of what is combined; those side by side at once where x is dense.
 */
static void combine(void *arg, int64_t first, int64_t count, int thread)
{
    const tiling *p = arg;
    const hyv_grid g = p->s.grid, tiles = p->s.tiles;
    const int64_t channels = p->s.channels;
    const int64_t bytes = p->x.ld * (p->x.type == HYV_BF16 ? sizeof(uint16_t) : sizeof(float));
    for (int64_t i = first, n; i < first + count; i += n) {
        const int64_t column = i % p->s.width - 1, tap = i / p->s.width % p->s.frames;
        const int64_t row = p->first + i / (p->s.width * p->s.frames);
        const int64_t frame = p->skipped + row / tiles.h + tap - (p->s.frames - 1);
        const char *from[SIDE];
        for (int k = 0; k < SIDE; k++) {
            const int64_t h = clamp(row % tiles.h * OUT - 1 + k, g.h);
            const int64_t voxel = (clamp(frame, g.t) * g.h + h) * g.w + clamp(column, g.w);
            from[k] = (const char *)p->x.data + voxel * bytes;
        }
        const bool inside = column >= 0 && column < g.w && p->x.ld == channels;
        n = inside ? least(g.w - column, first + count - i) : 1;
        combine_rows(p, i * channels, from, n * channels, scratch_of(p, thread));
    }
}

/* V of the row of positions at hand: a left panel of each. Element t * channels + c of a tile is
 * channel c of frame tap t. */
static void pack_tiles(void *arg, int64_t index, int thread)
{
    const tiling *p = arg;
    const int64_t channels = p->s.channels, tiles = p->s.tiles.w, mr = p->f->mr;
    const int n = (int)least(mr, p->count * tiles - index * mr);
    const float *combined = combined_of(p, p->down), *rows[HYV_GEMM_MR_MAX];
    float *buffer = scratch_of(p, thread);
    for (int64_t k = 0, count; k < p->s.depth; k += count) {
        const int64_t tap = k / channels, channel = k % channels;
        count = least(channels - channel, PIECE);
        for (int across = 0; across < SIDE; across++) {
            for (int i = 0; i < n; i++) {
                const int64_t row = (index * mr + i) / tiles;
                const int64_t column = (index * mr + i) % tiles * OUT;
                const int64_t voxel = (row * p->s.frames + tap) * p->s.width + column;
                const void *d[SIDE];
                for (int j = 0; j < SIDE; j++)
                    d[j] = combined + (voxel + j) * channels + channel;
                p->rows->tile_input(buffer + i * PIECE, d, across, count);
                rows[i] = buffer + i * PIECE;
            }
            float *out = p->left + across * p->size.left + (index * p->s.depth + k) * mr;
            p->f->transpose(out, (int)mr, rows, n, count);
        }
    }
}

/* ---- products ---------------------------------------------------------------------------------
 */

/* The sums of a position for tile row `row`. */
static float *sums_of(const tiling *p, int64_t position, int64_t row)
{
    const int64_t tiles = (row - p->summed) * p->s.tiles.w;
    return p->sums + position * p->size.sums + tiles * p->s.panels * p->f->nr;
}

/* M of some of the tiles at hand and a panel of filters, at a position of the row at hand. */
static void multiply(void *arg, int64_t index, int thread)
{
    const tiling *p = arg;
    const hyv_gemm_functions *f = p->f;
    const int64_t panel = index / p->parts % p->s.panels, part = index % p->parts;
    const int64_t across = index / p->parts / p->s.panels, position = p->down * SIDE + across;
    const int64_t tiles = p->count * p->s.tiles.w, tall = whole(tiles, f->mr), depth = p->s.depth;
    const float *left = p->left + across * p->size.left;
    const float *right = filters_of(p, p->down, across) + panel * f->nr * depth;
    const float *start = (position == BIASED ? p->bias : p->none) + panel * f->nr;
    const int64_t ld = p->s.panels * f->nr;
    float *sums = sums_of(p, position, p->first) + panel * f->nr;
    (void)thread;
    for (int64_t k = 0; k < depth; k += f->depth)
        for (int64_t i = part * tall / p->parts; i < (part + 1) * tall / p->parts; i++)
            f->kernel((int)least(f->mr, tiles - i * f->mr), least(f->depth, depth - k),
                      left + (i * depth + k) * f->mr, right + k * f->nr, sums + i * f->mr * ld, ld,
                      k ? NULL : start);
}

/* y of some of the tiles whose sums are held. */
static void write_tiles(void *arg, int64_t first, int64_t count, int thread)
{
    const tiling *p = arg;
    const hyv_grid g = p->s.grid, tiles = p->s.tiles;
    const float *sums = sums_of(p, 0, p->summed) + first * p->s.panels * p->f->nr;
    for (int64_t i = first; i < first + count; i++, sums += p->s.panels * p->f->nr) {
        const int64_t row = p->summed + i / tiles.w, frame = row / tiles.h;
        float *y[OUT * OUT];
        for (int k = 0; k < OUT * OUT; k++) {
            const int64_t h = row % tiles.h * OUT + k / OUT, w = i % tiles.w * OUT + k % OUT;
            y[k] = h < g.h && w < g.w ? hyv_row(p->y, (frame * g.h + h) * g.w + w)
                                      : scratch_of(p, thread);
        }
        p->rows->tile_output(y, sums, p->size.sums, p->s.filters);
    }
}

/* ---- the convolution --------------------------------------------------------------------------
 */

static int64_t shared_floats(const shape *s, const sizes *size, const hyv_gemm_functions *f)
{
    return SIDE * s->at_once * size->filters + s->at_once * size->combined + SIDE * size->left +
           POSITIONS * size->sums + 2 * s->panels * f->nr;
}

/* What a thread works in: filters and a row of their positions, voxels, or outputs that nobody
 * wants. */
static int64_t thread_floats(const shape *s, const hyv_gemm_functions *f)
{
    const int64_t room = f->nr * SIDE * SLICE, frame = FRAME * s->channels;
    const int64_t taps = f->nr * frame + (room > frame ? room : frame);
    const int64_t voxels = (f->mr > SIDE ? f->mr : SIDE) * PIECE;
    const int64_t most = taps > voxels ? taps : voxels;
    return most > s->filters ? most : s->filters;
}

/* A row of positions for the tiles of a turn. */
static void take_turn(tiling *p)
{
    const shape *s = &p->s;
    const int64_t wanted = hyv_cpu_of(p->be)->threads * TASKS_A_THREAD;
    p->count = least(s->most, s->rows - p->first);
    const int64_t tall = whole(p->count * s->tiles.w, p->f->mr);
    p->parts = least(whole(wanted, SIDE * s->panels), tall);
    if (p->down % s->at_once == 0)
        hyv_cpu_rows(p->be, p->count * s->frames * s->width, s->channels, combine, p);
    hyv_pool_run(p->be, tall, pack_tiles, p);
    hyv_pool_run(p->be, SIDE * s->panels * p->parts, multiply, p);
}

static void write_summed(tiling *p)
{
    const shape *s = &p->s;
    const int64_t rows = least(s->summed, s->rows - p->summed);
    hyv_cpu_rows(p->be, rows * s->tiles.w, OUT * OUT * s->filters, write_tiles, p);
}

static void convolve(tiling *p)
{
    const shape *s = &p->s;
    for (p->summed = 0; p->summed < s->rows && !p->be->err; p->summed += s->summed) {
        for (p->down = 0; p->down < SIDE; p->down++) {
            if (p->summed == 0 && p->down % s->at_once == 0)
                hyv_pool_run(p->be, s->panels, transform_filters, p);
            const int64_t end = least(p->summed + s->summed, s->rows);
            for (p->first = p->summed; p->first < end; p->first += s->most)
                take_turn(p);
        }
        write_summed(p);
    }
}

void hyv_cpu_conv3d_winograd(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W,
                             hyv_grid grid)
{
    hyv_cpu *cpu = hyv_cpu_of(be);
    const hyv_gemm_functions *f = hyv_gemm_in_f32(cpu->gemm);
    const shape s = shape_of(y.rows, y.cols, x.cols, grid, f);
    const sizes size = sizes_of(&s, f);
    float *memory = hyv_cpu_shared(be, (size_t)shared_floats(&s, &size, f) * sizeof(float));
    if (!memory || !hyv_cpu_scratch_all(be, (size_t)thread_floats(&s, f) * sizeof(float)))
        return;
    tiling p = {.s = s,
                .size = size,
                .be = be,
                .f = f,
                .rows = cpu->rows,
                .x = x,
                .y = y,
                .W = W,
                .skipped = grid.t - s.tiles.t,
                .filters = memory};
    p.combined = p.filters + SIDE * s.at_once * size.filters;
    p.left = p.combined + s.at_once * size.combined;
    p.sums = p.left + SIDE * size.left;
    float *start = p.sums + POSITIONS * size.sums;
    p.none = start;
    p.bias = start + s.panels * f->nr;
    memset(start, 0, (size_t)(2 * s.panels * f->nr) * sizeof(float));
    if (W->bias)
        memcpy(start + s.panels * f->nr, W->bias, (size_t)s.filters * sizeof(float));
    convolve(&p);
}

size_t hyv_cpu_conv3d_winograd_scratch(const hyv_gemm_functions *gemm, int64_t rows,
                                       int64_t filters, int64_t channels, hyv_grid grid,
                                       int threads)
{
    const hyv_gemm_functions *f = hyv_gemm_in_f32(gemm);
    const shape s = shape_of(rows, filters, channels, grid, f);
    const sizes size = sizes_of(&s, f);
    return (size_t)(shared_floats(&s, &size, f) + threads * thread_floats(&s, f)) * sizeof(float);
}
