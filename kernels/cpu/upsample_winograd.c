/* upsample_conv3d by minimal filtering (Winograd 1980): 27 products a channel and voxel of x
 * instead of the 48, or with doubled time 64, of upsample_conv3d.c.
 *
 * Along a doubled axis outputs 2i and 2i + 1 of taps g read voxels i - 1, i and i + 1 of x. With
 *
 *   V = (x[i-1] - x[i], x[i], x[i+1] - x[i])    U = (g0, g0 + g1 + g2, g2)    m = V * U
 *
 * they are m0 + m1 and m1 + m2. That holds for h, w and doubled time alike: frame i gives frames 2i
 * and 2i + 1, as taps look back from a grid whose first frame is single; only the last frame has no
 * second. At an edge the difference to a voxel that is clamped to x[i] is 0. So a voxel has 9
 * positions, or 27, and each is a matrix product: over channels, and over the frames of the taps
 * where time is not doubled. Filters are transformed once a call; V exists only as packed panels, m
 * for some voxels at a time. The bias is the start of the middle position, which every output takes
 * once. Where products in bf16 are emulated, both operands are rounded before their transformation
 * and all else is f32; where bf16 is multiplied as such it would be rounded after it, so there
 * upsample_conv3d.c does without.
 */
#include "upsample_winograd.h"

#include <string.h>

#include "rows.h"

enum {
    TAPS = 3, /* an axis; positions, too */
    FRAME = TAPS * TAPS,
    PIECE = HYV_GEMM_BUFFER / HYV_GEMM_MR_MAX, /* channels transformed at once */
    CORNERS = 8,                               /* voxels or positions that are combined */
    CHANNELS_MIN = 16,
    SUMS_MAX = 1 << 22, /* floats of m at once */
    PADDING = 48,       /* floats from one position's matrix to the next, as in conv3d_winograd.c */
    ALIGNMENT = 64
};

/* What is to be computed, and how it is cut. */
typedef struct shape {
    int64_t filters, channels;
    hyv_grid grid; /* of x */
    bool time;
    int positions;
    int64_t depth; /* of a position's product */
    int64_t most;  /* voxels at once */
} shape;

typedef struct doubling {
    shape s;
    hyv_backend *be;
    const hyv_gemm_functions *f;
    hyv_gemm_functions products; /* those of f, which round nothing */
    const hyv_row_functions *rows;
    hyv_mat x, y;
    const hyv_weight *W;
    float *filters;       /* of each position [filters, depth], */
    float *sums;          /* [count, filters] */
    void *memory;         /* of the products */
    int64_t first, count; /* voxels at hand */
    int position;
    int64_t from; /* the first voxel of its product */
} doubling;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t clamp(int64_t v, int64_t size)
{
    return v < 0 ? 0 : v >= size ? size - 1 : v;
}

/* Floats from one position's matrix to the next. */
static int64_t padded(int64_t floats)
{
    return floats + PADDING;
}

/* One frame stays one in doubled time, and all taps read it: so it is taken for that. */
static shape shape_of(int64_t filters, int64_t channels, hyv_grid grid, bool doubles)
{
    const bool time = doubles || grid.t == 1;
    const int positions = time ? FRAME * TAPS : FRAME;
    const int64_t most = SUMS_MAX / (positions * filters);
    return (shape){.filters = filters,
                   .channels = channels,
                   .grid = grid,
                   .time = time,
                   .positions = positions,
                   .depth = time ? channels : TAPS * channels,
                   .most = least(hyv_grid_rows(grid), most > 0 ? most : 1)};
}

/* Voxels [*from, *to), cut to those that a position is needed of: in time the first frame has no
 * other before it, and after the last one there is no output. */
static void needed(const shape *s, int position, int64_t *from, int64_t *to)
{
    const int64_t frame = s->grid.h * s->grid.w;
    if (s->time && position / FRAME == 0 && *from < frame)
        *from = least(frame, *to);
    if (s->time && position / FRAME == 2)
        *to = least(*to, (s->grid.t - 1) * frame);
}

static hyv_grid voxel(const shape *s, int64_t row)
{
    const int64_t frame = s->grid.h * s->grid.w;
    return (hyv_grid){row / frame, row / s->grid.w % s->grid.h, row % s->grid.w};
}

/* ---- transformations --------------------------------------------------------------------------
 */

