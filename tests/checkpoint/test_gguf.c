/* Opening GGUF files: every type and kind of value is read; whatever can be wrong is refused with a
 * message that says what; every prefix of a good file and thousands of damaged ones do no harm.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../engine/checkpoint/checkpoint.h"
#include "../../kernels/quant.h"
#include "../check.h"
#include "../gguf.h"

static char folder[] = "/tmp/hyv-gguf-XXXXXX";
static char path[64];

static void write_bytes(const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    if (CHECK_MSG(f != NULL, "cannot write %s", path)) {
        CHECK(fwrite(data, 1, size, f) == size);
        CHECK(fclose(f) == 0);
    }
}

static void check_refused(int err, const char *word)
{
    hyv_log log = {0};
    hyv_checkpoint *c = NULL;
    const int got = hyv_checkpoint_open(&c, path, &log);
    CHECK_MSG(got == err && c == NULL, "(%s): %d instead of %d: %s", word, got, err, log.error);
    CHECK_MSG(strstr(log.error, word) && strstr(log.error, path), "'%s' and the path not in: %s",
              word, log.error);
    hyv_checkpoint_close(&c);
}

static hyv_checkpoint *check_opens(void)
{
    hyv_log log = {0};
    hyv_checkpoint *c = NULL;
    CHECK_MSG(hyv_checkpoint_open(&c, path, &log) == 0, "%s", log.error);
    return c;
}

/* ---- what is right ---- */

static void test_types(void)
{
    static const int64_t shape[2] = {3, 512};
    uint8_t data[3 * 512 * 8];
    gguf_file f = {.version = 2};
    char name[16];
    int written = 0;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7 + i / 256);
    for (int t = 0; t < HYV_TYPES; t++) {
        if (gguf_number((hyv_type)t) == 0 && t != HYV_F32)
            continue; /* GGUF has no such type */
        data[0] = (uint8_t)t;
        snprintf(name, sizeof(name), "t%d", t);
        gguf_tensor(&f, name, 2, shape, (hyv_type)t, data);
        written++;
    }
    CHECK(written == 20);
    gguf_write(&f, path);
    hyv_checkpoint *c = check_opens();
    if (!c)
        return;
    CHECK(hyv_checkpoint_count(c) == written);
    for (int t = 0; t < HYV_TYPES; t++) {
        snprintf(name, sizeof(name), "t%d", t);
        const hyv_tensor *found = hyv_checkpoint_find(c, name);
        data[0] = (uint8_t)t;
        if (found)
            CHECK_MSG(found->type == (hyv_type)t && found->rank == 2 && found->shape[0] == 3 &&
                          found->shape[1] == 512 && found->count == 1536 && !found->pairs &&
                          found->size_bytes == hyv_type_size((hyv_type)t, 1536) &&
                          memcmp(found->data, data, found->size_bytes) == 0,
                      "type %d", t);
    }
    hyv_checkpoint_close(&c);
}

/* Ranks 0 to 5, a restored shape, an alignment of its own, gaps between tensors, prefixes. */
static void test_shapes(void)
{
    static const int64_t five[5] = {3, 2, 1, 2, 2}, one[1] = {24}, old[4] = {2, 3, 2, 2};
    float data[24];
    gguf_file f = {.alignment = 128};
    for (int i = 0; i < 24; i++)
        data[i] = (float)i;
    gguf_key_u32(&f, "general.alignment", 128);
    gguf_key(&f, "comfy.gguf.orig_shape.model.old", HYV_VALUE_ARRAY);
    gguf_put(&f.values, HYV_VALUE_I32, 4);
    gguf_put(&f.values, 4, 8);
    for (int i = 0; i < 4; i++)
        gguf_put(&f.values, (uint64_t)old[i], 4);
    gguf_tensor(&f, "model.five", 5, five, HYV_F32, data);
    gguf_tensor(&f, "model.old", 1, one, HYV_F32, data);
    gguf_tensor(&f, "model.scalar", 0, NULL, HYV_F32, data + 7);
    gguf_put(&f.data, 0, 1); /* a gap: the next one begins 128 bytes later */
    gguf_tensor(&f, "last", 1, one, HYV_F32, data);
    gguf_write(&f, path);
    hyv_checkpoint *c = check_opens();
    if (!c)
        return;
    const hyv_tensor *t = hyv_checkpoint_find(c, "model.five");
    CHECK(t && t->rank == 5 && memcmp(t->shape, five, sizeof(five)) == 0);
    CHECK(t && memcmp(t->data, data, sizeof(data)) == 0);
    CHECK(hyv_checkpoint_strip(c, "model.") == 3);
    t = hyv_checkpoint_find(c, "old");
    CHECK(t && t->rank == 4 && memcmp(t->shape, old, sizeof(old)) == 0);
    t = hyv_checkpoint_find(c, "scalar");
    CHECK(t && t->rank == 0 && t->count == 1 && memcmp(t->data, data + 7, 4) == 0);
    CHECK(hyv_checkpoint_find(c, "last") != NULL);
    hyv_checkpoint_close(&c);
}

