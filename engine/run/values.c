/* Counting NaN and Inf and finding the range of a tensor: see values.h.
 *
 * Every float type has a sign and below it a magnitude in whose integer order numbers stand in the
 * order of their values. So the loop works on the stored codes, shifted to the top of a word, has
 * no comparison of floats and no branch, and runs at the speed of memory. Knows no model.
 */
#include "values.h"

#include <errno.h>
#include <string.h>

#include "../../kernels/quant.h"

enum {
    CHUNK = 4096,           /* values: whole blocks of every type, and in the first cache */
    STRETCH_BYTES = 4 << 20 /* between two calls of progress */
};

/* How a tensor's values look as codes; block types are decoded to f32 first. */
typedef struct coding {
    hyv_type type;
    int bits;
    int32_t infinity; /* its magnitude; what is beyond is NaN */
} coding;

typedef struct range {
    int32_t low, high; /* keys of finite values; low > high: none seen */
    int64_t nan, inf;
} range;

static coding coding_of(hyv_type type)
{
    switch (type) {
    case HYV_F16:
        return (coding){type, 16, 0x7c000000};
    case HYV_BF16:
        return (coding){type, 16, 0x7f800000};
    case HYV_F8_E5M2:
        return (coding){type, 8, 0x7c000000};
    case HYV_F8_E4M3: /* between its largest number and NaN; it has no infinity */
        return (coding){type, 8, 0x7e800000};
    default:
        return (coding){HYV_F32, 32, 0x7f800000};
    }
}

static void look_at(range *r, const uint32_t *codes, int n, int32_t infinity)
{
    int32_t low = r->low, high = r->high, nan = 0, inf = 0;
    for (int i = 0; i < n; i++) {
        const int32_t magnitude = (int32_t)(codes[i] & 0x7fffffff);
        const int32_t sign = (int32_t)(0 - (codes[i] >> 31)); /* all ones if negative */
        const int32_t key = magnitude ^ sign;
        const int32_t finite = -(magnitude < infinity);
        const int32_t least = (key & finite) | (INT32_MAX & ~finite);
        const int32_t most = (key & finite) | (INT32_MIN & ~finite);
        nan += magnitude > infinity;
        inf += magnitude == infinity;
        low = least < low ? least : low;
        high = most > high ? most : high;
    }
    *r = (range){low, high, r->nan + nan, r->inf + inf};
}

/* Elements [first, first + n) as codes. */
static void read_codes(uint32_t *codes, const hyv_tensor *t, int64_t first, int n)
{
    const uint8_t *from = (const uint8_t *)t->data + hyv_type_step(t->type, first);
    union {
        uint16_t halves[CHUNK];
        float values[CHUNK];
    } u;
    switch (coding_of(t->type).bits) {
    case 8:
        for (int i = 0; i < n; i++)
            codes[i] = (uint32_t)from[i] << 24;
        break;
    case 16:
        memcpy(u.halves, from, (size_t)n * sizeof(*u.halves));
        for (int i = 0; i < n; i++)
            codes[i] = (uint32_t)u.halves[i] << 16;
        break;
    default:
        if (t->type == HYV_F32) {
            memcpy(codes, from, (size_t)n * sizeof(*codes));
        } else {
            hyv_decode(u.values, t->data, t->type, first, n);
            memcpy(codes, u.values, (size_t)n * sizeof(*codes));
        }
        break;
    }
}

static double value_of(int32_t key, coding c)
{
    const uint32_t sign = key < 0 ? 0xffffffff : 0;
    const uint32_t code = (((uint32_t)key ^ sign) | (sign & 0x80000000)) >> (32 - c.bits);
    float value; /* the first bytes of the code are all of it: little-endian, as the files are */
    hyv_decode(&value, &code, c.type, 0, 1);
    return (double)value;
}

int hyv_values_look(hyv_values *v, hyv_checkpoint *c, const hyv_tensor *t, void *opaque,
                    hyv_values_progress *progress)
{
    uint32_t codes[CHUNK];
    const coding how = coding_of(t->type);
    range r = {INT32_MAX, INT32_MIN, 0, 0};
    const size_t chunk_bytes = hyv_type_size(t->type, CHUNK);
    const int64_t stretch = (int64_t)(STRETCH_BYTES / chunk_bytes + 1) * CHUNK;
    int stop = 0;
    for (int64_t first = 0; first < t->count && !stop; first += stretch) {
        const int64_t end = t->count - first < stretch ? t->count : first + stretch;
        for (int64_t at = first; at < end; at += CHUNK) {
            const int n = end - at < CHUNK ? (int)(end - at) : CHUNK;
            read_codes(codes, t, at, n);
            look_at(&r, codes, n, how.infinity);
        }
        const size_t bytes = (size_t)hyv_type_step(t->type, end - first);
        hyv_checkpoint_release(c, (const uint8_t *)t->data + hyv_type_step(t->type, first), bytes,
                               false);
        stop = progress(opaque, bytes);
    }
    const bool any = r.low <= r.high;
    *v = (hyv_values){r.nan, r.inf, 0, 0, false};
    if (any) {
        v->min = value_of(r.low, how);
        v->max = value_of(r.high, how);
        v->zero = v->min == 0.0 && v->max == 0.0 && !r.nan && !r.inf;
    }
    return stop ? -ECANCELED : 0;
}
