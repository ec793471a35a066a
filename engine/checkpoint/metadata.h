/* Keys and values that stand beside the tensors of a GGUF file.
 *
 * Values stay in the mapped file and are read when asked for; the reader has checked every length.
 * Strings are bytes of the file, neither terminated nor known to be UTF-8: they are data, never a
 * path, a format or a template to run. Knows the value types, not what a key means.
 */
#ifndef HYV_CHECKPOINT_METADATA_H
#define HYV_CHECKPOINT_METADATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* GGUF's own numbers. */
enum hyv_value_type {
    HYV_VALUE_U8,
    HYV_VALUE_I8,
    HYV_VALUE_U16,
    HYV_VALUE_I16,
    HYV_VALUE_U32,
    HYV_VALUE_I32,
    HYV_VALUE_F32,
    HYV_VALUE_BOOL,
    HYV_VALUE_STRING,
    HYV_VALUE_ARRAY,
    HYV_VALUE_U64,
    HYV_VALUE_I64,
    HYV_VALUE_F64,
    HYV_VALUE_TYPES
};

/* A value, or an array of values of one type. */
typedef struct hyv_value {
    char *key;
    enum hyv_value_type type; /* of the elements; never ARRAY */
    bool array;
    int64_t count;       /* elements; 1 if it is no array */
    const uint8_t *data; /* elements one after the other; a string is a u64 length and its bytes */
} hyv_value;

typedef struct hyv_metadata {
    hyv_value *list; /* sorted by key */
    size_t count, capacity;
} hyv_metadata;

/* NULL if there is no such key. */
const hyv_value *hyv_metadata_find(const hyv_metadata *m, const char *key);

/* A single value, by key; false (and *out untouched) if there is none or it is of another kind.
 * Integers of any width that fit, floats (and integers) of any width, strings. */
bool hyv_metadata_int(const hyv_metadata *m, const char *key, int64_t *out);
bool hyv_metadata_float(const hyv_metadata *m, const char *key, double *out);
bool hyv_metadata_string(const hyv_metadata *m, const char *key, const char **text, size_t *length);
/* Is the string under this key equal to `text`? */
bool hyv_metadata_equals(const hyv_metadata *m, const char *key, const char *text);

/* Walks the elements of a value, an array or not: start with hyv_value_walk, then call the one that
 * fits the type until it returns false (the end, or another kind of element). */
typedef struct hyv_walk {
    const hyv_value *value;
    const uint8_t *at;
    int64_t left;
} hyv_walk;
hyv_walk hyv_value_walk(const hyv_value *value);
bool hyv_walk_int(hyv_walk *w, int64_t *out);
bool hyv_walk_float(hyv_walk *w, double *out);
bool hyv_walk_string(hyv_walk *w, const char **text, size_t *length);

/* Bytes of a value of a fixed size, 0 for strings, arrays and unknown types. */
size_t hyv_value_bytes(uint32_t type);

/* For readers: appends a value whose key has key_bytes bytes, unsorted; 0 or -ENOMEM. Then
 * hyv_metadata_sort: NULL, or a key that stands twice. */
int hyv_metadata_add(hyv_metadata *m, const hyv_value *value, const char *key, size_t key_bytes);
const char *hyv_metadata_sort(hyv_metadata *m);
void hyv_metadata_free(hyv_metadata *m);

#endif
