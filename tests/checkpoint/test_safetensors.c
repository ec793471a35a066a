/* Opening safetensors files, sharded sets and folders: what is right is read, what is damaged is
 * refused with a message that names the file and the cause.
 *
 * Damaged files are written to a temporary folder by this program; the good ones are the golden
 * data's models as well.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../engine/base/json.h"
#include "../../engine/checkpoint/checkpoint.h"
#include "../check.h"

static char folder[] = "/tmp/hyv-test-XXXXXX";

static char *path_of(const char *name)
{
    return hyv_path_join(folder, name);
}

static void write_file(const char *name, const void *data, size_t size)
{
    char *path = path_of(name);
    FILE *f = fopen(path, "wb");
    if (CHECK_MSG(f != NULL, "cannot write %s", path)) {
        CHECK(fwrite(data, 1, size, f) == size);
        fclose(f);
    }
    hyv_free_host(path);
}

/* A file with this header, a declared length that differs by `lie`, and `data_bytes` bytes whose
 * values count up. */
static void write_tensors(const char *name, const char *header, size_t header_bytes, int64_t lie,
                          size_t data_bytes)
{
    hyv_string s = {0};
    const uint64_t length = header_bytes + (uint64_t)lie;
    for (int i = 0; i < 8; i++) {
        const char byte = (char)(length >> 8 * i);
        hyv_string_append_bytes(&s, &byte, 1);
    }
    hyv_string_append_bytes(&s, header, header_bytes);
    for (size_t i = 0; i < data_bytes; i++) {
        const char byte = (char)i;
        hyv_string_append_bytes(&s, &byte, 1);
    }
    write_file(name, s.text, s.length);
    hyv_string_free(&s);
}

static void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

static void remove_file(const char *name)
{
    char *path = path_of(name);
    unlink(path);
    hyv_free_host(path);
}

/* Opening folder/name must fail with err and a message that holds both words. */
static void check_refused(const char *name, int err, const char *word, const char *other)
{
    char *path = path_of(name);
    hyv_log log = {0};
    hyv_checkpoint *c = (hyv_checkpoint *)&log;
    const int got = hyv_checkpoint_open(&c, path, &log);
    CHECK_MSG(got == err, "%s (%s): %d instead of %d: %s", name, word, got, err, log.error);
    CHECK_MSG(c == NULL, "%s (%s): something stays open", name, word);
    CHECK_MSG(strstr(log.error, word) && strstr(log.error, other), "%s: '%s' and '%s' not in: %s",
              name, word, other, log.error);
    hyv_checkpoint_close(&c);
    hyv_free_host(path);
}

struct damage {
    const char *header;
    size_t data_bytes;
    const char *word;
};

#define F(shape, begin, end) \
    "{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

