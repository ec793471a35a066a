/* The row functions as plain C: the definition, and the choice among the versions. */
#define ROWS_TABLE hyv_rows_c
#include "rows_kernels.h"

const hyv_row_functions *hyv_rows_for(hyv_isa isa)
{
#if defined(__x86_64__)
    if (isa >= HYV_ISA_AVX512BF16)
        return &hyv_rows_avx512bf16;
    if (isa == HYV_ISA_AVX512)
        return &hyv_rows_avx512;
    if (isa == HYV_ISA_AVX2)
        return &hyv_rows_avx2;
#endif
    (void)isa;
    return &hyv_rows_c;
}
