/* Sizes of element types and views of matrices.
 *
 * Sizes are facts of the formats (safetensors README, IEEE 754, OCP 8-bit floats, ggml's block
 * layouts). Knows no backend.
 */
#include "types.h"

static const struct {
    const char *name;
    size_t bytes;
    int64_t block; /* elements; 0 stands for 1 */
} types[HYV_TYPES] = {
    [HYV_F32] = {"F32", 4, 0},
    [HYV_F16] = {"F16", 2, 0},
    [HYV_BF16] = {"BF16", 2, 0},
    [HYV_F8_E4M3] = {"F8_E4M3", 1, 0},
    [HYV_F8_E5M2] = {"F8_E5M2", 1, 0},
    [HYV_Q4_0] = {"Q4_0", 18, 32},
    [HYV_Q4_1] = {"Q4_1", 20, 32},
    [HYV_Q5_0] = {"Q5_0", 22, 32},
    [HYV_Q5_1] = {"Q5_1", 24, 32},
    [HYV_Q8_0] = {"Q8_0", 34, 32},
    [HYV_IQ4_NL] = {"IQ4_NL", 18, 32},
    [HYV_Q2_K] = {"Q2_K", 84, 256},
    [HYV_Q3_K] = {"Q3_K", 110, 256},
    [HYV_Q4_K] = {"Q4_K", 144, 256},
    [HYV_Q5_K] = {"Q5_K", 176, 256},
    [HYV_Q6_K] = {"Q6_K", 210, 256},
    [HYV_IQ4_XS] = {"IQ4_XS", 136, 256},
    [HYV_F64] = {"F64", 8, 0},
    [HYV_I8] = {"I8", 1, 0},
    [HYV_U8] = {"U8", 1, 0},
    [HYV_I16] = {"I16", 2, 0},
    [HYV_I32] = {"I32", 4, 0},
    [HYV_I64] = {"I64", 8, 0},
    [HYV_BOOL] = {"BOOL", 1, 0},
};

static bool known(hyv_type type)
{
    return (unsigned)type < HYV_TYPES;
}

const char *hyv_type_name(hyv_type type)
{
    return known(type) ? types[type].name : "?";
}

bool hyv_type_is_float(hyv_type type)
{
    return (unsigned)type <= HYV_F8_E5M2;
}

bool hyv_type_is_weight(hyv_type type)
{
    return (unsigned)type <= HYV_IQ4_XS;
}

int64_t hyv_type_block(hyv_type type)
{
    return known(type) && types[type].block ? types[type].block : 1;
}

size_t hyv_type_bytes(hyv_type type)
{
    return known(type) ? types[type].bytes : 0;
}

size_t hyv_type_size(hyv_type type, int64_t count)
{
    const size_t bytes = hyv_type_bytes(type);
    const int64_t block = hyv_type_block(type);
    if (count < 0 || count % block || bytes == 0 || (uint64_t)(count / block) > SIZE_MAX / bytes)
        return 0;
    return (size_t)(count / block) * bytes;
}

int64_t hyv_type_step(hyv_type type, int64_t elements)
{
    return elements / hyv_type_block(type) * (int64_t)hyv_type_bytes(type);
}

static void *offset(hyv_mat m, int64_t elements)
{
    return m.data ? (char *)m.data + hyv_type_step(m.type, elements) : NULL;
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