static const struct damage damages[] = {
    {"{\"a\":" F("[2]", "0", "8") "}", 7, "truncated: its tensors take 8 bytes, 7 are there"},
    {"{\"a\":" F("[2]", "0", "8") "}", 9, "1 bytes after the last tensor"},
    {"{\"a\":" F("[2]", "4", "12") "}", 12, "a hole"},
    {"{\"a\":" F("[1]", "0", "4") ",\"b\":" F("[1]", "8", "12") "}", 12, "a hole"},
    {"{\"a\":" F("[2]", "0", "8") ",\"b\":" F("[2]", "4", "12") "}", 12, "an overlap"},
    {"{\"a\":" F("[2]", "0", "8") ",\"b\":" F("[2]", "0", "8") "}", 8, "an overlap"},
    {"{\"a\":" F("[2]", "8", "0") "}", 8, "not a range"},
    {"{\"a\":" F("[3]", "0", "8") "}", 8, "takes 12 bytes, its range has 8"},
    {"{\"a\":" F("[]", "0", "8") "}", 8, "takes 4 bytes, its range has 8"},
    {"{\"a\":" F("[0]", "0", "8") "}", 8, "takes 0 bytes, its range has 8"},
    {"{\"a\":" F("[4294967296,4294967296,4]", "0", "8") "}", 8, "impossible shape"},
    {"{\"a\":" F("[4611686018427387904]", "0", "8") "}", 8, "impossible shape"},
    {"{\"a\":" F("[0,4294967296,4294967296]", "0", "0") "}", 0, "impossible shape"},
    {"{\"a\":" F("[9223372036854775808]", "0", "8") "}", 8, "too big integer"},
    {"{\"a\":" F("[-2]", "0", "8") "}", 8, "integers >= 0"},
    {"{\"a\":" F("[2.0]", "0", "8") "}", 8, "integers >= 0"},
    {"{\"a\":" F("[2e0]", "0", "8") "}", 8, "integers >= 0"},
    {"{\"a\":" F("[\"2\"]", "0", "8") "}", 8, "integers >= 0"},
    {"{\"a\":" F("[02]", "0", "8") "}", 8, "not valid JSON"},
    {"{\"a\":" F("2", "0", "8") "}", 8, "'shape' is not an array"},
    {"{\"a\":" F("[1,1,1,1,1,1,1,1,2]", "0", "8") "}", 8, "at most 8"},
    {"{\"a\":" F("[2]", "-8", "8") "}", 8, "integers >= 0"},
    {"{\"a\":" F("[2]", "0", "8,8") "}", 8, "'data_offsets' is not an array of at most 2"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8]}}", 8, "not a range"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":{}}}", 8, "'data_offsets'"},
    {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "must have dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "must have dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "must have dtype"},
    {"{\"a\":{\"dtype\":1,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "must have dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8, "and no more"},
    {"{\"a\":{\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "unknown type 'F33'"},
    {"{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1, "impossible shape"},
    {"{\"a\":[1]}", 0, "must have dtype"},
    {"{\"a\":7}", 0, "must have dtype"},
    {"{\"a\":" F("[1]", "0", "4") ",\"a\":" F("[1]", "4", "8") "}", 8, "duplicate"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "duplicate"},
    {"{\"\":" F("[1]", "0", "4") "}", 4, "name has 0 bytes"},
    {"{\"a\\u0000b\":" F("[1]", "0", "4") "}", 4, "not valid JSON"},
    {"{\"\xff\":" F("[1]", "0", "4") "}", 4, "not valid JSON"},
    {"{\"\\ud800\":" F("[1]", "0", "4") "}", 4, "not valid JSON"},
    {"{\"a\":" F("[1]", "0", "4") "} x", 4, "not valid JSON"},
    {"{\"a\":" F("[1]", "0", "4"), 4, "not valid JSON"},
    {"{\"a\":" F("[1]", "0", "4") ",}", 4, "not valid JSON"},
    {"{'a':1}", 0, "not valid JSON"},
    {"{\"a\":[[[[1]]]]}", 0, "more than 4 levels"},
    {"{\"__metadata__\":[]}", 0, "'__metadata__' is not an object of strings"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "'__metadata__' is not an object of strings"},
    {"{}", 3, "3 bytes after the last tensor"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}\0", 4, "\"path\""},
};

/* ComfyUI's account of quantised layers: fp8 is read, other kinds are refused by name. */
static void test_quantised(void)
{
#define QUANTISED(format)                                                                \
    "{\"a\":" F("[2]", "0",                                                              \
                "8") ",\"__metadata__\":{\"_quantization_metadata\":\"{\\\"layers\\\":{" \
                     "\\\"blocks.0\\\":{\\\"format\\\":\\\"" format "\\\"}}}\"}}"
    const char *const good = QUANTISED("float8_e4m3fn"), *const foreign = QUANTISED("nvfp4");
    const char *const broken = "{\"__metadata__\":{\"_quantization_metadata\":\"{\"}}";
    write_tensors("bad.safetensors", foreign, strlen(foreign), 0, 8);
    check_refused("bad.safetensors", -ENOTSUP, "'blocks.0' is quantised as 'nvfp4'", "bad.safet");
    write_tensors("bad.safetensors", broken, strlen(broken), 0, 0);
    check_refused("bad.safetensors", -EBADMSG, "not valid JSON", "bad.safetensors");
    write_tensors("bad.safetensors", good, strlen(good), 0, 8);
    char *path = path_of("bad.safetensors");
    hyv_log log = {0};
    hyv_checkpoint *c;
    CHECK_MSG(hyv_checkpoint_open(&c, path, &log) == 0, "%s", log.error);
    hyv_checkpoint_close(&c);
    hyv_free_host(path);
    remove_file("bad.safetensors");
}

