/* Checkpoint files that are written: what a container format provides for that.
 *
 * A header is made whole from the list of tensors, whose sizes decide all offsets. Behind it the
 * caller puts the bytes of each tensor in the order of the list, with zeros up to the next multiple
 * of `alignment`. So a file is written from its first byte to its last and nothing of it need be in
 * memory. Knows no models; keys are the caller's.
 */
#ifndef HYV_CHECKPOINT_WRITER_H
#define HYV_CHECKPOINT_WRITER_H

#include "checkpoint.h"

/* GGUF's keys and values, in the file's form. */
typedef struct hyv_keys {
    hyv_string bytes;
    uint64_t count;
} hyv_keys;

void hyv_keys_string(hyv_keys *k, const char *key, const char *value);
void hyv_keys_u32(hyv_keys *k, const char *key, uint32_t value);
void hyv_keys_f32(hyv_keys *k, const char *key, float value);
/* A value of another GGUF file as it is. */
void hyv_keys_copy(hyv_keys *k, const hyv_value *value);

typedef struct hyv_writer {
    const char *name;   /* "safetensors", "GGUF" */
    const char *ending; /* of file names, with the dot */
    size_t alignment;   /* of the bytes of each tensor */
    bool (*holds)(hyv_type type);
    /* Appends everything that stands before the first tensor's bytes. Of a tensor name, type, shape
     * and size are read. 0 or -ENOMEM. */
    int (*header)(hyv_string *out, const hyv_tensor *const *list, int64_t count,
                  const hyv_keys *keys);
} hyv_writer;

extern const hyv_writer hyv_writer_safetensors, hyv_writer_gguf;

/* GGUF's number of a type, -1 if it has none. */
int hyv_gguf_number(hyv_type type);

#endif
