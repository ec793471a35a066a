/* Keeps a run on disk and takes it up again: the option "checkpoint".
 *
 * A keeper knows the file, what the run is, and what was found there. It is asked before the work
 * and told after each step. A place that cannot be written costs one warning, not the run. Knows
 * no networks.
 */
#ifndef HYV_RUN_KEEPER_H
#define HYV_RUN_KEEPER_H

#include <stdbool.h>

#include "fingerprint.h"
#include "params.h"
#include "plan.h"
#include "state.h"

typedef char hyv_hashes[HYV_COMPONENTS][HYV_FINGERPRINT_BYTES];

typedef struct hyv_keeper {
    char *path; /* NULL: nothing is kept */
    bool automatic, warned;
    json_t *identity;
    hyv_state found; /* step 0: nothing */
    hyv_log *log;
} hyv_keeper;

/* Finds the file and reads it. channels: of the latents. *seed becomes that of the file if the
 * run's was drawn. 0, or a message and -EINVAL (another run's), -EBADMSG (damaged), -ENOMEM. Clear
 * in any case. */
int hyv_keeper_open(hyv_keeper *k, const hyv_params *params, const hyv_plan *plan,
                    hyv_hashes hashes, int64_t channels, int64_t *seed, hyv_log *log);
void hyv_keeper_clear(hyv_keeper *k);

/* After a step. */
void hyv_keeper_keep(hyv_keeper *k, int step, const float *latents, int64_t rows, int64_t channels);

/* After the last frame: an automatic file is removed, a named one stays for decoding it again. */
void hyv_keeper_done(hyv_keeper *k);

#endif