static void test_damaged(void)
{
    const size_t n = sizeof(damages) / sizeof(damages[0]) - 1; /* the last is for NUL, below */
    for (size_t i = 0; i < n; i++) {
        const struct damage *d = &damages[i];
        write_tensors("bad.safetensors", d->header, strlen(d->header), 0, d->data_bytes);
        check_refused("bad.safetensors", -EBADMSG, d->word, "bad.safetensors");
    }
    const char *good = damages[n].header;
    write_tensors("bad.safetensors", good, strlen(good) + 1, 0, 4);
    check_refused("bad.safetensors", -EBADMSG, "not valid JSON", "bad.safetensors");
    write_tensors("bad.safetensors", good, strlen(good), 1000, 4);
    check_refused("bad.safetensors", -EBADMSG, "truncated: its header", "bad.safetensors");
    write_tensors("bad.safetensors", good, strlen(good), INT64_MAX, 4);
    check_refused("bad.safetensors", -EBADMSG, "a header of 92233720368547", "bad.safetensors");
    write_tensors("bad.safetensors", good, strlen(good), 100000000, 4);
    check_refused("bad.safetensors", -EBADMSG, "a header of 1000000", "bad.safetensors");
    write_tensors("bad.safetensors", good, strlen(good), 1 - (int64_t)strlen(good), 4);
    check_refused("bad.safetensors", -EBADMSG, "a header of 1 bytes", "bad.safetensors");
    write_tensors("bad.safetensors", good, strlen(good), -5, 4);
    check_refused("bad.safetensors", -EBADMSG, "not valid JSON", "bad.safetensors");
    char name[600], header[800];
    memset(name, 'n', sizeof(name));
    name[513] = 0;
    snprintf(header, sizeof(header), "{\"%s\":" F("[1]", "0", "4") "}", name);
    write_tensors("bad.safetensors", header, strlen(header), 0, 4);
    check_refused("bad.safetensors", -EBADMSG, "name has 513 bytes", "bad.safetensors");
}

/* Every prefix of a good file is refused, in words. */
static void test_truncated(void)
{
    const char *header = "{\"a\":" F("[2]", "0", "8") ",\"b\":" F("[1]", "8", "12") "}";
    write_tensors("whole.safetensors", header, strlen(header), 0, 12);
    char *path = path_of("whole.safetensors"), *text;
    size_t size;
    CHECK(hyv_file_read(&text, &size, path, 1000) == 0);
    hyv_free_host(path);
    for (size_t n = 0; n < size; n++) {
        write_file("cut.safetensors", text, n);
        check_refused("cut.safetensors", -EBADMSG,
                      n == 0  ? "empty"
                      : n < 9 ? "not a safetensors file"
                              : "truncated",
                      "cut.safetensors");
    }
    hyv_free_host(text);
}

