/* Looking into a model: what it is, what its tensors are like, and everything that is wrong with
 * it.
 *
 * Takes the steps by which a model is opened, one by one, and goes on where the engine would stop:
 * a fault of one component hides none of another's. With hyv_inspection.values every value of every
 * tensor is read, too. Changes nothing.
 */
#ifndef HYV_RUN_DOCTOR_H
#define HYV_RUN_DOCTOR_H

#include "source.h"

/* hyv_source.inspect of the real model. */
int hyv_doctor_examine(const hyv_params *params, const hyv_run *run, const hyv_inspection *to,
                       void *opaque);

#endif
