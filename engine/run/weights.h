/* From a checkpoint to weights on a backend: look up, check, convert, repack, upload, through a
 * model's bind list.
 *
 * On a backend whose memory is the host's, plain matrices stay views into the mapped file in the
 * type they were stored in; vectors become f32, and what needs another layout is repacked,
 * keeping its type (f32 where that would cut GGUF's blocks): once, or for a block of weights each
 * time it is entered. On a dry backend everything but
 * reading is done: shapes are checked and bytes counted, which is how a plan is made before
 * anything is allocated. Knows files and types, not what a tensor is for.
 */
#ifndef HYV_RUN_WEIGHTS_H
#define HYV_RUN_WEIGHTS_H

#include "../base/log.h"
#include "../checkpoint/names.h"
#include "../model/bind.h"
#include "residency.h"

typedef struct hyv_weights hyv_weights;

/* `names`: how the file calls our tensors. `component` names the part in messages ("transformer").
 * checkpoint and backend must outlive the set. */
int hyv_weights_new(hyv_weights **w, hyv_backend *be, hyv_checkpoint *checkpoint,
                    const hyv_names *names, const char *component, hyv_log *log);
void hyv_weights_free(hyv_weights **w);

/* A binder that fills a model's weights from this set. After the bind call hyv_weights_status tells
 * how it went. */
hyv_binder hyv_weights_binder(hyv_weights *w);

/* 0, or -ENOTSUP with one message that names the first missing or misshapen tensors and their
 * number; -ENOMEM. */
int hyv_weights_status(hyv_weights *w);

/* Which of the weights used in place are in memory; lives as long as the set. */
hyv_residency *hyv_weights_residency(hyv_weights *w);

/* Bytes allocated on the backend (converted, repacked), and bytes of the mapped file that are read
 * in place or when their block is entered. */
size_t hyv_weights_owned_bytes(const hyv_weights *w);
size_t hyv_weights_mapped_bytes(const hyv_weights *w);

/* Called for each tensor that was missing or had the wrong shape; set before binding. name: as in
 * the file; may be NULL. */
typedef void hyv_weights_fault(void *opaque, const char *name, bool misshapen, const char *note);
void hyv_weights_report(hyv_weights *w, void *opaque, hyv_weights_fault *report);

/* Row `row` of a table that the binder gave, as f32: out[table.cols]. */
void hyv_table_row(float *out, hyv_mat table, int64_t row);

#endif