static void test_foreign(void)
{
    static const struct {
        const char *data;
        size_t size;
        int err;
        const char *word;
    } files[] = {
        {"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", 60, -EBADMSG,
         "Git LFS pointer"},
        {"<!DOCTYPE html><html></html>", 28, -EBADMSG, "HTML"},
        {"FUGG\0\0\0\3", 8, -ENOTSUP, "big-endian GGUF"},
        {"PK\3\4\0\0\0\0\0\0", 10, -EBADMSG, "truncated: the zip archive"},
        {"\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e", 15, -ENOTSUP, "legacy"},
        {"\x80\4\x95\0\0\0\0\0\0\0\0", 11, -ENOTSUP, "pickle"},
        {"{\"hidden_size\": 4096}", 21, -EBADMSG, "JSON"},
        {"{       {\"a\": 1}}", 17, -EBADMSG, "JSON"},
        {"\0\0\0\0\0\0\0\0\0\0\0\0", 12, -EBADMSG, "not a safetensors file"},
        {"short", 5, -EBADMSG, "not a safetensors file"},
        {"", 0, -EBADMSG, "empty"},
    };
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        write_file("foreign.safetensors", files[i].data, files[i].size);
        check_refused("foreign.safetensors", files[i].err, files[i].word, "foreign.safetensors");
    }
    char tar[512] = "data.pkl";
    memcpy(tar + 257, "ustar", 5);
    write_file("foreign.safetensors", tar, sizeof(tar));
    check_refused("foreign.safetensors", -ENOTSUP, "tar", "foreign.safetensors");
    check_refused("absent.safetensors", -ENOENT, "No such file", "absent.safetensors");
    check_refused("foreign.safetensors/x", -ENOTDIR, "cannot be opened", "foreign.safetensors/x");
    char *path = path_of("pipe");
    CHECK(mkfifo(path, 0600) == 0);
    check_refused("pipe", -EINVAL, "not a regular file", "pipe");
    unlink(path);
    hyv_free_host(path);
}

/* One tensor of each type, the second byte on an odd address; also types that are passed over. */
static void test_types(void)
{
    static const struct {
        const char *tag;
        hyv_type type;
        int bits;
    } types[] = {{"F32", HYV_F32, 32},
                 {"F16", HYV_F16, 16},
                 {"BF16", HYV_BF16, 16},
                 {"F8_E4M3", HYV_F8_E4M3, 8},
                 {"F8_E5M2", HYV_F8_E5M2, 8},
                 {"F64", HYV_F64, 64},
                 {"I8", HYV_I8, 8},
                 {"U8", HYV_U8, 8},
                 {"I16", HYV_I16, 16},
                 {"I32", HYV_I32, 32},
                 {"I64", HYV_I64, 64},
                 {"BOOL", HYV_BOOL, 8},
                 {"U16", HYV_TYPES, 16},
                 {"U32", HYV_TYPES, 32},
                 {"U64", HYV_TYPES, 64},
                 {"C64", HYV_TYPES, 64},
                 {"F8_E8M0", HYV_TYPES, 8},
                 {"F4", HYV_TYPES, 4},
                 {"F8_E4M3FNUZ", HYV_TYPES, 8},
                 {"F8_E5M2FNUZ", HYV_TYPES, 8},
                 {"F6_E2M3", HYV_TYPES, 6},
                 {"F6_E3M2", HYV_TYPES, 6}};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        const int bytes = 8 * types[i].bits / 8;
        char header[400];
        snprintf(header, sizeof(header),
                 "{\"__metadata__\":{\"format\":\"pt\"},"
                 "\"x\":{\"dtype\":\"U8\",\"shape\":[1,1],\"data_offsets\":[0,1]},"
                 "\"y\":{\"dtype\":\"%s\",\"shape\":[2,4],\"data_offsets\":[1,%d]}}  ",
                 types[i].tag, 1 + bytes);
        write_tensors("typed.safetensors", header, strlen(header), 0, (size_t)bytes + 1);
        char *path = path_of("typed.safetensors");
        hyv_log log = {0};
        hyv_checkpoint *c;
        if (CHECK_MSG(hyv_checkpoint_open(&c, path, &log) == 0, "%s: %s", types[i].tag,
                      log.error)) {
            const hyv_tensor *t = hyv_checkpoint_find(c, "y");
            if (types[i].type == HYV_TYPES) {
                CHECK_MSG(t == NULL && hyv_checkpoint_count(c) == 1, "%s is listed", types[i].tag);
            } else if (CHECK_MSG(t != NULL, "%s is not found", types[i].tag)) {
                CHECK(t->type == types[i].type && t->rank == 2 && t->count == 8);
                CHECK(t->shape[0] == 2 && t->shape[1] == 4);
                CHECK(t->size_bytes == (size_t)bytes && ((const uint8_t *)t->data)[0] == 1);
                CHECK(((const uint8_t *)t->data)[bytes - 1] == (uint8_t)bytes);
                CHECK(hyv_checkpoint_bytes(c) == (size_t)bytes + 1);
            }
            hyv_checkpoint_drop(c);
            CHECK(((const uint8_t *)hyv_checkpoint_find(c, "x")->data)[0] == 0);
            hyv_checkpoint_close(&c);
            CHECK(c == NULL);
        }
        hyv_free_host(path);
    }
}