static const struct {
    const char *key;
    uint32_t type;
    uint64_t bits;
    int64_t integer;
    double real;
} singles[] = {{"u8", HYV_VALUE_U8, 200, 200, 200},
               {"i8", HYV_VALUE_I8, 0x80, -128, -128},
               {"u16", HYV_VALUE_U16, 65535, 65535, 65535},
               {"i16", HYV_VALUE_I16, 0xffff, -1, -1},
               {"u32", HYV_VALUE_U32, 4294967295u, 4294967295, 4294967295.0},
               {"i32", HYV_VALUE_I32, 0x80000000u, -2147483648, -2147483648.0},
               {"u64", HYV_VALUE_U64, INT64_MAX, INT64_MAX, 9223372036854775807.0},
               {"i64", HYV_VALUE_I64, 1ull << 63, INT64_MIN, -9223372036854775808.0},
               {"bool", HYV_VALUE_BOOL, 1, 1, 1},
               {"f32", HYV_VALUE_F32, 0x3727c5ac, -7, 9.99999974737875163555e-06},
               {"f64", HYV_VALUE_F64, 0x411e848000000000, -7, 500000.0}};

static void check_singles(const hyv_metadata *m)
{
    for (size_t i = 0; i < sizeof(singles) / sizeof(singles[0]); i++) {
        int64_t integer = -7;
        double real = -7.0;
        const char *text = NULL;
        size_t length = 0;
        const bool whole = singles[i].type != HYV_VALUE_F32 && singles[i].type != HYV_VALUE_F64;
        CHECK_MSG(hyv_metadata_int(m, singles[i].key, &integer) == whole &&
                      integer == singles[i].integer,
                  "%s: %lld", singles[i].key, (long long)integer);
        CHECK_MSG(hyv_metadata_float(m, singles[i].key, &real) && real == singles[i].real,
                  "%s: %.20g", singles[i].key, real);
        CHECK(!hyv_metadata_string(m, singles[i].key, &text, &length) && !text);
    }
}

