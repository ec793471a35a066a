/* A window into the forward pass: called with each module's output as it is made.
 *
 * Progress reports and the tests that compare stages both look through it. `module` is the name of
 * the diffusers layout without indices
 * ("transformer_blocks"), `index` which of them, -1 if there is only one; the value may be
 * overwritten as soon as the call returns. Not looking (NULL) costs nothing.
 */
#ifndef HYV_MODEL_WATCH_H
#define HYV_MODEL_WATCH_H

#include "../../kernels/types.h"

typedef struct hyv_watch {
    void *opaque;
    void (*see)(void *opaque, const char *module, int index, hyv_mat value);
} hyv_watch;

static inline void hyv_see(const hyv_watch *watch, const char *module, int index, hyv_mat value)
{
    if (watch && watch->see)
        watch->see(watch->opaque, module, index, value);
}

#endif