static void open_and(const char *name, void (*look)(hyv_checkpoint *))
{
    char *path = path_of(name);
    hyv_log log = {0};
    hyv_checkpoint *c;
    if (CHECK_MSG(hyv_checkpoint_open(&c, path, &log) == 0, "%s: %s", name, log.error))
        look(c);
    hyv_checkpoint_close(&c);
    hyv_free_host(path);
}

static void look_scalar(hyv_checkpoint *c)
{
    const hyv_tensor *t = hyv_checkpoint_find(c, "s");
    CHECK(t && t->rank == 0 && t->count == 1 && t->size_bytes == 4);
    const hyv_tensor *e = hyv_checkpoint_find(c, "e");
    CHECK(e && e->rank == 2 && e->count == 0 && e->size_bytes == 0);
    CHECK(!hyv_checkpoint_find(c, "") && !hyv_checkpoint_find(c, "ss"));
    CHECK(!hyv_checkpoint_at(c, 2) && !hyv_checkpoint_at(c, -1));
}

static void look_empty(hyv_checkpoint *c)
{
    CHECK(hyv_checkpoint_count(c) == 0 && !hyv_checkpoint_find(c, "a"));
    CHECK(hyv_checkpoint_strip(c, "model.") == 0);
}

static void look_order(hyv_checkpoint *c)
{
    const hyv_tensor *b = hyv_checkpoint_find(c, "b");
    CHECK(b && ((const uint8_t *)b->data)[0] == 4);
}

static void test_shapes(void)
{
    const char *scalar = "{\"s\":" F("[]", "0", "4") ",\"e\":" F("[3,0]", "4", "4") "}";
    write_tensors("ok.safetensors", scalar, strlen(scalar), 0, 4);
    open_and("ok.safetensors", look_scalar);
    write_tensors("ok.safetensors", "{}", 2, 0, 0);
    open_and("ok.safetensors", look_empty);
    const char *order = "{\"b\":" F("[1]", "4", "8") ",\"a\":" F("[1]", "0", "4") "}";
    write_tensors("ok.safetensors", order, strlen(order), 0, 8);
    open_and("ok.safetensors", look_order);
    /* 123 bytes of header: the length's first byte is a brace */
    char header[124];
    memset(header, ' ', sizeof(header));
    memcpy(header, order, strlen(order));
    write_tensors("ok.safetensors", header, 123, 0, 8);
    if (CHECK(strlen(order) < 123))
        open_and("ok.safetensors", look_order);
    remove_file("ok.safetensors");
}