/* Every kind of value; arrays are walked. */
static void test_values(void)
{
    static const char *const tokens[] = {"a", "", "\xc4\xa0the", "\xff"};
    static const int64_t shape[1] = {1};
    const float zero = 0.0f;
    gguf_file f = {0};
    gguf_key_string(&f, "general.architecture", "hyvid");
    for (size_t i = 0; i < sizeof(singles) / sizeof(singles[0]); i++) {
        gguf_key(&f, singles[i].key, singles[i].type);
        gguf_put(&f.values, singles[i].bits, (int)hyv_value_bytes(singles[i].type));
    }
    gguf_key(&f, "large", HYV_VALUE_U64);
    gguf_put(&f.values, UINT64_MAX, 8);
    gguf_key(&f, "tokens", HYV_VALUE_ARRAY);
    gguf_put(&f.values, HYV_VALUE_STRING, 4);
    gguf_put(&f.values, 4, 8);
    for (int i = 0; i < 4; i++)
        gguf_put_string(&f.values, tokens[i], strlen(tokens[i]));
    gguf_key(&f, "types", HYV_VALUE_ARRAY);
    gguf_put(&f.values, HYV_VALUE_I16, 4);
    gguf_put(&f.values, 3, 8);
    gguf_put(&f.values, 0xfffe00010003, 6);
    gguf_key(&f, "empty", HYV_VALUE_ARRAY);
    gguf_put(&f.values, HYV_VALUE_F32, 4);
    gguf_put(&f.values, 0, 8);
    gguf_tensor(&f, "x", 1, shape, HYV_F32, &zero);
    gguf_write(&f, path);
    hyv_checkpoint *c = check_opens();
    if (!c)
        return;
    const hyv_metadata *m = hyv_checkpoint_metadata(c);
    const char *text = "";
    size_t length = 0;
    int64_t n = 5;
    double real;
    check_singles(m);
    CHECK(hyv_metadata_string(m, "general.architecture", &text, &length) && length == 5);
    CHECK(hyv_metadata_equals(m, "general.architecture", "hyvid"));
    CHECK(!hyv_metadata_equals(m, "general.architecture", "hyvi"));
    CHECK(!hyv_metadata_equals(m, "general.architecture", "hyvide"));
    CHECK(!hyv_metadata_equals(m, "general.name", "") && !hyv_metadata_equals(m, "u8", ""));
    CHECK(!hyv_metadata_int(m, "large", &n) && !hyv_metadata_int(m, "absent", &n) && n == 5);
    CHECK(!hyv_metadata_int(m, "general.architecture", &n));
    CHECK(!hyv_metadata_int(m, "types", &n) && !hyv_metadata_float(m, "empty", &real));
    CHECK(!hyv_metadata_string(m, "tokens", &text, &length));
    const hyv_value *v = hyv_metadata_find(m, "tokens");
    CHECK(v && v->array && v->count == 4 && v->type == HYV_VALUE_STRING);
    hyv_walk w = hyv_value_walk(v);
    CHECK(!hyv_walk_int(&w, &n));
    for (int i = 0; i < 4; i++)
        CHECK(hyv_walk_string(&w, &text, &length) && length == strlen(tokens[i]) &&
              memcmp(text, tokens[i], length) == 0);
    CHECK(!hyv_walk_string(&w, &text, &length));
    w = hyv_value_walk(hyv_metadata_find(m, "types"));
    CHECK(!hyv_walk_string(&w, &text, &length));
    CHECK(hyv_walk_int(&w, &n) && n == 3 && hyv_walk_int(&w, &n) && n == 1);
    CHECK(hyv_walk_float(&w, &real) && real == -2.0 && !hyv_walk_float(&w, &real));
    w = hyv_value_walk(hyv_metadata_find(m, "empty"));
    CHECK(!hyv_walk_float(&w, &real));
    w = hyv_value_walk(hyv_metadata_find(m, "absent"));
    CHECK(!hyv_walk_int(&w, &n));
    hyv_checkpoint_close(&c);
}

/* Which tensors have their rotary pairs in order: q and k of architecture llama. */
static void test_pairs(void)
{
    static const char *const names[] = {"blk.0.attn_q.weight", "blk.11.attn_k.weight",
                                        "blk.0.attn_q.bias",   "blk.0.attn_v.weight",
                                        "attn_q.weight",       "blk.0.attn_q_norm.weight"};
    static const int64_t shape[1] = {1};
    const float zero = 0.0f;
    for (int llama = 0; llama < 2; llama++) {
        gguf_file f = {0};
        gguf_key_string(&f, "general.architecture", llama ? "llama" : "qwen2");
        for (int i = 0; i < 6; i++)
            gguf_tensor(&f, names[i], 1, shape, HYV_F32, &zero);
        gguf_write(&f, path);
        hyv_checkpoint *c = check_opens();
        for (int i = 0; c && i < 6; i++)
            CHECK(hyv_checkpoint_find(c, names[i])->pairs == (llama && i < 3));
        hyv_checkpoint_close(&c);
    }
}

/* ---- what is wrong ---- */

enum { KEY_BYTES = 70000 };

static void string_key(gguf_file *f, size_t length)
{
    char *key = calloc(1, KEY_BYTES + 1);
    memset(key, 'k', length);
    gguf_key_string(f, key, "v");
    free(key);
}

static void array_of(gguf_file *f, uint32_t type, uint64_t count)
{
    gguf_key(f, "array", HYV_VALUE_ARRAY);
    gguf_put(&f->values, type, 4);
    gguf_put(&f->values, count, 8);
}