/* The middle one of three taps along an axis becomes the sum of all. */
static void transform_filter(void *arg, int64_t filter, int thread)
{
    static const int apart[] = {FRAME, TAPS, 1}; /* neighbours along t, h, w */
    const doubling *p = arg;
    const int64_t n = p->s.channels, size = padded(p->s.filters * p->s.depth);
    float *taps = (float *)(void *)hyv_cpu_of(p->be)->scratch[thread].data; /* [27, n] */
    hyv_decode_weight(p->f, taps, p->W, filter, 0, FRAME * TAPS * n);
    if (p->f->narrow)
        p->f->narrow(taps, taps, 1, FRAME * TAPS * n);
    for (int axis = p->s.time ? 0 : 1; axis < 3; axis++)
        for (int tap = 0; tap < FRAME * TAPS; tap++)
            if (tap / apart[axis] % TAPS == 1) {
                p->rows->add(taps + tap * n, taps + (tap - apart[axis]) * n, NULL, n);
                p->rows->add(taps + tap * n, taps + (tap + apart[axis]) * n, NULL, n);
            }
    for (int tap = 0; tap < FRAME * TAPS; tap++) {
        const int position = tap % p->s.positions, frame = tap / p->s.positions;
        memcpy(p->filters + position * size + filter * p->s.depth + frame * n, taps + tap * n,
               (size_t)n * sizeof(float));
    }
}

/* Rows of x with the voxels whose differences along 0 to 3 axes are the position of a voxel, at
 * frame tap `tap` if time is not doubled; returns how many. */
static int find_voxels(const doubling *p, int64_t v[CORNERS], int64_t row, int64_t tap)
{
    const hyv_grid g = p->s.grid, at = voxel(&p->s, row);
    const int side_t = p->s.time ? p->position / FRAME : 1; /* 0: before, 1: here, 2: behind */
    const int side_h = p->position / TAPS % TAPS, side_w = p->position % TAPS;
    const int64_t frame = p->s.time ? at.t + side_t - 1 : at.t + tap - (TAPS - 1);
    const int64_t t[2] = {clamp(frame, g.t), at.t};
    const int64_t h[2] = {clamp(at.h + side_h - 1, g.h), at.h};
    const int64_t w[2] = {clamp(at.w + side_w - 1, g.w), at.w};
    int count = 0;
    for (int a = 0; a < 1 + (side_t != 1); a++)
        for (int b = 0; b < 1 + (side_h != 1); b++)
            for (int c = 0; c < 1 + (side_w != 1); c++)
                v[count++] = (t[a] * g.h + h[b]) * g.w + w[c];
    return count;
}

/* V of a position for `count` channels: in `out`, or where it lies; `rounded` has room for CORNERS
 * voxels of them. */
static const float *transform_voxel(const doubling *p, float *out, int64_t row, int64_t tap,
                                    int64_t channel, int64_t count, float *rounded)
{
    const float *v[CORNERS];
    int64_t rows[CORNERS];
    const int read = find_voxels(p, rows, row, tap);
    for (int i = 0; i < read; i++) {
        float *to = read == 1 ? out : rounded + i * PIECE;
        v[i] = hyv_gemm_wide(p->f, to, p->x, rows[i], channel, count);
        if (!p->f->narrow || p->x.type == HYV_BF16)
            continue;
        p->f->narrow(to, v[i], 1, count);
        v[i] = to;
    }
    if (read == 1)
        return v[0];
    p->rows->difference(out, v, read, count);
    return out;
}

/* Row i of the operand is voxel p->from + i, element tap * channels + c is channel c of frame tap
 * `tap`. */
static void pack_voxels(const void *operand, const hyv_gemm_functions *f, float *out, int width,
                        int64_t first, int n, int64_t k0, int64_t depth, float *buffer)
{
    const doubling *p = operand;
    const int64_t channels = p->s.channels;
    const float *rows[HYV_GEMM_MR_MAX];
    for (int64_t done = 0, count; done < depth; done += count) {
        const int64_t tap = (k0 + done) / channels, channel = (k0 + done) % channels;
        count = least(least(channels - channel, depth - done), PIECE);
        for (int i = 0; i < n; i++)
            rows[i] = transform_voxel(p, buffer + i * PIECE, p->from + first + i, tap, channel,
                                      count, buffer + width * PIECE);
        f->transpose(out + done * width, width, rows, n, count);
    }
}

/* The sums that output `odd` of a voxel, number `index` of those at hand, consists of. */
static int find_sums(const doubling *p, const float *m[CORNERS], int64_t index, hyv_grid at,
                     hyv_grid odd)
{
    const int64_t size = padded(p->count * p->s.filters);
    const int64_t first = p->s.time && at.t == 0 && !odd.t ? 1 : odd.t; /* 0 is not needed */
    const int64_t last = p->s.time ? odd.t + 1 : 0;
    int count = 0;
    for (int64_t a = first; a <= last; a++)
        for (int64_t b = odd.h; b <= odd.h + 1; b++)
            for (int64_t c = odd.w; c <= odd.w + 1; c++)
                m[count++] = p->sums + (a * FRAME + b * TAPS + c) * size + index * p->s.filters;
    return count;
}

