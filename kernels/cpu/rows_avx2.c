/* The row functions, compiled for AVX2. */
#if defined(__x86_64__)
#include "softmax_avx2.h"

#define ROWS_TABLE hyv_rows_avx2
#include "rows_kernels.h"
#else
typedef int hyv_rows_avx2_is_for_x86_64;
#endif
