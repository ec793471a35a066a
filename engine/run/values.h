/* What the values of a tensor are like, seen once from first to last.
 *
 * The stored values are looked at, as the operators decode them; a scale that stands beside a
 * matrix is not applied. Memory stays small whatever the tensor's size: pages that were read are
 * given back. Knows no model.
 */
#ifndef HYV_RUN_VALUES_H
#define HYV_RUN_VALUES_H

#include "../checkpoint/checkpoint.h"

typedef struct hyv_values {
    int64_t nan, inf;
    double min, max; /* of the finite ones; 0 and 0 if there are none */
    bool zero;       /* there are values, and all of them are 0 */
} hyv_values;

/* Called after each stretch with the bytes that were read; non-zero stops. */
typedef int hyv_values_progress(void *opaque, size_t bytes);

/* Of a tensor whose type operators read (hyv_type_is_weight). 0, or -ECANCELED. */
int hyv_values_look(hyv_values *v, hyv_checkpoint *c, const hyv_tensor *t, void *opaque,
                    hyv_values_progress *progress);

#endif
