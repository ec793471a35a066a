/* upsample_conv3d: nearest-neighbour doubling folded into the 3x3x3 convolution behind it.
 *
 * Along a doubled axis the three taps of an output voxel read only two voxels of the small grid:
 * which two depends on whether its coordinate is even or odd. So each of the 8 (or 4) kinds of
 * output voxels is a packed product of its own, with 8 (or 12) taps whose weights are sums. The
 * sums are made while packing; the doubled tensor and the sums exist nowhere else.
 */
#include "upsample_winograd.h"

enum { TAPS = 3, PIECE = HYV_GEMM_BUFFER / (HYV_GEMM_NR_MAX + 1) / 2 * 2 };

/* Output voxels whose coordinates are even or odd alike. */
typedef struct parity {
    hyv_mat x;
    const hyv_weight *W;
    hyv_grid grid;   /* of x */
    bool time;       /* t is doubled too */
    hyv_grid odd;    /* 0 or 1 an axis; t: 0 if it is not doubled */
    hyv_grid taps;   /* different voxels that are read along an axis */
    hyv_grid voxels; /* how many output voxels there are along an axis */
} parity;

static parity parity_of(hyv_mat x, const hyv_weight *W, hyv_grid grid, bool time, int index)
{
    parity p = {.x = x,
                .W = W,
                .grid = grid,
                .time = time,
                .odd = {index / 4, index / 2 % 2, index % 2},
                .taps = {time ? 2 : TAPS, 2, 2},
                .voxels = grid};
    p.voxels.t -= p.odd.t; /* the first frame has no second */
    return p;
}

static int64_t clamp(int64_t v, int64_t size)
{
    return v < 0 ? 0 : v >= size ? size - 1 : v;
}

static hyv_grid voxel(const parity *p, int64_t row)
{
    const int64_t frame = p->voxels.h * p->voxels.w;
    return (hyv_grid){row / frame, row / p->voxels.w % p->voxels.h, row % p->voxels.w};
}

/* The row of x that tap `tap` of the output voxel reads. */
static int64_t tap_row(const parity *p, hyv_grid at, int64_t tap)
{
    const int64_t c = tap % p->taps.w, b = tap / p->taps.w % p->taps.h;
    const int64_t a = tap / (p->taps.w * p->taps.h);
    const int64_t t = clamp(p->time ? at.t + a - 1 + p->odd.t : at.t + a - (TAPS - 1), p->grid.t);
    const int64_t h = clamp(at.h + b - 1 + p->odd.h, p->grid.h);
    const int64_t w = clamp(at.w + c - 1 + p->odd.w, p->grid.w);
    return (t * p->grid.h + h) * p->grid.w + w;
}

static void pack_taps(const void *operand, const hyv_gemm_functions *f, float *out, int width,
                      int64_t first, int n, int64_t k0, int64_t depth, float *buffer)
{
    const parity *p = operand;
    const int64_t channels = p->x.cols;
    hyv_grid at[HYV_GEMM_MR_MAX];
    const int64_t most = p->x.type == HYV_F32 ? depth : HYV_GEMM_STRETCH;
    const float *rows[HYV_GEMM_MR_MAX];
    for (int i = 0; i < n; i++)
        at[i] = voxel(p, first + i);
    for (int64_t done = 0, count; done < depth; done += count) {
        const int64_t tap = (k0 + done) / channels, channel = (k0 + done) % channels;
        count = channels - channel < depth - done ? channels - channel : depth - done;
        count = count < most ? count : most;
        for (int i = 0; i < n; i++)
            rows[i] = hyv_gemm_wide(f, buffer + i * HYV_GEMM_STRETCH, p->x, tap_row(p, at[i], tap),
                                    channel, count);
        f->transpose(out + done / f->fold * width, width, rows, n, count);
    }
}

/* Which of the three taps along a doubled axis read voxel `tap` of the two: [*from, *to). Even
 * coordinates see their predecessor once and themselves twice, odd ones the other way about. */
static void same_voxel(int64_t tap, int64_t odd, int64_t *from, int64_t *to)
{
    *from = tap ? 1 + odd : 0;
    *to = tap ? TAPS : 1 + odd;
}

