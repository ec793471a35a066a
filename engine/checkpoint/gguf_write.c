/* The header of a GGUF file, version 3: see writer.h.
 *
 * Layout follows ggml's gguf.md: magic, version, counts, keys with values, descriptions of tensors
 * with sizes fastest first and offsets from the start of the data, zeros up to the alignment. Knows
 * no models.
 */
#include <errno.h>
#include <string.h>

#include "writer.h"

enum { VERSION = 3, ALIGNMENT = 32 /* the format's default, which needs no key */ };

static void put(hyv_string *s, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        const char byte = (char)(value >> 8 * i);
        hyv_string_append_bytes(s, &byte, 1);
    }
}

static void put_string(hyv_string *s, const char *text)
{
    put(s, strlen(text), 8);
    hyv_string_append_bytes(s, text, strlen(text));
}

static void put_key(hyv_keys *k, const char *key, enum hyv_value_type type)
{
    put_string(&k->bytes, key);
    put(&k->bytes, type, 4);
    k->count++;
}

void hyv_keys_string(hyv_keys *k, const char *key, const char *value)
{
    put_key(k, key, HYV_VALUE_STRING);
    put_string(&k->bytes, value);
}

void hyv_keys_u32(hyv_keys *k, const char *key, uint32_t value)
{
    put_key(k, key, HYV_VALUE_U32);
    put(&k->bytes, value, 4);
}

void hyv_keys_f32(hyv_keys *k, const char *key, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    put_key(k, key, HYV_VALUE_F32);
    put(&k->bytes, bits, 4);
}

void hyv_keys_copy(hyv_keys *k, const hyv_value *value)
{
    hyv_walk walk = hyv_value_walk(value);
    const char *text;
    size_t bytes = hyv_value_bytes(value->type) * (size_t)value->count, length;
    if (value->type == HYV_VALUE_STRING) {
        while (hyv_walk_string(&walk, &text, &length))
            continue;
        bytes = (size_t)(walk.at - value->data);
    }
    put_key(k, value->key, value->array ? HYV_VALUE_ARRAY : value->type);
    if (value->array) {
        put(&k->bytes, value->type, 4);
        put(&k->bytes, (uint64_t)value->count, 8);
    }
    hyv_string_append_bytes(&k->bytes, (const char *)value->data, bytes);
}

static bool holds(hyv_type type)
{
    return hyv_gguf_number(type) >= 0 && hyv_type_is_weight(type);
}

static void pad(hyv_string *s)
{
    while (!s->failed && s->length % ALIGNMENT)
        hyv_string_append_bytes(s, "", 1);
}

static int header(hyv_string *out, const hyv_tensor *const *list, int64_t count,
                  const hyv_keys *keys)
{
    uint64_t at = 0;
    hyv_string_append_bytes(out, "GGUF", 4);
    put(out, VERSION, 4);
    put(out, (uint64_t)count, 8);
    put(out, keys->count, 8);
    hyv_string_append_bytes(out, hyv_string_text(&keys->bytes), keys->bytes.length);
    for (int64_t i = 0; i < count; i++) {
        const hyv_tensor *t = list[i];
        put_string(out, t->name);
        put(out, (uint64_t)t->rank, 4);
        for (int k = t->rank - 1; k >= 0; k--)
            put(out, (uint64_t)t->shape[k], 8);
        put(out, (uint64_t)hyv_gguf_number(t->type), 4);
        put(out, at, 8);
        at += (t->size_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    pad(out);
    return out->failed || keys->bytes.failed ? -ENOMEM : 0;
}

const hyv_writer hyv_writer_gguf = {"GGUF", ".gguf", ALIGNMENT, holds, header};
