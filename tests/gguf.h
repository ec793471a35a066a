/* Writes GGUF files for tests, right ones and wrong ones: every number can be given. */
#ifndef HYV_TESTS_GGUF_H
#define HYV_TESTS_GGUF_H

#include "../engine/base/util.h"
#include "../engine/checkpoint/metadata.h"
#include "../kernels/types.h"

typedef struct gguf_file {
    uint32_t version;                  /* 0: 3 */
    uint32_t alignment;                /* 0: 32; not written as a key */
    int64_t more_values, more_tensors; /* added to the numbers that the header says */
    hyv_string values, tensors, data;
    uint64_t value_count, tensor_count;
} gguf_file;

/* Little-endian pieces. */
void gguf_put(hyv_string *s, uint64_t value, int bytes);
void gguf_put_string(hyv_string *s, const char *text, size_t length);

/* A key and the type of its value, which the caller appends to f->values; and whole pairs. */
void gguf_key(gguf_file *f, const char *key, uint32_t type);
void gguf_key_u32(gguf_file *f, const char *key, uint32_t value);
void gguf_key_string(gguf_file *f, const char *key, const char *value);

/* The description of a tensor, shape slowest first, and its data at the next aligned offset. */
void gguf_describe(gguf_file *f, const char *name, int rank, const int64_t *shape, uint32_t number,
                   uint64_t offset);
void gguf_tensor(gguf_file *f, const char *name, int rank, const int64_t *shape, hyv_type type,
                 const void *data);

/* GGUF's number of a type. */
uint32_t gguf_number(hyv_type type);

/* The bytes of the file, and a file of them; frees what f holds. */
hyv_string gguf_bytes(gguf_file *f);
bool gguf_write(gguf_file *f, const char *path);

#endif