/* out[count]: the summed weights of `tap` for some channels; `one` has room for as many. */
static void sum_weights(const parity *p, const hyv_gemm_functions *f, float *out, float *one,
                        int64_t row, int64_t tap, int64_t channel, int64_t count)
{
    int64_t from[3], to[3];
    from[0] = tap / (p->taps.w * p->taps.h);
    to[0] = from[0] + 1;
    if (p->time)
        same_voxel(from[0], p->odd.t, &from[0], &to[0]);
    same_voxel(tap / p->taps.w % p->taps.h, p->odd.h, &from[1], &to[1]);
    same_voxel(tap % p->taps.w, p->odd.w, &from[2], &to[2]);
    bool first = true;
    for (int64_t a = from[0]; a < to[0]; a++)
        for (int64_t b = from[1]; b < to[1]; b++)
            for (int64_t c = from[2]; c < to[2]; c++, first = false) {
                const int64_t at = ((a * TAPS + b) * TAPS + c) * p->x.cols + channel;
                hyv_decode_weight(f, first ? out : one, p->W, row, at, count);
                for (int64_t k = 0; k < count && !first; k++)
                    out[k] += one[k];
            }
}

static void pack_sums(const void *operand, const hyv_gemm_functions *f, float *out, int width,
                      int64_t first, int n, int64_t k0, int64_t depth, float *buffer)
{
    const parity *p = operand;
    const int64_t channels = p->x.cols;
    const float *rows[HYV_GEMM_NR_MAX];
    for (int64_t done = 0, count; done < depth; done += count) {
        const int64_t tap = (k0 + done) / channels, channel = (k0 + done) % channels;
        count = channels - channel < depth - done ? channels - channel : depth - done;
        count = count < PIECE ? count : PIECE;
        for (int i = 0; i < n; i++) {
            float *sum = buffer + (i + 1) * PIECE;
            sum_weights(p, f, sum, buffer, first + i, tap, channel, count);
            rows[i] = sum;
        }
        f->transpose(out + done / f->fold * width, width, rows, n, count);
    }
}

/* The row of y that belongs to a row of the product. */
static float *place(const void *left, hyv_mat y, int64_t row)
{
    const parity *p = left;
    const hyv_grid at = voxel(p, row);
    const int64_t t = p->time ? 2 * at.t + p->odd.t : at.t;
    const int64_t h = 2 * at.h + p->odd.h, w = 2 * at.w + p->odd.w;
    return hyv_row(y, (t * 2 * p->grid.h + h) * 2 * p->grid.w + w);
}

void hyv_cpu_upsample_conv3d(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W,
                             hyv_grid grid, bool time)
{
    if (hyv_upsample_is_winograd(hyv_cpu_of(be)->gemm, y.cols, x.cols)) {
        hyv_cpu_upsample_winograd(be, y, x, W, grid, time);
        return;
    }
    for (int i = 0; i < (time ? 8 : 4) && !be->err; i++) {
        const parity p = parity_of(x, W, grid, time, i);
        const hyv_gemm_call call = {.rows = hyv_grid_rows(p.voxels),
                                    .cols = y.cols,
                                    .depth = hyv_grid_rows(p.taps) * x.cols,
                                    .stretch = x.cols,
                                    .left = &p,
                                    .pack_left = pack_taps,
                                    .right = &p,
                                    .pack_right = pack_sums,
                                    .bias = W->bias,
                                    .y = y,
                                    .place = place};
        if (call.rows > 0)
            hyv_gemm(be, &call);
    }
}

/* The even voxels are the most. */
size_t hyv_cpu_upsample_conv3d_scratch(const hyv_gemm_functions *gemm, int64_t cols,
                                       int64_t channels, hyv_grid grid, bool time, int threads)
{
    if (hyv_upsample_is_winograd(gemm, cols, channels))
        return hyv_cpu_upsample_winograd_scratch(gemm, cols, channels, grid, time, threads);
    const int64_t taps = (time ? 2 : TAPS) * 2 * 2;
    return hyv_gemm_scratch(gemm, hyv_grid_rows(grid), cols, taps * channels, threads);
}
