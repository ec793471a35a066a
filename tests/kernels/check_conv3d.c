/* conv3d: kernels 1 and 3 an axis, strides, few and many channels, grids smaller than the kernel.
 *
 * The reference is the definition in ops.h, word for word, in double precision; in bf16 both
 * operands are rounded first. Where conv3d filters minimally (conv3d_winograd.c) it multiplies
 * sums over a frame's taps by sums, whatever stands beside the products that are wanted: so large
 * is its error, too.
 */
#include "../../kernels/cpu/conv3d_winograd.h"
#include "rig.h"

typedef struct call {
    hyv_mat x;
    hyv_weight W;
    hyv_grid grid, kernel, stride;
    hyv_precision precision;
    int64_t skipped; /* frames of the output that are not wanted */
} call;

static void run(hyv_backend *be, hyv_mat y, void *arg)
{
    const call *c = arg;
    hyv_conv3d(be, y, c->x, &c->W, c->grid, c->kernel, c->stride);
}

static int64_t clamped(int64_t v, int64_t size)
{
    return v < 0 ? 0 : v > size - 1 ? size - 1 : v;
}

static hyv_grid out_grid(const call *c)
{
    return (hyv_grid){(c->grid.t - 1) / c->stride.t + 1, (c->grid.h - 1) / c->stride.h + 1,
                      (c->grid.w - 1) / c->stride.w + 1};
}

/* The voxel that tap (a, b, d) of output voxel (t, h, w) reads. */
static int64_t tap_voxel(const call *c, hyv_grid at, hyv_grid tap)
{
    const int64_t t = clamped(at.t * c->stride.t + tap.t - (c->kernel.t - 1), c->grid.t);
    const int64_t h = clamped(at.h * c->stride.h + tap.h - c->kernel.h / 2, c->grid.h);
    const int64_t w = clamped(at.w * c->stride.w + tap.w - c->kernel.w / 2, c->grid.w);
    return (t * c->grid.h + h) * c->grid.w + w;
}

/* Sum of |x| over the nine taps of a frame times that of |w|, for a channel. */
static double mixed(const call *c, hyv_grid at, int64_t filter, int64_t frame, int64_t channel)
{
    const int64_t in = c->x.cols;
    double x = 0.0, w = 0.0;
    for (int64_t tap = 0; tap < 9; tap++) {
        const hyv_grid t = {frame, tap / 3, tap % 3};
        x += fabs((double)*rig_at(c->x, tap_voxel(c, at, t), channel));
        w += fabs((double)*rig_at(c->W.w, filter, (9 * frame + tap) * in + channel));
    }
    return x * w;
}

/* Sum of the sizes that an output's rounding errors go by, where conv3d filters minimally. */
static double mixed_size(const call *c, hyv_grid at, int64_t filter)
{
    double size = 0.0;
    for (int64_t frame = 0; frame < 3; frame++)
        for (int64_t i = 0; i < c->x.cols; i++)
            size += mixed(c, at, filter, frame, i);
    return size;
}

static bool is_minimal(const call *c)
{
    const hyv_gemm_functions f = hyv_gemm_for(HYV_ISA_C, c->precision);
    return hyv_conv3d_is_winograd(&f, c->grid, c->kernel, c->stride);
}

/* `direct`: the error of what never filters minimally. */
static void reference(const call *c, double *want, double *error, double *direct)
{
    const int64_t out = c->W.w.rows, in = c->x.cols, taps = hyv_grid_rows(c->kernel);
    const hyv_grid o = out_grid(c), k = c->kernel;
    const int64_t first = c->skipped * o.h * o.w;
    for (int64_t r = 0; r < hyv_grid_rows(o) - first; r++)
        for (int64_t j = 0; j < out; j++) {
            const hyv_grid at = {c->skipped + r / (o.h * o.w), r / o.w % o.h, r % o.w};
            double sum = c->W.bias ? (double)c->W.bias[j] : 0.0, size = fabs(sum);
            for (int64_t tap = 0; tap < taps; tap++)
                for (int64_t i = 0; i < in; i++) {
                    const hyv_grid t = {tap / (k.h * k.w), tap / k.w % k.h, tap % k.w};
                    const double product =
                        rig_operand(c->precision, *rig_at(c->x, tap_voxel(c, at, t), i)) *
                        rig_operand(c->precision, *rig_at(c->W.w, j, tap * in + i));
                    sum += product;
                    size += fabs(product);
                }
            const double unit = RIG_UNIT * sqrt((double)(taps * in));
            want[r * out + j] = sum;
            direct[r * out + j] =
                unit * size + 0x1p-140 + rig_smallest(c->precision) * (double)(taps * in);
            error[r * out + j] =
                direct[r * out + j] + (is_minimal(c) ? unit * mixed_size(c, at, j) : 0.0);
        }
}

