/* The row functions, compiled for AVX512. */
#if defined(__x86_64__)
#include "softmax_avx512.h"

#define ROWS_TABLE hyv_rows_avx512
#include "rows_kernels.h"
#else
typedef int hyv_rows_avx512_is_for_x86_64;
#endif
