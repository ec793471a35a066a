/* Reorders rows and taps: see layout.h. */
#include "layout.h"

#include <string.h>

#include "../../kernels/quant.h"

hyv_layout hyv_layout_needed(const hyv_tensor *t, const hyv_matrix_spec *s)
{
    return t->pairs && s->layout == HYV_LAYOUT_HALVES ? HYV_LAYOUT_PLAIN : s->layout;
}

hyv_type hyv_layout_type(const hyv_tensor *t, const hyv_matrix_spec *s)
{
    const bool cut = s->layout == HYV_LAYOUT_TAPS || s->cols % hyv_type_block(t->type) != 0;
    return !hyv_type_is_float(t->type) && cut ? HYV_F32 : t->type;
}

/* Which row of the file's matrix row `row` of the kernels' is. */
static int64_t source_row(const hyv_matrix_spec *s, int64_t row)
{
    if (s->layout == HYV_LAYOUT_HALVES) {
        const int64_t head = row / s->detail, k = row % s->detail;
        return head * s->detail + k / 2 + k % 2 * (s->detail / 2);
    }
    if (s->layout == HYV_LAYOUT_DEPTH_LAST) {
        const int64_t channels = s->rows / s->detail;
        return row % channels * s->detail + row / channels;
    }
    return row;
}

/* Elements of `size` bytes, (channel, tap) -> (tap, channel). */
static void order_taps(uint8_t *dst, const uint8_t *src, const hyv_matrix_spec *s, size_t size)
{
    const int64_t channels = s->cols / s->detail;
    for (int64_t c = 0; c < channels; c++)
        for (int64_t tap = 0; tap < s->detail; tap++)
            memcpy(dst + (size_t)(tap * channels + c) * size,
                   src + (size_t)(c * s->detail + tap) * size, size);
}

/* Row `row` of the kernels' matrix, of type `type`, from the file's, in which ours begins at row
 * `begin`. A row keeps the file's type, whole blocks of it if it has blocks; where that cannot be
 * it becomes f32, by way of `values` [cols]. */
static void repack_row(uint8_t *dst, const hyv_tensor *t, const hyv_matrix_spec *s, int64_t begin,
                       int64_t row, hyv_type type, float *values)
{
    const int64_t first = (begin + source_row(s, row)) * s->cols;
    const uint8_t *src = t->data;
    if (type == t->type) {
        src += hyv_type_step(type, first);
    } else {
        hyv_decode(values, t->data, t->type, first, s->cols);
        src = (const uint8_t *)values;
    }
    if (s->layout == HYV_LAYOUT_TAPS)
        order_taps(dst, src, s, hyv_type_bytes(type));
    else
        memcpy(dst, src, hyv_type_size(type, s->cols));
}

void hyv_layout_copy(void *host, const hyv_tensor *t, const hyv_matrix_spec *s, int64_t begin,
                     float *values)
{
    const hyv_type type = hyv_layout_type(t, s);
    const size_t row_bytes = hyv_type_size(type, s->cols);
    for (int64_t row = 0; row < s->rows; row++)
        repack_row((uint8_t *)host + (size_t)row * row_bytes, t, s, begin, row, type, values);
}
