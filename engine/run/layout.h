/* From a matrix as it lies in a file to the matrix that the kernels read: see hyv_layout in bind.h.
 *
 * Rows are reordered and taps put before channels; a row keeps its type, whole blocks of it if it
 * has blocks. Where that cannot be it becomes f32. Knows no names and no backend.
 */
#ifndef HYV_RUN_LAYOUT_H
#define HYV_RUN_LAYOUT_H

#include "../checkpoint/checkpoint.h"
#include "../model/bind.h"

/* What is still to be done to a tensor: some files have their rotary pairs in order already. */
hyv_layout hyv_layout_needed(const hyv_tensor *t, const hyv_matrix_spec *spec);

/* The element type of the kernels' matrix. */
hyv_type hyv_layout_type(const hyv_tensor *t, const hyv_matrix_spec *spec);

/* Fills host memory, dense [spec rows, cols], with the kernels' matrix, which begins at row `begin`
 * of the file's. values: room for spec->cols floats, not needed if the type stays. */
void hyv_layout_copy(void *host, const hyv_tensor *t, const hyv_matrix_spec *spec, int64_t begin,
                     float *values);

#endif
