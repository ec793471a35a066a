/* Counting NaN and Inf and finding the range of a tensor: see values.h.
 *
 * Works on the bits of IEEE 754 binary32, in whose integer order numbers stand in the order of
 * their values once the negative half is turned round; so the loop has no comparison of floats, and
 * NaN needs no care. Knows no model.
 */
#include "values.h"

#include <errno.h>
#include <string.h>

#include "../../kernels/quant.h"

enum {
    CHUNK = 4096,           /* values: whole blocks of every type, and in the first cache */
    STRETCH_BYTES = 4 << 20 /* between two calls of progress */
};

/* As integers; low > high: none seen. */
typedef struct range {
    int32_t low, high;
    int64_t nan, inf;
} range;

static void look_at(range *r, const uint32_t *bits, int n)
{
    int32_t low = r->low, high = r->high, nan = 0, inf = 0;
    for (int i = 0; i < n; i++) {
        const uint32_t magnitude = bits[i] & 0x7fffffff;
        const int32_t sign = (int32_t)(0 - (bits[i] >> 31)); /* all ones if negative */
        const int32_t key = (int32_t)magnitude ^ sign;
        const bool finite = magnitude < 0x7f800000;
        nan += magnitude > 0x7f800000;
        inf += magnitude == 0x7f800000;
        low = finite && key < low ? key : low;
        high = finite && key > high ? key : high;
    }
    *r = (range){low, high, r->nan + nan, r->inf + inf};
}

/* Elements [first, first + n) as the bits of f32. */
static void read_bits(uint32_t *bits, const hyv_tensor *t, int64_t first, int n)
{
    float values[CHUNK];
    if (t->type == HYV_F32) {
        memcpy(bits, (const uint8_t *)t->data + (size_t)first * 4, (size_t)n * 4);
        return;
    }
    if (t->type == HYV_BF16) {
        uint16_t halves[CHUNK];
        memcpy(halves, (const uint8_t *)t->data + (size_t)first * 2, (size_t)n * 2);
        for (int i = 0; i < n; i++)
            bits[i] = (uint32_t)halves[i] << 16;
        return;
    }
    hyv_decode(values, t->data, t->type, first, n);
    memcpy(bits, values, (size_t)n * sizeof(*bits));
}

static double value_of(int32_t key)
{
    const uint32_t sign = key < 0 ? 0xffffffff : 0;
    const uint32_t bits = ((uint32_t)key ^ sign) | (sign & 0x80000000);
    float value;
    memcpy(&value, &bits, sizeof(value));
    return (double)value;
}

int hyv_values_look(hyv_values *v, hyv_checkpoint *c, const hyv_tensor *t, void *opaque,
                    hyv_values_progress *progress)
{
    uint32_t bits[CHUNK];
    range r = {INT32_MAX, INT32_MIN, 0, 0};
    const size_t chunk_bytes = hyv_type_size(t->type, CHUNK);
    const int64_t stretch = (int64_t)(STRETCH_BYTES / chunk_bytes + 1) * CHUNK;
    int stop = 0;
    for (int64_t first = 0; first < t->count && !stop; first += stretch) {
        const int64_t end = t->count - first < stretch ? t->count : first + stretch;
        for (int64_t at = first; at < end; at += CHUNK) {
            const int n = end - at < CHUNK ? (int)(end - at) : CHUNK;
            read_bits(bits, t, at, n);
            look_at(&r, bits, n);
        }
        const size_t bytes = (size_t)hyv_type_step(t->type, end - first);
        hyv_checkpoint_release(c, (const uint8_t *)t->data + hyv_type_step(t->type, first), bytes,
                               false);
        stop = progress(opaque, bytes);
    }
    const bool any = r.low <= r.high;
    *v = (hyv_values){r.nan, r.inf, 0, 0, false};
    if (any) {
        v->min = value_of(r.low);
        v->max = value_of(r.high);
        v->zero = v->min == 0.0 && v->max == 0.0 && !r.nan && !r.inf;
    }
    return stop ? -ECANCELED : 0;
}
