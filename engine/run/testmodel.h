/* The model "test": moving pictures from integer arithmetic, without weights.
 *
 * Same bytes on every machine for the same prompt, seed and size; any valid size and length. The
 * options test_step_ms, test_frame_ms and test_fail make it slow or make it fail, so that programs
 * around the library can be tested for what they do then. Knows nothing of real models.
 */
#ifndef HYV_RUN_TESTMODEL_H
#define HYV_RUN_TESTMODEL_H

#include "source.h"

/* Its open and start cannot fail but for memory and test_fail: "plan" makes start fail with
 * -ENOENT, "first" and a frame number N (counted from 0) make that read fail with -ENOMEM. */
extern const hyv_source hyv_testmodel;

#endif