/* Counts and versions; false if `which` is none of them. */
static bool damage_counts(gguf_file *f, int which)
{
    static const struct {
        uint32_t version;
        int values, tensors;
    } counts[] = {{1, 0, 0},    {4, 0, 0},   {3u << 24, 0, 0}, {3, 65536, 0},
                  {3, -100, 0}, {3, 300, 0}, {3, 0, -3},       {3, 0, 200}};
    if (which >= (int)(sizeof(counts) / sizeof(*counts)))
        return false;
    f->version = counts[which].version;
    f->more_values = counts[which].values;
    f->more_tensors = counts[which].tensors;
    return true;
}

static bool damage_keys(gguf_file *f, int which)
{
    switch (which) {
    case 8:
        string_key(f, 0);
        return true;
    case 9:
        string_key(f, 65536);
        return true;
    case 10:
        gguf_key_string(f, "k\xff", "v");
        return true;
    case 11:
        gguf_put_string(&f->values, "a\0b", 3);
        gguf_put(&f->values, HYV_VALUE_U8, 4);
        gguf_put(&f->values, 0, 1);
        f->value_count++;
        return true;
    case 12:
        gguf_key_u32(f, "twice", 1);
        gguf_key_u32(f, "once", 1);
        gguf_key_u32(f, "twice", 2);
        return true;
    default:
        return false;
    }
}

/* Arrays of a type and a length, with `bytes` bytes of `value` in them. */
static bool damage_arrays(gguf_file *f, int which)
{
    static const struct {
        int which;
        uint32_t type;
        uint64_t count, value;
        int bytes;
    } arrays[] = {
        {14, HYV_VALUE_ARRAY, 1, 0, 0},
        {15, 77, 0, 0, 0},
        {16, HYV_VALUE_U8, (1 << 24) + 1, 0, 0},
        {17, HYV_VALUE_F64, 1 << 24, 0, 0},
        {18, HYV_VALUE_STRING, 1 << 20, 0, 0},
        {23, HYV_VALUE_BOOL, 2, 0x8001, 2},
        {30, HYV_VALUE_F32, 2, 0, 4}, /* the second is what follows: all else is shifted */
    };
    for (size_t i = 0; i < sizeof(arrays) / sizeof(*arrays); i++)
        if (arrays[i].which == which) {
            array_of(f, arrays[i].type, arrays[i].count);
            gguf_put(&f->values, arrays[i].value, arrays[i].bytes);
            return true;
        }
    return false;
}

/* Single values: a key, its type, and what stands where the value should. */
static void damage_values(gguf_file *f, int which)
{
    static const struct {
        int which;
        const char *key;
        uint32_t type;
        uint64_t value;
        int bytes;
    } values[] = {
        {13, "kind", 13, 0, 0},
        {19, "text", HYV_VALUE_STRING, (16 << 20) + 1, 8},
        {20, "text", HYV_VALUE_STRING, 1 << 20, 8},
        {21, "text", HYV_VALUE_STRING, UINT64_MAX, 8},
        {22, "truth", HYV_VALUE_BOOL, 2, 1},
        {24, "general.alignment", HYV_VALUE_U32, 0, 4},
        {25, "general.alignment", HYV_VALUE_U32, 4, 4},
        {26, "general.alignment", HYV_VALUE_U32, 48, 4},
        {27, "general.alignment", HYV_VALUE_U64, 32, 8},
        {28, "general.alignment", HYV_VALUE_U32, 1u << 31, 4},
        {29, "split.count", HYV_VALUE_U16, 3, 2},
    };
    if (damage_counts(f, which) || damage_keys(f, which) || damage_arrays(f, which))
        return;
    for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++)
        if (values[i].which == which) {
            gguf_key(f, values[i].key, values[i].type);
            gguf_put(&f->values, values[i].value, values[i].bytes);
        }
}

