/* Modulation, rotation, activations, gated addition and copies over matrices, in row pieces on all
 * threads.
 *
 * What happens to one row stands in rows_kernels.h; conversions between types are exact or round to
 * nearest even (half.h).
 */
#include <string.h>

#include "../half.h"
#include "../quant.h"
#include "rows.h"

typedef struct point_call {
    const hyv_row_functions *f;
    hyv_mat y, x, a, b;
    hyv_activation activation;
} point_call;

static void modulate_rows(void *arg, int64_t first, int64_t rows, int thread)
{
    const point_call *c = arg;
    (void)thread;
    for (int64_t i = first; i < first + rows; i++)
        c->f->modulate(hyv_row(c->y, i), c->y.cols, c->a.data, c->b.data);
}

void hyv_cpu_modulate(hyv_backend *be, hyv_mat y, hyv_mat scale, hyv_mat shift)
{
    point_call c = {.f = hyv_cpu_of(be)->rows, .y = y, .a = scale, .b = shift};
    hyv_cpu_rows(be, y.rows, y.cols, modulate_rows, &c);
}

static void rope_rows(void *arg, int64_t first, int64_t rows, int thread)
{
    const point_call *c = arg;
    (void)thread;
    for (int64_t i = first; i < first + rows; i++)
        for (int64_t k = 0; k < c->x.cols; k += c->a.cols)
            c->f->rope(hyv_row(c->x, i) + k, c->a.cols, hyv_row(c->a, i), hyv_row(c->b, i));
}

void hyv_cpu_rope(hyv_backend *be, hyv_mat x, hyv_rope_table table)
{
    point_call c = {.f = hyv_cpu_of(be)->rows, .x = x, .a = table.cos, .b = table.sin};
    hyv_cpu_rows(be, x.rows, x.cols, rope_rows, &c);
}

static void act_rows(void *arg, int64_t first, int64_t rows, int thread)
{
    const point_call *c = arg;
    (void)thread;
    for (int64_t i = first; i < first + rows; i++)
        c->f->act(hyv_row(c->y, i), hyv_row(c->x, i), c->a.data ? hyv_row(c->a, i) : NULL,
                  c->y.cols, c->activation);
}

void hyv_cpu_act(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_mat mul, hyv_activation f)
{
    point_call c = {.f = hyv_cpu_of(be)->rows, .y = y, .x = x, .a = mul, .activation = f};
    hyv_cpu_rows(be, y.rows, y.cols, act_rows, &c);
}

static void add_rows(void *arg, int64_t first, int64_t rows, int thread)
{
    const point_call *c = arg;
    (void)thread;
    for (int64_t i = first; i < first + rows; i++)
        c->f->add(hyv_row(c->y, i), hyv_row(c->x, i), c->a.data, c->y.cols);
}

void hyv_cpu_add(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_mat gate)
{
    point_call c = {.f = hyv_cpu_of(be)->rows, .y = y, .x = x, .a = gate};
    hyv_cpu_rows(be, y.rows, y.cols, add_rows, &c);
}

/* ---- copies ---- */

static void store(hyv_mat m, int64_t i, float f)
{
    uint8_t *p = m.data;
    uint16_t half;
    switch (m.type) {
    case HYV_F32:
        memcpy(p + 4 * i, &f, 4);
        break;
    case HYV_F16:
        half = hyv_f32_to_f16(f);
        memcpy(p + 2 * i, &half, 2);
        break;
    case HYV_BF16:
        half = hyv_f32_to_bf16(f);
        memcpy(p + 2 * i, &half, 2);
        break;
    case HYV_F8_E4M3:
        p[i] = hyv_f32_to_f8_e4m3(f);
        break;
    default:
        p[i] = hyv_f32_to_f8_e5m2(f);
        break;
    }
}

/* Through f32, a stretch at a time. */
static void convert_row(hyv_mat y, hyv_mat x, int64_t row)
{
    float values[HYV_BLOCK_MAX];
    for (int64_t k = 0; k < y.cols; k += HYV_BLOCK_MAX) {
        const int64_t left = y.cols - k, count = left < HYV_BLOCK_MAX ? left : HYV_BLOCK_MAX;
        hyv_decode(values, x.data, x.type, row * x.ld + k, count);
        for (int64_t i = 0; i < count; i++)
            store(y, row * y.ld + k + i, values[i]);
    }
}

static void copy_rows(void *arg, int64_t first, int64_t rows, int thread)
{
    const point_call *c = arg;
    (void)thread;
    for (int64_t i = first; i < first + rows; i++) {
        if (c->y.type == HYV_BF16 && c->x.type == HYV_F32)
            c->f->to_bf16((uint16_t *)c->y.data + i * c->y.ld, hyv_row(c->x, i), c->y.cols);
        else if (c->y.type == c->x.type)
            memcpy((char *)c->y.data + hyv_type_step(c->y.type, i * c->y.ld),
                   (const char *)c->x.data + hyv_type_step(c->x.type, i * c->x.ld),
                   hyv_type_size(c->y.type, c->y.cols));
        else
            convert_row(c->y, c->x, i);
    }
}

void hyv_cpu_copy(hyv_backend *be, hyv_mat y, hyv_mat x)
{
    point_call c = {.f = hyv_cpu_of(be)->rows, .y = y, .x = x};
    hyv_cpu_rows(be, y.rows, y.cols, copy_rows, &c);
}
