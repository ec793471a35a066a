/* conv3d: the packed product whose left operand is gathered, tap by tap, from channels-last voxels.
 *
 * Row r of the left operand is output voxel r, its element tap * channels + c is channel c of the
 * voxel that this tap reads, coordinates clamped into the grid. It exists only as packed panels.
 * Weights are those of linear.
 */
#include "conv3d_winograd.h"

typedef struct taps {
    hyv_mat x;
    hyv_grid grid, out, kernel, stride;
    int64_t skipped; /* output voxels before those that are wanted */
} taps;

static int64_t clamp(int64_t v, int64_t size)
{
    return v < 0 ? 0 : v >= size ? size - 1 : v;
}

/* The row of x that tap `tap` of output voxel (t, h, w) reads. */
static int64_t tap_row(const taps *p, hyv_grid at, int64_t tap)
{
    const int64_t c = tap % p->kernel.w, b = tap / p->kernel.w % p->kernel.h;
    const int64_t a = tap / (p->kernel.w * p->kernel.h);
    const int64_t t = clamp(at.t * p->stride.t + a - (p->kernel.t - 1), p->grid.t);
    const int64_t h = clamp(at.h * p->stride.h + b - p->kernel.h / 2, p->grid.h);
    const int64_t w = clamp(at.w * p->stride.w + c - p->kernel.w / 2, p->grid.w);
    return (t * p->grid.h + h) * p->grid.w + w;
}

/* Packs stretches of one tap's channels; a voxel's channels stand side by side already. */
static void pack_taps(const void *operand, const hyv_gemm_functions *f, float *out, int width,
                      int64_t first, int n, int64_t k0, int64_t depth, float *buffer)
{
    const taps *p = operand;
    const int64_t channels = p->x.cols;
    hyv_grid at[HYV_GEMM_MR_MAX];
    const int64_t most = p->x.type == HYV_F32 ? depth : HYV_GEMM_STRETCH;
    const float *rows[HYV_GEMM_MR_MAX];
    for (int i = 0; i < n; i++) {
        const int64_t r = p->skipped + first + i, frame = p->out.h * p->out.w;
        at[i] = (hyv_grid){r / frame, r / p->out.w % p->out.h, r % p->out.w};
    }
    for (int64_t done = 0; done < depth;) {
        const int64_t tap = (k0 + done) / channels, channel = (k0 + done) % channels;
        const int64_t left = channels - channel, want = depth - done < most ? depth - done : most;
        const int64_t count = left < want ? left : want;
        for (int i = 0; i < n; i++)
            rows[i] = hyv_gemm_wide(f, buffer + i * HYV_GEMM_STRETCH, p->x, tap_row(p, at[i], tap),
                                    channel, count);
        f->transpose(out + done / f->fold * width, width, rows, n, count);
        done += count;
    }
}

static hyv_grid strided(hyv_grid grid, hyv_grid stride)
{
    return (hyv_grid){(grid.t - 1) / stride.t + 1, (grid.h - 1) / stride.h + 1,
                      (grid.w - 1) / stride.w + 1};
}

void hyv_cpu_conv3d(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W, hyv_grid grid,
                    hyv_grid kernel, hyv_grid stride)
{
    if (hyv_conv3d_is_winograd(hyv_cpu_of(be)->gemm, grid, kernel, stride)) {
        hyv_cpu_conv3d_winograd(be, y, x, W, grid);
        return;
    }
    const hyv_grid out = strided(grid, stride);
    const taps left = {.x = x,
                       .grid = grid,
                       .out = out,
                       .kernel = kernel,
                       .stride = stride,
                       .skipped = hyv_grid_rows(out) - y.rows};
    const hyv_gemm_call call = {.rows = y.rows,
                                .cols = y.cols,
                                .depth = W->w.cols,
                                .stretch = x.cols,
                                .left = &left,
                                .pack_left = pack_taps,
                                .right = W,
                                .pack_right = hyv_pack_weight,
                                .bias = W->bias,
                                .y = y};
    hyv_gemm(be, &call);
}

size_t hyv_cpu_conv3d_scratch(const hyv_gemm_functions *gemm, int64_t rows, int64_t filters,
                              int64_t channels, hyv_grid grid, hyv_grid kernel, hyv_grid stride,
                              int threads)
{
    if (hyv_conv3d_is_winograd(gemm, grid, kernel, stride))
        return hyv_cpu_conv3d_winograd_scratch(gemm, rows, filters, channels, grid, threads);
    return hyv_gemm_scratch(gemm, rows, filters, hyv_grid_rows(kernel) * channels, threads);
}
