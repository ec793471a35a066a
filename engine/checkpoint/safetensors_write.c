/* The header of a safetensors file: see writer.h.
 *
 * Layout follows the format's README: eight bytes of length, JSON padded with blanks to eight, then
 * the data without gaps. The format has no keys but strings, of which readers of the diffusers
 * layout want one, "format". Knows no models.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../base/json.h"
#include "writer.h"

enum { LENGTH_BYTES = 8 };

static bool holds(hyv_type type)
{
    return hyv_type_is_float(type);
}

/* {"dtype": ..., "shape": [...], "data_offsets": [begin, end]}; NULL: no memory. */
static json_t *describe(const hyv_tensor *t, uint64_t begin)
{
    json_t *shape = json_array();
    for (int i = 0; i < t->rank; i++)
        json_array_append_new(shape, json_integer(t->shape[i]));
    json_t *item =
        json_pack("{s:s,s:o,s:[I,I]}", "dtype", hyv_type_name(t->type), "shape", shape,
                  "data_offsets", (json_int_t)begin, (json_int_t)(begin + t->size_bytes));
    const bool whole = item && json_array_size(shape) == (size_t)t->rank;
    if (item && !whole)
        json_decref(item);
    return whole ? item : NULL;
}

static json_t *describe_all(const hyv_tensor *const *list, int64_t count)
{
    json_t *root = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    uint64_t at = 0;
    bool memory = root != NULL;
    for (int64_t i = 0; memory && i < count; i++) {
        memory = json_object_set_new(root, list[i]->name, describe(list[i], at)) == 0;
        at += list[i]->size_bytes;
    }
    if (!memory)
        json_decref(root);
    return memory ? root : NULL;
}

static int header(hyv_string *out, const hyv_tensor *const *list, int64_t count,
                  const hyv_keys *keys)
{
    (void)keys;
    json_t *root = describe_all(list, count);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    const size_t length = text ? strlen(text) : 0;
    const uint64_t padded = (length + 7) / 8 * 8;
    for (int i = 0; i < LENGTH_BYTES; i++) {
        const char byte = (char)(padded >> 8 * i);
        hyv_string_append_bytes(out, &byte, 1);
    }
    hyv_string_append_bytes(out, text ? text : "", length);
    hyv_string_append_bytes(out, "       ", (size_t)(padded - length));
    const bool failed = !text || out->failed;
    free(text); /* jansson's */
    json_decref(root);
    return failed ? -ENOMEM : 0;
}

const hyv_writer hyv_writer_safetensors = {"safetensors", ".safetensors", 1, holds, header};