/* Many tensors, found by name; prefixes are taken off. */
static void test_names(void)
{
    enum { COUNT = 3000 };
    hyv_string s = {0};
    hyv_string_append(&s, "{");
    for (int i = 0; i < COUNT; i++)
        hyv_string_append(&s, "\"%s%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]},",
                          i % 3 ? "model."
                          : i   ? "other."
                                : "",
                          i, i, i + 1);
    /* its short name is taken */
    hyv_string_append(&s, "\"model.0\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}}",
                      COUNT, COUNT + 1);
    write_tensors("many.safetensors", s.text, s.length, 0, COUNT + 1);
    char *path = path_of("many.safetensors");
    hyv_log log = {0};
    hyv_checkpoint *c;
    if (CHECK_MSG(hyv_checkpoint_open(&c, path, &log) == 0, "%s", log.error)) {
        CHECK(hyv_checkpoint_count(c) == COUNT + 1);
        CHECK(hyv_checkpoint_strip(c, "other.") == 0 && hyv_checkpoint_find(c, "other.3"));
        CHECK(hyv_checkpoint_strip(c, "") == 0);
        CHECK(hyv_checkpoint_strip(c, "model.") == 2000);
        int right = 0;
        for (int i = 0; i < COUNT; i++) {
            char name[32];
            snprintf(name, sizeof(name), "%s%d", i % 3 ? "" : i ? "other." : "", i);
            const hyv_tensor *t = hyv_checkpoint_find(c, name);
            right += t && *(const uint8_t *)t->data == (uint8_t)i && strcmp(t->name, name) == 0;
        }
        CHECK_MSG(right == COUNT, "%d of %d names found", right, COUNT);
        CHECK(hyv_checkpoint_find(c, "model.0") && !hyv_checkpoint_find(c, "model.1"));
        CHECK(hyv_checkpoint_strip(c, "model.") == 0);
        CHECK(strcmp(hyv_checkpoint_path(c), path) == 0);
    }
    hyv_checkpoint_close(&c);
    remove_file("many.safetensors");
    hyv_free_host(path);
    hyv_string_free(&s);
}

#define INDEX "set/model.safetensors.index.json"
#define ONE   "model-00001-of-00002.safetensors"
#define TWO   "model-00002-of-00002.safetensors"

static void write_set(const char *index)
{
    const char *a = "{\"a\":" F("[1]", "0", "4") ",\"b\":" F("[1]", "4", "8") "}";
    const char *d = "{\"d\":" F("[2]", "0", "8") "}";
    write_tensors("set/" ONE, a, strlen(a), 0, 8);
    write_tensors("set/" TWO, d, strlen(d), 0, 8);
    write_text(INDEX, index);
}

static void look_set(hyv_checkpoint *c)
{
    CHECK(hyv_checkpoint_count(c) == 3 && hyv_checkpoint_bytes(c) == 16);
    CHECK(hyv_checkpoint_find(c, "a") && hyv_checkpoint_find(c, "d"));
}

