/* A checkpoint: named tensors in mapped files, whatever container and naming they came in.
 *
 * hyv_checkpoint_open takes one component (say, transformer/): a file, a folder with one weights
 * file, or a folder with shards and an index. Every length, offset and shape is checked against the
 * file before a tensor is listed. Data pointers lead into the maps, so they may be unaligned and
 * nothing is read until someone looks. Knows containers (spec: safetensors README) but not what a
 * tensor is for.
 */
#ifndef HYV_CHECKPOINT_H
#define HYV_CHECKPOINT_H

#include <stddef.h>
#include <stdint.h>

#include "../../kernels/types.h"
#include "../base/log.h"
#include "../base/util.h"
#include "metadata.h"

enum {
    HYV_TENSOR_RANK_MAX = 8,
    HYV_TENSOR_NAME_MAX = 512,
    HYV_TENSORS_MAX = 100000,
    HYV_SHARDS_MAX = 1000
};

typedef struct hyv_tensor {
    const char *name; /* owned by the checkpoint */
    hyv_type type;
    int rank; /* 0: a scalar */
    int64_t shape[HYV_TENSOR_RANK_MAX];
    int64_t count;    /* elements */
    const void *data; /* in the map; possibly unaligned */
    size_t size_bytes;
    bool pairs;   /* rows of each attention head stand as rotary pairs already (GGUF of a Llama) */
    int64_t used; /* marked by whoever binds it */
} hyv_tensor;

typedef struct hyv_checkpoint hyv_checkpoint;

/* What a container format provides: one file, `map` open, appends its tensors with
 * hyv_checkpoint_add. */
typedef struct hyv_reader {
    const char *name;
    int (*probe)(const hyv_map *map); /* true: it is mine */
    int (*open)(hyv_checkpoint *c, const hyv_map *map, const char *path, hyv_log *log);
} hyv_reader;

extern const hyv_reader hyv_reader_safetensors, hyv_reader_gguf, hyv_reader_torchpt;

/* `path`: a file or folder. Errors name the file: -ENOENT, -EBADMSG (with what was expected and
 * found), -ENOTSUP (a container this build does not read, an LFS pointer, an HTML page: named). */
int hyv_checkpoint_open(hyv_checkpoint **c, const char *path, hyv_log *log);
void hyv_checkpoint_close(hyv_checkpoint **c);

/* For readers. Checks name, rank, product, and that the range lies in the map; copies the name;
 * -EBADMSG on duplicates. */
int hyv_checkpoint_add(hyv_checkpoint *c, const hyv_tensor *tensor, const char *path, hyv_log *log);

int64_t hyv_checkpoint_count(const hyv_checkpoint *c);
hyv_tensor *hyv_checkpoint_at(hyv_checkpoint *c, int64_t index);

/* By exact name, after the common prefix that hyv_checkpoint_strip found; NULL if there is none.
 * Constant time. */
hyv_tensor *hyv_checkpoint_find(hyv_checkpoint *c, const char *name);

/* Removes `prefix` from every name that has it, when more than half of the names do. Returns how
 * many were renamed. */
int64_t hyv_checkpoint_strip(hyv_checkpoint *c, const char *prefix);

/* GGUF's keys and values; empty for other containers. Points into the maps. */
hyv_metadata *hyv_checkpoint_metadata(hyv_checkpoint *c);

size_t hyv_checkpoint_bytes(const hyv_checkpoint *c);
const char *hyv_checkpoint_path(const hyv_checkpoint *c);
/* The file of one of its tensors. */
const char *hyv_checkpoint_tensor_path(const hyv_checkpoint *c, const hyv_tensor *tensor);

/* Tells the system that mapped bytes will be looked at soon; it reads these pages and no others. */
void hyv_checkpoint_expect(const void *data, size_t bytes);

/* Tells the system that the mapped pages are not needed any more: of all files; of some bytes,
 * which with `cache` are taken out of its page cache too. Both can be read again. */
void hyv_checkpoint_drop(hyv_checkpoint *c);
void hyv_checkpoint_release(hyv_checkpoint *c, const void *data, size_t bytes, bool cache);

#endif
