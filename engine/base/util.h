/* What C lacks for this engine: checked sizes, a string builder, whole files, memory maps, time,
 * and an allocator that tests can fail.
 *
 * Every allocation of the engine goes through hyv_malloc and friends. Knows no options, no models,
 * no log.
 */
#ifndef HYV_BASE_UTIL_H
#define HYV_BASE_UTIL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* *out = a * b, or a + b; false (and *out untouched) if that does not fit. */
bool hyv_mul_size(size_t a, size_t b, size_t *out);
bool hyv_add_size(size_t a, size_t b, size_t *out);

/* Memory: malloc, calloc, realloc with a checked product; NULL if it overflows or memory is short.
 * A count of 0 gives a valid pointer. */
void *hyv_malloc(size_t count, size_t size);
void *hyv_calloc(size_t count, size_t size);
void *hyv_realloc(void *p, size_t count, size_t size);
void hyv_free_host(void *p);
char *hyv_strdup(const char *s);
char *hyv_strndup(const char *s, size_t n);

/* A growing string. After a failed allocation it stays empty and `failed` is set; text is never
 * NULL. */
typedef struct hyv_string {
    char *text;
    size_t length, capacity;
    bool failed;
} hyv_string;

void hyv_string_append(hyv_string *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void hyv_string_append_bytes(hyv_string *s, const char *bytes, size_t n);
const char *hyv_string_text(const hyv_string *s); /* "" while empty */
void hyv_string_free(hyv_string *s);

/* How many leading bytes of `text` are valid UTF-8: `size` if all are. */
size_t hyv_utf8_check(const char *text, size_t size);

/* A regular file mapped read-only. */
typedef struct hyv_map {
    const uint8_t *data;
    size_t size;
} hyv_map;

/* 0, or negative errno (-EISDIR for a folder, -EINVAL for anything else that is not a regular
 * file). An empty file has size 0. Data is never NULL after a call of either. */
int hyv_map_open(hyv_map *map, const char *path);
void hyv_map_close(hyv_map *map);

/* The whole of a file of at most `max` bytes, with a NUL behind it that *size does not count. Works
 * on pipes; a signal that arrives meanwhile ends it with -EINTR. -EFBIG if it is larger. *text is
 * freed with hyv_free_host. */
int hyv_file_read(char **text, size_t *size, const char *path, size_t max);

/* "folder/name" in a new string, NULL if memory is short. */
char *hyv_path_join(const char *folder, const char *name);
bool hyv_path_is_folder(const char *path);
bool hyv_path_is_file(const char *path);

/* Seconds from an arbitrary, monotonic origin. */
double hyv_seconds(void);

/* Parse the whole string; false on anything else than one number in range. '.' is the decimal point
 * whatever the locale. */
bool hyv_parse_int(const char *text, int64_t *value);
bool hyv_parse_double(const char *text, double *value);

#endif