static const struct {
    const char *index;
    int err;
    const char *word;
} bad_indices[] = {
    {"{\"weight_map\":{\"a\":\"" ONE "\",\"d\":\"model-00003-of-00002.safetensors\"}}", -ENOENT,
     "model-00003"},
    {"{\"weight_map\":{\"d\":\"" ONE "\"}}", -EBADMSG, "tensor 'd' is not in '" ONE "'"},
    {"{\"weight_map\":{\"a\":\"" ONE "\",\"d\":\"" ONE "\",\"b\":\"" TWO "\"}}", -EBADMSG,
     "is not in"},
    {"{\"weight_map\":{\"a\":\"" ONE "\",\"x\":\"" TWO "\"}}", -EBADMSG, "tensor 'x' is not in"},
    {"{\"weight_map\":{\"a\":\"../set/" ONE "\"}}", -EBADMSG, "not a plain file name"},
    {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", -EBADMSG, "not a plain file name"},
    {"{\"weight_map\":{\"a\":\"..\"}}", -EBADMSG, "not a plain file name"},
    {"{\"weight_map\":{\"a\":\".\"}}", -EBADMSG, "not a plain file name"},
    {"{\"weight_map\":{\"a\":\"\"}}", -EBADMSG, "not a plain file name"},
    {"{\"weight_map\":{\"a\":\"x\\\\y\"}}", -EBADMSG, "not a plain file name"},
    {"{\"weight_map\":{\"a\":7}}", -EBADMSG, "not a string"},
    {"{\"weight_map\":{\"a\":\"" ONE "\",\"a\":\"" ONE "\"}}", -EBADMSG, "duplicate"},
    {"{\"weight_map\":{}}", -EBADMSG, "no 'weight_map'"},
    {"{\"weight_map\":[]}", -EBADMSG, "no 'weight_map'"},
    {"[]", -EBADMSG, "no 'weight_map'"},
    {"", -EBADMSG, "empty"},
    {"version https://git-lfs.github.com/spec/v1", -EBADMSG, "LFS"},
};

static void test_shards(void)
{
    const char *good = "{\"metadata\":{\"total_size\":16},\"weight_map\":{\"a\":\"" ONE
                       "\",\"b\":\"" ONE "\",\"d\":\"" TWO "\"}}";
    char *path = path_of("set");
    CHECK(mkdir(path, 0700) == 0);
    write_set(good);
    open_and("set", look_set);
    open_and("set/", look_set);
    open_and(INDEX, look_set);
    for (size_t i = 0; i < sizeof(bad_indices) / sizeof(bad_indices[0]); i++) {
        write_set(bad_indices[i].index);
        check_refused("set", bad_indices[i].err, bad_indices[i].word, "index.json");
    }
    write_set(good); /* the same tensor in both files */
    const char *d = "{\"d\":" F("[1]", "0", "4") ",\"a\":" F("[1]", "4", "8") "}";
    write_tensors("set/" TWO, d, strlen(d), 0, 8);
    check_refused("set", -EBADMSG, "'a' stands twice", TWO);
    write_set(good);
    write_tensors("set/" TWO, d, strlen(d), 0, 7);
    check_refused("set", -EBADMSG, "truncated", TWO);
    /* links: inside the folder, out of it, and the way the hub's cache has them */
    write_set(good);
    const char *blob = "{\"d\":" F("[2]", "0", "8") "}";
    write_tensors("outside", blob, strlen(blob), 0, 8);
    char *two = path_of("set/" TWO);
    unlink(two);
    CHECK(symlink("../outside", two) == 0);
    check_refused("set", -EBADMSG, "a link that leads out of the folder", TWO);
    unlink(two);
    write_tensors("set/hidden", blob, strlen(blob), 0, 8);
    CHECK(symlink("hidden", two) == 0);
    open_and("set", look_set);
    unlink(two);
    remove_file("set/hidden");
    remove_file("set/" ONE);
    remove_file(INDEX);
    remove_file("outside");
    CHECK(rmdir(path) == 0);
    hyv_free_host(two);
    hyv_free_host(path);
}

static void make_folder(const char *name)
{
    char *path = path_of(name);
    CHECK(mkdir(path, 0700) == 0);
    hyv_free_host(path);
}

static void remove_folder(const char *name)
{
    char *path = path_of(name);
    CHECK(rmdir(path) == 0);
    hyv_free_host(path);
}

/* A snapshot of the hub's cache: every file is a link to a blob beside the snapshots. */
static void test_hub_cache(void)
{
    make_folder("hub");
    make_folder("hub/blobs");
    make_folder("hub/snapshots");
    make_folder("hub/snapshots/set");
    const char *blob = "{\"a\":" F("[1]", "0", "4") ",\"b\":" F("[1]", "4", "8") "}";
    const char *index = "{\"weight_map\":{\"a\":\"" ONE "\",\"b\":\"" ONE "\"}}";
    write_tensors("hub/blobs/1234", blob, strlen(blob), 0, 8);
    write_text("hub/snapshots/" INDEX, index);
    char *link = path_of("hub/snapshots/set/" ONE);
    CHECK(symlink("../../blobs/1234", link) == 0);
    open_and("hub/snapshots/set", look_order);
    unlink(link);
    hyv_free_host(link);
    remove_file("hub/snapshots/" INDEX);
    remove_file("hub/blobs/1234");
    remove_folder("hub/snapshots/set");
    remove_folder("hub/snapshots");
    remove_folder("hub/blobs");
    remove_folder("hub");
}

/* Which file of a folder is taken. */
static void test_folders(void)
{
    const char *order = "{\"b\":" F("[1]", "4", "8") ",\"a\":" F("[1]", "0", "4") "}";
    make_folder("one");
    check_refused("one", -ENOENT, "holds no weights", "one");
    write_text("one/pytorch_model.bin", "PK\3\4");
    check_refused("one", -EBADMSG, "truncated", "pytorch_model.bin");
    write_tensors("one/any.safetensors", order, strlen(order), 0, 8);
    open_and("one", look_order);
    write_tensors("one/other.safetensors", order, strlen(order), 0, 8);
    check_refused("one", -EINVAL, "holds 2 files", "one");
    write_tensors("one/model.safetensors", order, strlen(order), 0, 8);
    open_and("one", look_order);
    write_text("one/model.safetensors", "<html>");
    check_refused("one", -EBADMSG, "HTML", "one/model.safetensors");
    write_tensors("one/diffusion_pytorch_model.safetensors", order, strlen(order), 0, 8);
    open_and("one", look_order);
    remove_file("one/diffusion_pytorch_model.safetensors");
    remove_file("one/model.safetensors");
    remove_file("one/other.safetensors");
    remove_file("one/any.safetensors");
    remove_file("one/pytorch_model.bin");
    make_folder("one/model.safetensors");
    check_refused("one", -EISDIR, "not a regular file", "model.safetensors");
    remove_folder("one/model.safetensors");
    remove_folder("one");
}

/* The golden data's files: counts from their own headers and indices. */
static void test_golden(void)
{
    static const struct {
        const char *path, *tensor, *prefix;
        int64_t rows;
    } files[] = {
        {"tests/golden/t2v/transformer", "x_embedder.proj.weight", "", 32},
        {"tests/golden/t2v/vae", "decoder.conv_in.conv.weight", "", 12},
        {"tests/golden/t2v/text_encoder", "embed_tokens.weight", "", 896},
        {"tests/golden/t2v/text_encoder_2/model.safetensors", "final_layer_norm.weight",
         "text_model.", 40},
        {"tests/golden/i2v/transformer", "x_embedder.proj.weight", "", 24},
        {"tests/golden/i2v/text_encoder", "language_model.model.embed_tokens.weight", "", 768},
        {"tests/golden/names/official_bf16.safetensors", "img_in.proj.weight", "", 32},
        {"tests/golden/names/comfyui_fp8_scaled.safetensors", "img_in.proj.weight", "model.model.",
         32},
    };
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        hyv_log log = {0};
        hyv_checkpoint *c;
        if (CHECK_MSG(hyv_checkpoint_open(&c, files[i].path, &log) == 0, "%s", log.error)) {
            hyv_checkpoint_strip(c, files[i].prefix);
            const hyv_tensor *t = hyv_checkpoint_find(c, files[i].tensor);
            CHECK_MSG(t && t->shape[0] == files[i].rows, "%s: %s: %lld rows", files[i].path,
                      files[i].tensor, t ? (long long)t->shape[0] : -1);
        }
        hyv_checkpoint_close(&c);
    }
}

int main(void)
{
    if (!CHECK_MSG(mkdtemp(folder) != NULL, "no temporary folder"))
        return check_done();
    test_quantised();
    test_damaged();
    test_truncated();
    test_foreign();
    test_types();
    test_shapes();
    test_names();
    test_shards();
    test_hub_cache();
    test_folders();
    test_golden();
    static const char *const left[] = {"bad.safetensors", "whole.safetensors", "cut.safetensors",
                                       "foreign.safetensors", "typed.safetensors"};
    for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++)
        remove_file(left[i]);
    CHECK_MSG(rmdir(folder) == 0, "%s is not empty", folder);
    return check_done();
}