static void one(const rig *r, hyv_grid grid, hyv_grid kernel, hyv_grid stride, int64_t in,
                int64_t out, rig_values kind, int variant, check_random *random)
{
    char what[96];
    call c = {.grid = grid, .kernel = kernel, .stride = stride, .precision = r->precision};
    const hyv_grid o = out_grid(&c);
    c.skipped = variant / 8 % o.t;
    const int64_t rows = (o.t - c.skipped) * o.h * o.w, depth = hyv_grid_rows(kernel) * in;
    rig_mat x = rig_new(hyv_grid_rows(grid), in, variant & 1, HYV_F32);
    rig_mat w = rig_new(out, depth, variant & 2, HYV_F32), y = rig_new(rows, out, true, HYV_F32);
    rig_mat bias = rig_new(1, out, false, HYV_F32);
    rig_fill(x.m, kind, random);
    rig_fill(w.m, RIG_NORMAL, random);
    rig_fill(bias.m, RIG_NORMAL, random);
    c.x = x.m;
    c.W = (hyv_weight){.w = w.m, .bias = variant & 4 ? bias.m.data : NULL};
    double *want = rig_doubles(rows * out), *error = rig_doubles(rows * out);
    double *direct = rig_doubles(rows * out);
    reference(&c, want, error, direct);
    snprintf(what, sizeof(what),
             "conv3d %dx%dx%d (%d) kernel %d%d%d stride %d%d%d channels %d to %d", (int)grid.t,
             (int)grid.h, (int)grid.w, (int)c.skipped, (int)kernel.t, (int)kernel.h, (int)kernel.w,
             (int)stride.t, (int)stride.h, (int)stride.w, (int)in, (int)out);
    rig_compare(r, what, &y, run, &c, want, error);
    rig_compare_narrowed(r, what, &y, run, &c, &c.x, &x);
    const rig tiles = rig_multiplying(r, "amx");
    rig_compare(&tiles, what, &y, run, &c, want, direct);
    free(want);
    free(error);
    free(direct);
    rig_free(&x);
    rig_free(&w);
    rig_free(&y);
    rig_free(&bias);
}

/* The plain sum in fp32. */
static float plain_sum(const call *c, hyv_grid at, int64_t filter)
{
    const int64_t in = c->x.cols;
    float sum = 0.0f;
    for (int64_t tap = 0; tap < 27; tap++)
        for (int64_t i = 0; i < in; i++) {
            const hyv_grid t = {tap / 9, tap / 3 % 3, tap % 3};
            sum = fmaf(*rig_at(c->x, tap_voxel(c, at, t), i), *rig_at(c->W.w, filter, tap * in + i),
                       sum);
        }
    return sum;
}

/* What filtering adds to the rounding of the plain sum, by the root mean square of errors: twice as
 * much and somewhat more for the points that conv3d_winograd.c uses, more than 3 times for others.
 */
