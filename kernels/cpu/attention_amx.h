/* attention.c's version for products in tiles of bf16. */
#ifndef HYV_CPU_ATTENTION_AMX_H
#define HYV_CPU_ATTENTION_AMX_H

#include "gemm.h"

void hyv_attention_amx(hyv_backend *be, hyv_mat y, hyv_mat q, hyv_mat k, hyv_mat v, int heads,
                       int64_t causal);
size_t hyv_attention_amx_scratch(int64_t k_rows, int64_t head_dim, int key_heads, int threads);

/* Key heads whose keys and values are packed at once, `packed` floats each: several where they are
 * small, so that there are tasks for all threads, and rows are read in longer pieces. For both
 * versions. */
static inline int64_t hyv_attention_heads(int64_t packed, int64_t key_heads)
{
    enum { AT_ONCE = 1572864 }; /* floats; of one head there may be more */
    const int64_t fitting = AT_ONCE / packed;
    return fitting < 1 ? 1 : fitting < key_heads ? fitting : key_heads;
}

#endif