static const struct {
    int err;
    const char *word;
} value_words[] = {{-ENOTSUP, "GGUF version 1;"},
                   {-ENOTSUP, "GGUF version 4;"},
                   {-ENOTSUP, "big-endian"},
                   {-EBADMSG, "says that it has 65537 keys"},
                   {-EBADMSG, "says that it has 18446744073709551517 keys"},
                   {-EBADMSG, "says that it has 301 keys"},
                   {-EBADMSG, "says that it has 18446744073709551615 tensors"},
                   {-EBADMSG, "says that it has 202 tensors"},
                   {-EBADMSG, "a key at byte"},
                   {-EBADMSG, "has 65536 bytes, not 1 to 65535"},
                   {-EBADMSG, "is not UTF-8"},
                   {-EBADMSG, "is not UTF-8"},
                   {-EBADMSG, "key 'twice' stands twice"},
                   {-EBADMSG, "key 'kind': a value of the unknown type 13"},
                   {-EBADMSG, "key 'array': an array of values of type 9"},
                   {-EBADMSG, "key 'array': an array of values of type 77"},
                   {-EBADMSG, "key 'array': an array of more than 16777216 elements: 16777217"},
                   {-EBADMSG, "truncated: an array at byte"},
                   {-EBADMSG, "truncated: an array at byte"},
                   {-EBADMSG, "a string at byte"},
                   {-EBADMSG, "truncated: a string at byte"},
                   {-EBADMSG, "has 18446744073709551615 bytes, not 0 to 16777216"},
                   {-EBADMSG, "key 'truth': a boolean is neither 0 nor 1 but 2"},
                   {-EBADMSG, "key 'array': a boolean is neither 0 nor 1 but 128"},
                   {-EBADMSG, "'general.alignment'"},
                   {-EBADMSG, "'general.alignment'"},
                   {-EBADMSG, "'general.alignment'"},
                   {-EBADMSG, "'general.alignment'"},
                   {-EBADMSG, "unaligned offset"},
                   {-ENOTSUP, "one of 3 parts"},
                   {-EBADMSG, "at byte"}};

/* Two good tensors, the second not at offset 0. */
static void good_tensors(gguf_file *f)
{
    static const int64_t shape[2] = {2, 32};
    uint8_t data[2 * 32 * 4] = {0};
    gguf_tensor(f, "a", 2, shape, HYV_F32, data);
    gguf_tensor(f, "b", 2, shape, HYV_Q8_0, data);
}

static void test_wrong_values(void)
{
    for (size_t i = 0; i < sizeof(value_words) / sizeof(value_words[0]); i++) {
        gguf_file f = {0};
        gguf_key_string(&f, "general.architecture", "hyvid");
        damage_values(&f, (int)i);
        good_tensors(&f);
        gguf_write(&f, path);
        check_refused(value_words[i].err, value_words[i].word);
    }
}

/* One description after two good tensors. Data end at byte 356. */
static const struct {
    const char *name;
    int rank;
    int64_t shape[6];
    uint32_t number;
    uint64_t offset;
    int err;
    const char *word;
} descriptions[] = {
    {"", 1, {1}, 0, 352, -EBADMSG, "a tensor's name at byte"},
    {"\xc3(", 1, {1}, 0, 352, -EBADMSG, "is not UTF-8"},
    {"a", 1, {1}, 0, 352, -EBADMSG, "'a' stands twice"},
    {"c", 6, {1, 1, 1, 1, 1, 1}, 0, 352, -EBADMSG, "more than 5 dimensions"},
    {"c", 2, {0, 32}, 0, 352, -EBADMSG, "impossible shape"},
    {"c", 2, {-1, 32}, 0, 352, -EBADMSG, "impossible shape"},
    {"c", 3, {1ll << 31, 1ll << 31, 4}, 0, 352, -EBADMSG, "impossible shape"},
    {"c", 2, {1ll << 31, 1ll << 31}, 0, 352, -EBADMSG, "too large"},
    {"c", 2, {1ll << 28, 1ll << 31}, 0, 352, -EBADMSG, "truncated: tensor 'c'"},
    {"c", 2, {32, 31}, 8, 352, -EBADMSG, "no whole blocks"},
    {"c", 2, {256, 32}, 12, 352, -EBADMSG, "no whole blocks"},
    {"c", 0, {0}, 8, 352, -EBADMSG, "no whole blocks"},
    {"c", 1, {1}, 4, 352, -ENOTSUP, "type 4 (unknown)"},
    {"c", 1, {1}, 5, 352, -ENOTSUP, "type 5 (unknown)"},
    {"c", 1, {32}, 9, 352, -ENOTSUP, "type 9 (Q8_1)"},
    {"c", 1, {256}, 16, 352, -ENOTSUP, "type 16 (IQ2_XXS)"},
    {"c", 1, {256}, 29, 352, -ENOTSUP, "type 29 (IQ1_M)"},
    {"c", 1, {256}, 31, 352, -ENOTSUP, "type 31 (unknown)"},
    {"c", 1, {256}, 38, 352, -ENOTSUP, "type 38 (unknown)"},
    {"c", 1, {256}, 39, 352, -ENOTSUP, "type 39 (MXFP4)"},
    {"c", 1, {256}, 43, 352, -ENOTSUP, "type 43 (unknown)"},
    {"c", 1, {256}, UINT32_MAX, 352, -ENOTSUP, "type 4294967295 (unknown)"},
    {"c", 1, {1}, 0, 353, -EBADMSG, "unaligned offset"},
    {"c", 1, {1}, 0, 0, -EBADMSG, "overlap"},
    {"c", 1, {1}, 0, 224, -EBADMSG, "overlap"},
    {"c", 1, {1}, 0, 384, -EBADMSG, "truncated: tensor 'c' takes 4 bytes at 384"},
    {"c", 1, {2}, 0, 352, -EBADMSG, "truncated: tensor 'c' takes 8 bytes at 352"},
    {"c", 1, {1}, 0, UINT64_MAX - 31, -EBADMSG, "truncated: tensor 'c'"},
    {"c", 1, {1}, 0, 1ull << 63, -EBADMSG, "truncated: tensor 'c'"},
};

