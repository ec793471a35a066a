/* Which of a network's mapped weights are in memory, block by block.
 *
 * Weights stay in the file and are read through its map. The blocks that a model announces while it
 * is bound (see bind.h) are the unit: those that fit into the budget stay once they were read; the
 * others are read ahead while the block before them computes, and given back after use. Results
 * cannot depend on it. Knows no tensor and no model.
 */
#ifndef HYV_RUN_RESIDENCY_H
#define HYV_RUN_RESIDENCY_H

#include "../../kernels/ops.h"
#include "../checkpoint/checkpoint.h"

typedef struct hyv_residency hyv_residency;

/* What a budget makes of a network. */
typedef struct hyv_residency_plan {
    size_t peak;     /* most bytes of the file that are in memory at a time */
    size_t least;    /* the same under the smallest budget that can work */
    size_t again;    /* bytes read each time the network runs, once all that fits is there */
    size_t first;    /* bytes read the first time */
    bool everything; /* nothing is given back before the end but what is used once */
} hyv_residency_plan;

/* file and backend outlive it. arrived: called when a block is entered, once its bytes were asked
 * for; not on a dry backend. -ENOMEM. */
int hyv_residency_new(hyv_residency **r, hyv_backend *be, hyv_checkpoint *file, void *opaque,
                      void (*arrived)(void *opaque, int index));
void hyv_residency_free(hyv_residency **r);

/* While binding: a block begins; without `out` its weights are always wanted. once: it is used in
 * one run only. Returns its index, 0 if it is always wanted. */
int hyv_residency_block(hyv_residency *r, hyv_block *out, bool once);
/* Mapped bytes that belong to the block. */
void hyv_residency_add(hyv_residency *r, const void *data, size_t bytes);
/* 0, or -ENOMEM if one of the calls above ran short. */
int hyv_residency_status(const hyv_residency *r);

/* Divides `budget` bytes: afterwards blocks stay or go by it. Any time before the first run. */
hyv_residency_plan hyv_residency_fit(hyv_residency *r, size_t budget);

#endif
