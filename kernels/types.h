/* Element types and the matrix view: the nouns of the operator interface.
 *
 * A type is either plain (one element a block) or a GGUF block type, whose sizes follow ggml's
 * published layout. Decoders for single elements stand in half.h (16 and 8 bit floats) and quant.h
 * (blocks). This header knows no backend and no file format.
 */
#ifndef HYV_KERNELS_TYPES_H
#define HYV_KERNELS_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Storage types. The order is private; files name types by their own codes. */
typedef enum hyv_type {
    HYV_F32,
    HYV_F16,
    HYV_BF16,
    HYV_F8_E4M3, /* e4m3fn: bias 7, no infinities, NaN = 0x7f and 0xff */
    HYV_F8_E5M2,
    HYV_Q4_0, /* blocks of 32 elements with a scale of their own */
    HYV_Q4_1,
    HYV_Q5_0,
    HYV_Q5_1,
    HYV_Q8_0,
    HYV_IQ4_NL,
    HYV_Q2_K, /* blocks of 256 elements in parts of 16 or 32, each with a small scale */
    HYV_Q3_K,
    HYV_Q4_K,
    HYV_Q5_K,
    HYV_Q6_K,
    HYV_IQ4_XS,
    HYV_F64, /* the rest never reaches an operator: metadata in files */
    HYV_I8,
    HYV_U8,
    HYV_I16,
    HYV_I32,
    HYV_I64,
    HYV_BOOL,
    HYV_TYPES
} hyv_type;

enum { HYV_BLOCK_MAX = 256 }; /* elements of the longest block */

/* Name as in safetensors headers ("BF16") or in GGUF's tables ("Q4_K"); "?" outside the range. */
const char *hyv_type_name(hyv_type type);

/* A float type of which every element stands for itself; and any type that a weight may have: such
 * a float or a block type. */
bool hyv_type_is_float(hyv_type type);
bool hyv_type_is_weight(hyv_type type);

/* Elements in a block (1 for plain types) and bytes of a block. */
int64_t hyv_type_block(hyv_type type);
size_t hyv_type_bytes(hyv_type type);

/* Bytes of `count` elements, 0 if that overflows or count is not a multiple of the block. */
size_t hyv_type_size(hyv_type type, int64_t count);

/* A view of a matrix; owns nothing. Rows are tokens or voxels, columns are channels. */
typedef struct hyv_mat {
    void *data; /* device address; host address on the CPU backend */
    int64_t rows;
    int64_t cols;
    int64_t ld; /* elements from one row to the next, >= cols; whole blocks */
    hyv_type type;
} hyv_mat;

/* Bytes from an element of a matrix to one `elements` further on: whole blocks only. */
int64_t hyv_type_step(hyv_type type, int64_t elements);

/* Rows [first, first + n) of m. */
hyv_mat hyv_rows(hyv_mat m, int64_t first, int64_t n);

/* Columns [first, first + n) of m; plain types only, or whole blocks. */
hyv_mat hyv_cols(hyv_mat m, int64_t first, int64_t n);

/* A size of the three-dimensional grid whose voxels are the rows of a matrix, w fastest. */
typedef struct hyv_grid {
    int64_t t, h, w;
} hyv_grid;

static inline int64_t hyv_grid_rows(hyv_grid g)
{
    return g.t * g.h * g.w;
}

#endif
