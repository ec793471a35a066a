/* upsample_conv3d: against upsample and conv3d one after the other, word for word, in double
 * precision; doubled in time and not, grids of one voxel, few and many channels, stored types.
 *
 * Where it may filter minimally (upsample_winograd.c) it multiplies sums over the taps along the
 * doubled axes by sums, whatever stands beside the products that are wanted: so large is its error,
 * too.
 */
#include "../../kernels/cpu/upsample_winograd.h"
#include "rig.h"

typedef struct call {
    hyv_mat x;
    hyv_weight W;
    hyv_grid grid;
    bool time;
    hyv_precision precision;
} call;

static void run(hyv_backend *be, hyv_mat y, void *arg)
{
    const call *c = arg;
    hyv_upsample_conv3d(be, y, c->x, &c->W, c->grid, c->time);
}

static int64_t clamped(int64_t v, int64_t size)
{
    return v < 0 ? 0 : v > size - 1 ? size - 1 : v;
}

static hyv_grid doubled(const call *c)
{
    return (hyv_grid){c->time ? 2 * c->grid.t - 1 : c->grid.t, 2 * c->grid.h, 2 * c->grid.w};
}

/* The voxel of x behind tap (a, b, d) of a voxel of the doubled grid. */
static int64_t tap_voxel(const call *c, hyv_grid at, hyv_grid tap)
{
    const hyv_grid o = doubled(c);
    const int64_t t = clamped(at.t + tap.t - 2, o.t), h = clamped(at.h + tap.h - 1, o.h);
    const int64_t w = clamped(at.w + tap.w - 1, o.w);
    const int64_t from = !c->time ? t : t == 0 ? 0 : 1 + (t - 1) / 2;
    return (from * c->grid.h + h / 2) * c->grid.w + w / 2;
}

static double weight(const call *c, int64_t row, int64_t col)
{
    float value;
    uint16_t half;
    if (c->W.w.type == HYV_F32)
        return (double)*rig_at(c->W.w, row, col);
    memcpy(&half, (const char *)c->W.w.data + 2 * (row * c->W.w.ld + col), sizeof(half));
    value = hyv_bf16_to_f32(half);
    return (double)value * (double)(c->W.scales ? c->W.scale[c->W.scales == 1 ? 0 : row] : 1.0f);
}

static bool is_minimal(const call *c)
{
    const hyv_gemm_functions f = hyv_gemm_for(HYV_ISA_C, c->precision);
    return hyv_upsample_is_winograd(&f, c->W.w.rows, c->x.cols);
}

enum { TAPS = 27, FRAME = 9 };

/* The operands of the products. */
typedef struct operands {
    double *x, *w; /* [voxels, channels], [filters, TAPS * channels] */
} operands;

static operands read_operands(const call *c)
{
    const int64_t in = c->x.cols, depth = TAPS * in;
    operands o = {.x = rig_doubles(c->x.rows * in), .w = rig_doubles(c->W.w.rows * depth)};
    for (int64_t i = 0; i < c->x.rows * in; i++)
        o.x[i] = rig_operand(c->precision, *rig_at(c->x, i / in, i % in));
    for (int64_t i = 0; i < c->W.w.rows * depth; i++)
        o.w[i] = weight(c, i / depth, i % depth);
    return o;
}

/* What a sum of products is, what its rounding errors go by, and what they go by besides where it
 * is filtered minimally. */
typedef struct total {
    double sum, size, squares, mixed;
} total;

/* x: those of the taps; w: of a filter; both `in` channels apart from the next tap's. */
static void add_channel(const call *c, total *out, const double *const x[TAPS], const double *w,
                        int64_t channel)
{
    const int64_t in = c->x.cols;
    double xs = 0.0, weights = 0.0; /* sizes over the taps of a frame, or of all frames */
    for (int64_t tap = 0; tap < TAPS; tap++) {
        const double a = x[tap][channel], b = w[tap * in + channel];
        out->sum += a * b;
        out->size += fabs(a * b);
        out->squares += a * b * a * b;
        xs += fabs(a);
        weights += fabs(b);
        if (tap == TAPS - 1 || (!c->time && tap % FRAME == FRAME - 1)) {
            out->mixed += xs * weights;
            xs = weights = 0.0;
        }
    }
}

/* Eight weights at most are added up, each sum rounded; then as many products as there are taps. In
 * bf16 the sums are rounded to 8 bits, which adds up like noise; the square of a sum of eight is no
 * more than eight times that of its parts. `direct`: the error of what never filters minimally. */
