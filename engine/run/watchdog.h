/* Finds numbers that are none, or have run away, where they arise.
 *
 * Looks at the output of every block of every network. The first NaN, Inf or absurdly large value
 * stops the run with the place; a weight that holds one is named. Costs a read of each output, far
 * below a percent of making it.
 */
#ifndef HYV_RUN_WATCHDOG_H
#define HYV_RUN_WATCHDOG_H

#include "model.h"

/* Beyond this the squares that norms sum up overflow. */
#define HYV_EXPLODING 1e18f

typedef struct hyv_watchdog {
    hyv_backend *be;
    const hyv_network *network;
    int step, steps; /* being done, from 1; 0: the phase has none */
} hyv_watchdog;

/* False after it has failed the backend (-EBADMSG, with a message). */
bool hyv_watchdog_look(const hyv_watchdog *w, const char *module, int index, hyv_mat value);

#endif
