#include "gguf.h"

#include <stdio.h>
#include <string.h>

#include "check.h"

void gguf_put(hyv_string *s, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        const char byte = (char)(value >> 8 * i);
        hyv_string_append_bytes(s, &byte, 1);
    }
}

void gguf_put_string(hyv_string *s, const char *text, size_t length)
{
    gguf_put(s, length, 8);
    hyv_string_append_bytes(s, text, length);
}

void gguf_key(gguf_file *f, const char *key, uint32_t type)
{
    gguf_put_string(&f->values, key, strlen(key));
    gguf_put(&f->values, type, 4);
    f->value_count++;
}

void gguf_key_u32(gguf_file *f, const char *key, uint32_t value)
{
    gguf_key(f, key, HYV_VALUE_U32);
    gguf_put(&f->values, value, 4);
}

void gguf_key_string(gguf_file *f, const char *key, const char *value)
{
    gguf_key(f, key, HYV_VALUE_STRING);
    gguf_put_string(&f->values, value, strlen(value));
}

uint32_t gguf_number(hyv_type type)
{
    static const uint32_t numbers[HYV_TYPES] = {
        [HYV_F32] = 0,   [HYV_F16] = 1,   [HYV_Q4_0] = 2,    [HYV_Q4_1] = 3,    [HYV_Q5_0] = 6,
        [HYV_Q5_1] = 7,  [HYV_Q8_0] = 8,  [HYV_Q2_K] = 10,   [HYV_Q3_K] = 11,   [HYV_Q4_K] = 12,
        [HYV_Q5_K] = 13, [HYV_Q6_K] = 14, [HYV_IQ4_NL] = 20, [HYV_IQ4_XS] = 23, [HYV_I8] = 24,
        [HYV_I16] = 25,  [HYV_I32] = 26,  [HYV_I64] = 27,    [HYV_F64] = 28,    [HYV_BF16] = 30};
    return numbers[type];
}

void gguf_describe(gguf_file *f, const char *name, int rank, const int64_t *shape, uint32_t number,
                   uint64_t offset)
{
    gguf_put_string(&f->tensors, name, strlen(name));
    gguf_put(&f->tensors, (uint64_t)rank, 4);
    for (int i = rank - 1; i >= 0; i--)
        gguf_put(&f->tensors, (uint64_t)shape[i], 8);
    gguf_put(&f->tensors, number, 4);
    gguf_put(&f->tensors, offset, 8);
    f->tensor_count++;
}

static void pad(hyv_string *s, uint32_t alignment)
{
    while (s->length % alignment)
        gguf_put(s, 0, 1);
}

void gguf_tensor(gguf_file *f, const char *name, int rank, const int64_t *shape, hyv_type type,
                 const void *data)
{
    int64_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= shape[i];
    pad(&f->data, f->alignment ? f->alignment : 32);
    gguf_describe(f, name, rank, shape, gguf_number(type), f->data.length);
    hyv_string_append_bytes(&f->data, data, hyv_type_size(type, count));
}

hyv_string gguf_bytes(gguf_file *f)
{
    hyv_string s = {0};
    hyv_string_append_bytes(&s, "GGUF", 4);
    gguf_put(&s, f->version ? f->version : 3, 4);
    gguf_put(&s, f->tensor_count + (uint64_t)f->more_tensors, 8);
    gguf_put(&s, f->value_count + (uint64_t)f->more_values, 8);
    hyv_string_append_bytes(&s, hyv_string_text(&f->values), f->values.length);
    hyv_string_append_bytes(&s, hyv_string_text(&f->tensors), f->tensors.length);
    pad(&s, f->alignment ? f->alignment : 32);
    hyv_string_append_bytes(&s, hyv_string_text(&f->data), f->data.length);
    hyv_string_free(&f->values);
    hyv_string_free(&f->tensors);
    hyv_string_free(&f->data);
    *f = (gguf_file){0};
    return s;
}

bool gguf_write(gguf_file *f, const char *path)
{
    hyv_string s = gguf_bytes(f);
    FILE *file = fopen(path, "wb");
    bool ok = CHECK_MSG(file != NULL, "%s cannot be written", path);
    if (file) {
        ok = fwrite(hyv_string_text(&s), 1, s.length, file) == s.length;
        ok = CHECK_MSG(fclose(file) == 0 && ok, "%s cannot be written", path);
    }
    hyv_string_free(&s);
    return ok;
}