static void test_wrong_tensors(void)
{
    for (size_t i = 0; i < sizeof(descriptions) / sizeof(descriptions[0]); i++) {
        gguf_file f = {0};
        good_tensors(&f);
        gguf_describe(&f, descriptions[i].name, descriptions[i].rank, descriptions[i].shape,
                      descriptions[i].number, descriptions[i].offset);
        while (f.data.length < 356)
            gguf_put(&f.data, 0, 1);
        gguf_write(&f, path);
        check_refused(descriptions[i].err, descriptions[i].word);
    }
    gguf_file f = {0}; /* the same without anything wrong */
    const int64_t shape[1] = {1};
    good_tensors(&f);
    gguf_describe(&f, "c", 1, shape, 0, 352);
    while (f.data.length < 356)
        gguf_put(&f.data, 0, 1);
    gguf_write(&f, path);
    hyv_checkpoint *c = check_opens();
    hyv_checkpoint_close(&c);
    char name[600];
    memset(name, 'n', sizeof(name));
    name[513] = 0;
    good_tensors(&f);
    gguf_describe(&f, name, 1, shape, 0, 352);
    gguf_write(&f, path);
    check_refused(-EBADMSG, "a tensor's name at byte");
}

static void test_wrong_orig_shape(void)
{
    static const struct {
        uint32_t type;
        int count;
        int32_t sizes[9];
    } wrong[] = {{HYV_VALUE_I32, 2, {2, 31}},
                 {HYV_VALUE_I32, 2, {-2, -32}},
                 {HYV_VALUE_I32, 9, {2, 32, 1, 1, 1, 1, 1, 1, 1}},
                 {HYV_VALUE_F32, 1, {64}},
                 {HYV_VALUE_I32, 4, {1 << 30, 1 << 30, 1 << 30, 1 << 30}}};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        gguf_file f = {0};
        gguf_key(&f, "comfy.gguf.orig_shape.b", HYV_VALUE_ARRAY);
        gguf_put(&f.values, wrong[i].type, 4);
        gguf_put(&f.values, (uint64_t)wrong[i].count, 8);
        for (int k = 0; k < wrong[i].count; k++)
            gguf_put(&f.values, (uint32_t)wrong[i].sizes[k], 4);
        good_tensors(&f);
        gguf_write(&f, path);
        check_refused(-EBADMSG, "tensor 'b' has an 'orig_shape' of another size");
    }
}

/* ---- prefixes and random damage ---- */

static hyv_string good_file(void)
{
    static const int64_t shape[5] = {2, 1, 1, 2, 2};
    float data[8] = {0};
    gguf_file f = {0};
    gguf_key_string(&f, "general.architecture", "llama");
    gguf_key_u32(&f, "general.alignment", 32);
    array_of(&f, HYV_VALUE_STRING, 2);
    gguf_put_string(&f.values, "ab", 2);
    gguf_put_string(&f.values, "", 0);
    gguf_key(&f, "truth", HYV_VALUE_BOOL);
    gguf_put(&f.values, 1, 1);
    good_tensors(&f);
    gguf_tensor(&f, "img_in.proj.weight", 5, shape, HYV_F32, data);
    return gguf_bytes(&f);
}

