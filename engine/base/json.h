/* Bounded look-ups in JSON documents, over jansson.
 *
 * A document is parsed strictly (duplicate keys, trailing bytes and bad UTF-8 are errors) from
 * memory of a checked size. The get functions report a wrong type with the document's name and the
 * path of the member. Knows no models.
 */
#ifndef HYV_BASE_JSON_H
#define HYV_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "log.h"

typedef struct hyv_json {
    json_t *root;
    const char *name; /* of the file, for messages; not owned */
    hyv_log *log;
} hyv_json;

/* `name` must outlive the document. -EBADMSG with line and column, or what reading gave. Depth is
 * limited to `depth`. */
int hyv_json_parse(hyv_json *doc, const char *text, size_t size, int depth, const char *name,
                   hyv_log *log);
int hyv_json_load(hyv_json *doc, const char *path, size_t max_size, hyv_log *log);
void hyv_json_close(hyv_json *doc);

/* Member of the object `at` (NULL: the root). A missing member (or null) leaves *value untouched
 * and returns 0; 1 if it was there and right; -EBADMSG with a message if it has another type or is
 * outside [min, max]. */
int hyv_json_int(const hyv_json *doc, const json_t *at, const char *key, int64_t min, int64_t max,
                 int64_t *value);
int hyv_json_number(const hyv_json *doc, const json_t *at, const char *key, double min, double max,
                    double *value);
int hyv_json_bool(const hyv_json *doc, const json_t *at, const char *key, bool *value);
int hyv_json_string(const hyv_json *doc, const json_t *at, const char *key, const char **value);
/* An array of integers: *count entries at most on entry, found on return. */
int hyv_json_ints(const hyv_json *doc, const json_t *at, const char *key, int64_t min, int64_t max,
                  int64_t *values, int *count);

#endif