static void reference(const call *c, double *want, double *error, double *direct)
{
    const int64_t out = c->W.w.rows, in = c->x.cols;
    const hyv_grid o = doubled(c);
    const operands values = read_operands(c);
    for (int64_t i = 0; i < hyv_grid_rows(o) * out; i++) {
        const int64_t r = i / out, j = i % out;
        const hyv_grid at = {r / (o.h * o.w), r / o.w % o.h, r % o.w};
        const double *x[TAPS];
        for (int64_t tap = 0; tap < TAPS; tap++)
            x[tap] =
                values.x + in * tap_voxel(c, at, (hyv_grid){tap / FRAME, tap / 3 % 3, tap % 3});
        const double bias = c->W.bias ? (double)c->W.bias[j] : 0.0;
        total t = {.sum = bias, .size = fabs(bias)};
        for (int64_t channel = 0; channel < in; channel++)
            add_channel(c, &t, x, values.w + j * TAPS * in, channel);
        const double unit = RIG_UNIT * (8.0 + sqrt((double)(TAPS * in)));
        want[i] = t.sum;
        direct[i] = unit * t.size + 0x1p-140;
        if (c->precision == HYV_PRODUCTS_BF16)
            direct[i] += 0x1p-9 * sqrt(8.0 * t.squares);
        error[i] = direct[i] + (is_minimal(c) ? unit * t.mixed : 0.0);
    }
    free(values.x);
    free(values.w);
}

static void one(const rig *r, hyv_grid grid, bool time, int64_t in, int64_t out, rig_values kind,
                int variant, check_random *random)
{
    char what[96];
    call c = {.grid = grid, .time = time, .precision = r->precision};
    const int64_t rows = hyv_grid_rows(doubled(&c));
    const bool half = variant & 8;
    rig_mat x = rig_new(hyv_grid_rows(grid), in, variant & 1, HYV_F32);
    rig_mat w = rig_new(out, 27 * in, variant & 2, HYV_F32), y = rig_new(rows, out, true, HYV_F32);
    rig_mat stored = rig_new(out, 27 * in, variant & 2, HYV_BF16);
    rig_mat bias = rig_new(1, out, false, HYV_F32), scale = rig_new(1, out, false, HYV_F32);
    rig_fill(x.m, kind, random);
    rig_fill(w.m, RIG_NORMAL, random);
    rig_fill(bias.m, RIG_NORMAL, random);
    rig_fill(scale.m, RIG_NORMAL, random);
    for (int64_t j = 0; j < out; j++)
        for (int64_t i = 0; i < 27 * in; i++) {
            const uint16_t bits = hyv_f32_to_bf16(*rig_at(w.m, j, i));
            memcpy((char *)stored.m.data + 2 * (j * stored.m.ld + i), &bits, sizeof(bits));
        }
    c.x = x.m;
    c.W = (hyv_weight){.w = half ? stored.m : w.m,
                       .bias = variant & 4 ? bias.m.data : NULL,
                       .scale = half ? scale.m.data : NULL,
                       .scales = half ? out : 0};
    double *want = rig_doubles(rows * out), *error = rig_doubles(rows * out);
    double *direct = rig_doubles(rows * out);
    reference(&c, want, error, direct);
    snprintf(what, sizeof(what), "upsample_conv3d %dx%dx%d%s channels %d to %d", (int)grid.t,
             (int)grid.h, (int)grid.w, time ? " in time" : "", (int)in, (int)out);
    rig_compare(r, what, &y, run, &c, want, error);
    rig_compare_narrowed(r, what, &y, run, &c, &c.x, &x);
    const rig pairs = rig_multiplying(r, "avx512bf16");
    rig_compare(&pairs, what, &y, run, &c, want, direct);
    free(want);
    free(error);
    free(direct);
    rig_mat *const all[] = {&x, &w, &y, &stored, &bias, &scale};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        rig_free(all[i]);
}

static void every_case(hyv_precision precision)
{
    static const struct {
        hyv_grid grid;
        int64_t in, out;
    } cases[] = {{{1, 1, 1}, 3, 5},   {{2, 1, 3}, 16, 33},  {{3, 4, 2}, 7, 64},
                 {{5, 3, 7}, 48, 32}, {{2, 9, 11}, 130, 3}, {{1, 13, 9}, 20, 40},
                 {{1, 1, 1}, 16, 16}, {{3, 1, 1}, 17, 18},  {{2, 5, 1}, 300, 20}};
    const bool quick = getenv("QUICK") != NULL;
    check_random random = {14};
    rig r;
    rig_open(&r, precision);
    for (int time = 0; time < 2; time++) {
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
            for (int variant = 0; variant < 16; variant += quick ? 15 : 5)
                one(&r, cases[i].grid, time, cases[i].in, cases[i].out, RIG_NORMAL, variant,
                    &random);
        for (int kind = 0; kind < RIG_VALUES; kind++)
            one(&r, (hyv_grid){3, 4, 5}, time, 24, 16, (rig_values)kind, 7, &random);
        /* More voxels than are held at once, which end within a frame. */
        if (!quick && precision == HYV_PRODUCTS_FP32)
            one(&r, time ? (hyv_grid){2, 9, 11} : (hyv_grid){2, 12, 19}, time, 16, 1024, RIG_NORMAL,
                5, &random);
    }
    rig_close(&r);
}

int main(void)
{
    every_case(HYV_PRODUCTS_FP32);
    every_case(HYV_PRODUCTS_BF16);
    return check_done();
}