static void check_rounding(const rig *r, int64_t in, check_random *random)
{
    enum { OUT = 16 };
    call c = {.grid = {2, 8, 8}, .kernel = {3, 3, 3}, .stride = {1, 1, 1}};
    const int64_t rows = hyv_grid_rows(c.grid);
    rig_mat x = rig_new(rows, in, false, HYV_F32), w = rig_new(OUT, 27 * in, false, HYV_F32);
    rig_mat y = rig_new(rows, OUT, false, HYV_F32);
    rig_fill(x.m, RIG_NORMAL, random);
    rig_fill(w.m, RIG_NORMAL, random);
    c.x = x.m;
    c.W = (hyv_weight){.w = w.m};
    double *want = rig_doubles(rows * OUT), *error = rig_doubles(rows * OUT);
    double *direct = rig_doubles(rows * OUT), plain = 0.0, filtered = 0.0;
    reference(&c, want, error, direct);
    run(r->be[0], y.m, &c);
    for (int64_t i = 0; i < rows * OUT; i++) {
        const hyv_grid at = {i / OUT / 64, i / OUT / 8 % 8, i / OUT % 8};
        plain += pow((double)plain_sum(&c, at, i % OUT) - want[i], 2.0);
        filtered += pow((double)*rig_at(y.m, i / OUT, i % OUT) - want[i], 2.0);
    }
    const double ratio = sqrt(filtered / plain);
    printf("%d channels: %.2f times the rounding error of the plain sum\n", (int)in, ratio);
    CHECK_MSG(ratio < 3.0, "%.2f times the rounding error of the plain sum", ratio);
    free(want);
    free(error);
    free(direct);
    rig_free(&x);
    rig_free(&w);
    rig_free(&y);
}

static void every_shape(hyv_precision precision)
{
    static const hyv_grid grids[] = {{1, 1, 1}, {2, 3, 5}, {5, 4, 7}, {3, 9, 2}, {4, 1, 11}};
    static const int64_t channels[][2] = {{1, 1},  {3, 4},   {4, 8},   {8, 12},
                                          {12, 3}, {16, 35}, {17, 33}, {128, 5}};
    const bool quick = getenv("QUICK") != NULL;
    check_random random = {47};
    rig r;
    rig_open(&r, precision);
    /* Every combination of kernels 1 and 3 and strides 1 and 2 an axis, on some grid. */
    for (int kernel = 0; kernel < 8; kernel++)
        for (int stride = 0; stride < 8; stride++) {
            const int i = (kernel * 3 + stride) % 5, ch = (kernel + stride) % 8;
            const hyv_grid k = {1 + 2 * (kernel & 1), 1 + (kernel & 2), 1 + (kernel & 4) / 2};
            const hyv_grid s = {1 + (stride & 1), 1 + (stride & 2) / 2, 1 + (stride & 4) / 4};
            one(&r, grids[i], k, s, channels[ch][0], channels[ch][1], RIG_NORMAL,
                (int)check_random_int(&random, 0, 31), &random);
        }
    const hyv_grid three = {3, 3, 3}, unit = {1, 1, 1};
    for (int kind = 0; kind < RIG_VALUES; kind++)
        one(&r, grids[2], three, unit, 5, 9, (rig_values)kind, 7, &random);
    /* Minimal filtering: whole and cut tiles, several stretches of channels. */
    for (int i = 0; i < 5; i++)
        one(&r, grids[i], three, unit, 16 + 17 * i, 16 + i, RIG_NORMAL, 9 * i + 1, &random);
    for (int kind = 0; kind < RIG_VALUES; kind++)
        one(&r, grids[2], three, unit, 24, 16, (rig_values)kind, 7, &random);
    one(&r, (hyv_grid){2, 4, 6}, three, unit, 300, 20, RIG_NORMAL, 5, &random);
    for (int64_t in = 128; in <= 512 && precision == HYV_PRODUCTS_FP32; in *= 4)
        check_rounding(&r, in, &random);
    /* Many rows and several blocks of k; several turns, with all filters held or all sums. */
    if (!quick) {
        one(&r, (hyv_grid){3, 13, 17}, three, unit, 31, 20, RIG_NORMAL, 7, &random);
        one(&r, (hyv_grid){2, 7, 9}, three, unit, 180, 7, RIG_NORMAL, 4, &random);
        one(&r, (hyv_grid){5, 13, 17}, three, unit, 16, 1024, RIG_NORMAL, 15, &random);
        one(&r, (hyv_grid){1, 8, 8202}, three, unit, 16, 16, RIG_NORMAL, 0,
            &random); /* long rows */
        one(&r, (hyv_grid){14, 13, 17}, three, unit, 128, 16, RIG_NORMAL, 7, &random);
    }
    rig_close(&r);
}

int main(void)
{
    every_shape(HYV_PRODUCTS_FP32);
    every_shape(HYV_PRODUCTS_BF16);
    return check_done();
}
