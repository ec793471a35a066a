/* From the rows of a source to the bytes of a file's tensors: decoding, checking, encoding.
 *
 * Values pass through f32 a million at a time, on several threads, and straight into the output;
 * pages of the source are given back behind it. Memory is a few MiB whatever the tensors' sizes.
 * The bytes are the same for any number of threads. Knows neither names nor formats.
 */
#ifndef HYV_RUN_RECODE_H
#define HYV_RUN_RECODE_H

#include "../base/write.h"
#include "blueprint.h"
#include "source.h"

typedef struct hyv_recoder hyv_recoder;

/* threads: 0 for as many as the process may use. -ENOMEM after a message. */
int hyv_recoder_new(hyv_recoder **r, int threads, const hyv_run *run);
void hyv_recoder_free(hyv_recoder **r);

/* Elements that pass in writing an item, those that are read twice counted twice: what progress is
 * measured in. */
uint64_t hyv_recode_work(const hyv_item *item);

/* The file of a blueprint from its first byte to its last. `source`: whose tensors they are.
 * -EBADMSG for NaN and Inf, -ERANGE for values that the type cannot hold, each by the name of the
 * source's tensor; -ECANCELED; or what writing gave, after a message that names `path`. */
int hyv_recode_write(hyv_recoder *r, const hyv_blueprint *b, hyv_checkpoint *source,
                     const char *path);

/* All work to come, for progress; what was done is counted from then on. */
void hyv_recode_begin(hyv_recoder *r, uint64_t work, int64_t items);

/* Of the matrices of the last file that were rounded to another type: the root of the mean square
 * of what they lost, relative to that of the values. Negative: there were none. */
double hyv_recode_loss(const hyv_recoder *r);

#endif