/* The outputs of some of the voxels at hand. */
static void write_voxels(void *arg, int64_t first, int64_t count, int thread)
{
    const doubling *p = arg;
    const hyv_grid g = p->s.grid;
    (void)thread;
    for (int64_t i = first; i < first + count; i++) {
        const hyv_grid at = voxel(&p->s, p->first + i);
        const int outputs = p->s.time && at.t < g.t - 1 ? 8 : 4;
        for (int k = 0; k < outputs; k++) {
            const hyv_grid odd = {k / 4, k / 2 % 2, k % 2};
            const float *m[CORNERS];
            const int terms = find_sums(p, m, i, at, odd);
            const int64_t t = p->s.time ? 2 * at.t + odd.t : at.t, h = 2 * at.h + odd.h;
            float *y = hyv_row(p->y, (t * 2 * g.h + h) * 2 * g.w + 2 * at.w + odd.w);
            p->rows->sum_rows(y, m, terms, p->s.filters);
        }
    }
}

/* ---- the convolution --------------------------------------------------------------------------
 */

/* Bytes of the shared memory that hold the filters and the sums. */
static size_t held(const shape *s)
{
    const int64_t floats = padded(s->filters * s->depth) + padded(s->most * s->filters);
    const size_t bytes = (size_t)(s->positions * floats) * sizeof(float);
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* What the products share beside that. Few rows may take more than many. */
static size_t shared_bytes(const shape *s, const hyv_gemm_functions *f)
{
    const int64_t voxels = hyv_grid_rows(s->grid);
    size_t most = 0;
    for (int64_t first = 0; first < voxels; first += s->most)
        for (int position = 0; position < s->positions; position += FRAME) {
            int64_t from = first, to = least(first + s->most, voxels);
            needed(s, position, &from, &to);
            const size_t bytes =
                from < to ? hyv_gemm_scratch(f, to - from, s->filters, s->depth, 0) : 0;
            most = bytes > most ? bytes : most;
        }
    return most;
}

static size_t taps_bytes(const shape *s)
{
    return (size_t)(FRAME * TAPS * s->channels) * sizeof(float);
}

/* m of the voxels at hand: one product a position. */
static void multiply(doubling *p)
{
    const int64_t filters = p->s.filters, depth = p->s.depth;
    for (p->position = 0; p->position < p->s.positions && !p->be->err; p->position++) {
        int64_t to = p->first + p->count;
        p->from = p->first;
        needed(&p->s, p->position, &p->from, &to);
        float *sums = p->sums + p->position * padded(p->count * filters);
        const hyv_mat right = {p->filters + p->position * padded(filters * depth), filters, depth,
                               depth, HYV_F32};
        const hyv_gemm_call call = {
            .functions = &p->products,
            .memory = p->memory,
            .rows = to - p->from,
            .cols = filters,
            .depth = depth,
            .left = p,
            .pack_left = pack_voxels,
            .right = &right,
            .pack_right = hyv_pack_mat,
            .bias = p->position == p->s.positions / 2 ? p->W->bias : NULL,
            .y = {sums + (p->from - p->first) * filters, to - p->from, filters, filters, HYV_F32}};
        if (call.rows > 0)
            hyv_gemm(p->be, &call);
    }
}

bool hyv_upsample_is_winograd(const hyv_gemm_functions *f, int64_t filters, int64_t channels)
{
    return hyv_gemm_is_f32(f) && filters >= CHANNELS_MIN && channels >= CHANNELS_MIN;
}

void hyv_cpu_upsample_winograd(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W,
                               hyv_grid grid, bool time)
{
    hyv_cpu *cpu = hyv_cpu_of(be);
    const shape s = shape_of(y.cols, x.cols, grid, time);
    const size_t reserved = held(&s);
    char *memory = hyv_cpu_shared(be, reserved + shared_bytes(&s, cpu->gemm));
    if (!memory || !hyv_cpu_scratch_all(be, taps_bytes(&s)))
        return;
    doubling p = {.s = s,
                  .be = be,
                  .f = cpu->gemm,
                  .products = *cpu->gemm,
                  .rows = cpu->rows,
                  .x = x,
                  .y = y,
                  .W = W,
                  .filters = (float *)(void *)memory,
                  .memory = memory + reserved};
    p.sums = p.filters + s.positions * padded(s.filters * s.depth);
    p.products.narrow = NULL;
    const int64_t voxels = hyv_grid_rows(grid);
    hyv_pool_run(be, s.filters, transform_filter, &p);
    for (p.first = 0; p.first < voxels && !be->err; p.first += s.most) {
        p.count = least(s.most, voxels - p.first);
        multiply(&p);
        hyv_cpu_rows(be, p.count, (time ? 8 : 4) * s.filters, write_voxels, &p);
    }
}

size_t hyv_cpu_upsample_winograd_scratch(const hyv_gemm_functions *f, int64_t filters,
                                         int64_t channels, hyv_grid grid, bool time, int threads)
{
    const shape s = shape_of(filters, channels, grid, time);
    const size_t thread = hyv_gemm_scratch(f, s.most, filters, s.depth, 1) -
                          hyv_gemm_scratch(f, s.most, filters, s.depth, 0);
    const size_t taps = taps_bytes(&s);
    return held(&s) + shared_bytes(&s, f) + (size_t)threads * (thread > taps ? thread : taps);
}
