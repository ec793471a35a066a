/* Sizes of element types and views of matrices.
 *
 * Sizes are facts of the formats (safetensors README, IEEE 754, OCP 8-bit floats). Knows no
 * backend.
 */
#include "types.h"

#include <stdbool.h>

static const struct {
    const char *name;
    size_t bytes;
} types[HYV_TYPES] = {
    [HYV_F32] = {"F32", 4},         [HYV_F16] = {"F16", 2},         [HYV_BF16] = {"BF16", 2},
    [HYV_F8_E4M3] = {"F8_E4M3", 1}, [HYV_F8_E5M2] = {"F8_E5M2", 1}, [HYV_F64] = {"F64", 8},
    [HYV_I8] = {"I8", 1},           [HYV_U8] = {"U8", 1},           [HYV_I16] = {"I16", 2},
    [HYV_I32] = {"I32", 4},         [HYV_I64] = {"I64", 8},         [HYV_BOOL] = {"BOOL", 1},
};

static bool known(hyv_type type)
{
    return (unsigned)type < HYV_TYPES;
}

const char *hyv_type_name(hyv_type type)
{
    return known(type) ? types[type].name : "?";
}

int64_t hyv_type_block(hyv_type type)
{
    (void)type; /* all types of today are plain */
    return 1;
}

size_t hyv_type_bytes(hyv_type type)
{
    return known(type) ? types[type].bytes : 0;
}

size_t hyv_type_size(hyv_type type, int64_t count)
{
    const size_t bytes = hyv_type_bytes(type);
    if (count < 0 || bytes == 0 || (uint64_t)count > SIZE_MAX / bytes)
        return 0;
    return (size_t)count * bytes;
}

static void *offset(hyv_mat m, int64_t elements)
{
    return m.data ? (char *)m.data + elements * (int64_t)hyv_type_bytes(m.type) : NULL;
}

hyv_mat hyv_rows(hyv_mat m, int64_t first, int64_t n)
{
    m.data = offset(m, first * m.ld);
    m.rows = n;
    return m;
}

hyv_mat hyv_cols(hyv_mat m, int64_t first, int64_t n)
{
    m.data = offset(m, first);
    m.cols = n;
    return m;
}