static void test_truncated(void)
{
    hyv_string s = good_file();
    write_bytes(s.text, s.length);
    hyv_checkpoint *c = check_opens();
    hyv_checkpoint_close(&c);
    for (size_t n = 1; n < s.length; n++) {
        write_bytes(s.text, n);
        check_refused(-EBADMSG, n < 4    ? "not a safetensors file, nor GGUF"
                                : n < 24 ? "truncated"
                                         : "");
    }
    hyv_string_free(&s);
}

/* What opens can be read to its end; the sanitizers watch. */
static void test_damaged(void)
{
    check_random random = {5};
    hyv_string s = good_file();
    const int rounds = getenv("QUICK") ? 2000 : 6000;
    int opened = 0;
    for (int i = 0; i < rounds; i++) {
        hyv_string copy = {0};
        hyv_string_append_bytes(&copy, s.text, s.length);
        for (int64_t k = check_random_int(&random, 1, 3); k > 0; k--) {
            const int64_t at = check_random_int(&random, 4, (int64_t)s.length - 1);
            copy.text[at] = (char)(check_random_bits(&random) >> (i & 1 ? 40 : 62));
        }
        write_bytes(copy.text, copy.length);
        hyv_string_free(&copy);
        hyv_checkpoint *c = NULL;
        hyv_log log = {0};
        const int err = hyv_checkpoint_open(&c, path, &log);
        CHECK_MSG(err == 0 ? c != NULL : log.error[0] != 0, "round %d: %d", i, err);
        for (int64_t t = 0; err == 0 && t < hyv_checkpoint_count(c); t++) {
            const hyv_tensor *tensor = hyv_checkpoint_at(c, t);
            float last[1];
            if (hyv_type_is_weight(tensor->type))
                hyv_decode(last, tensor->data, tensor->type, tensor->count - 1, 1);
        }
        opened += err == 0;
        hyv_checkpoint_close(&c);
    }
    CHECK_MSG(opened > rounds / 100 && opened < rounds, "%d of %d opened", opened, rounds);
    hyv_string_free(&s);
}

/* ---- folders and the golden file ---- */

static void test_folder(void)
{
    gguf_file f = {0};
    good_tensors(&f);
    gguf_write(&f, path);
    hyv_log log = {0};
    hyv_checkpoint *c = NULL;
    CHECK_MSG(hyv_checkpoint_open(&c, folder, &log) == 0 && hyv_checkpoint_count(c) == 2, "%s",
              log.error);
    hyv_checkpoint_close(&c);
}

static void test_golden(void)
{
    hyv_log log = {0};
    hyv_checkpoint *c = NULL;
    CHECK_MSG(hyv_checkpoint_open(&c, "tests/golden/names/hunyuan-video-t2v-mixed.gguf", &log) == 0,
              "%s", log.error);
    if (!c)
        return;
    const hyv_metadata *m = hyv_checkpoint_metadata(c);
    int64_t version = 0;
    CHECK(hyv_metadata_equals(m, "general.architecture", "hyvid"));
    CHECK(hyv_metadata_int(m, "general.quantization_version", &version) && version == 2);
    const hyv_tensor *t = hyv_checkpoint_find(c, "img_in.proj.weight");
    CHECK(t && t->type == HYV_F32 && t->rank == 5 && t->shape[0] == 32 && t->shape[4] == 2);
    t = hyv_checkpoint_find(c, "double_blocks.0.img_attn_qkv.weight");
    CHECK(t && !hyv_type_is_float(t->type) && t->shape[0] == 96 && t->shape[1] == 32);
    hyv_checkpoint_close(&c);
}

int main(void)
{
    if (!CHECK_MSG(mkdtemp(folder) != NULL, "no temporary folder"))
        return check_done();
    snprintf(path, sizeof(path), "%s/model.gguf", folder);
    test_types();
    test_shapes();
    test_values();
    test_pairs();
    test_wrong_values();
    test_wrong_tensors();
    test_wrong_orig_shape();
    test_truncated();
    test_damaged();
    test_folder();
    test_golden();
    unlink(path);
    CHECK_MSG(rmdir(folder) == 0, "%s is not empty", folder);
    return check_done();
}
