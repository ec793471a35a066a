/* Headers that are written, read again: names, types, shapes, places and keys of every kind, in
 * both containers; and files that are there whole or not at all.
 */
#include "../../engine/checkpoint/writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../engine/base/write.h"
#include "../check.h"
#include "../gguf.h"

static char folder[] = "/tmp/hyv-writers-XXXXXX";

static const char *place(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static int count_files(void)
{
    char command[128];
    int count = -1;
    snprintf(command, sizeof(command), "ls %s | wc -l", folder);
    FILE *f = popen(command, "r");
    CHECK(f && fscanf(f, "%d", &count) == 1);
    if (f)
        pclose(f);
    return count;
}

/* Sizes that are no multiples of the alignment, a name that JSON must escape, a scalar, nothing. */
static const hyv_tensor tensors[] = {
    {.name = "a.weight",
     .type = HYV_BF16,
     .rank = 2,
     .shape = {3, 5},
     .count = 15,
     .size_bytes = 30},
    {.name = "b \"quoted\" \\", .type = HYV_F32, .rank = 0, .count = 1, .size_bytes = 4},
    {.name = "c",
     .type = HYV_F16,
     .rank = 5,
     .shape = {2, 1, 1, 3, 7},
     .count = 42,
     .size_bytes = 84},
    {.name = "d", .type = HYV_Q4_K, .rank = 2, .shape = {3, 512}, .count = 1536, .size_bytes = 864},
    {.name = "e", .type = HYV_F8_E4M3, .rank = 1, .shape = {7}, .count = 7, .size_bytes = 7},
    {.name = "f", .type = HYV_F8_E4M3, .rank = 1, .shape = {0}, .count = 0, .size_bytes = 0}};
enum { TENSORS = sizeof(tensors) / sizeof(tensors[0]) };

static hyv_checkpoint *write_and_open(const hyv_writer *w, const hyv_tensor *const *list, int count,
                                      const hyv_keys *keys)
{
    hyv_string s = {0};
    hyv_log log = {0};
    hyv_checkpoint *c = NULL;
    CHECK(w->header(&s, list, count, keys) == 0);
    for (int i = 0; i < count; i++) {
        for (size_t k = 0; k < list[i]->size_bytes; k++)
            gguf_put(&s, (uint64_t)i * 16 + k % 16, 1);
        for (size_t k = list[i]->size_bytes; k % w->alignment; k++)
            gguf_put(&s, 0, 1);
    }
    CHECK(hyv_file_write(place("file"), &(hyv_chunk){s.text, s.length}, 1) == 0);
    CHECK_MSG(hyv_checkpoint_open(&c, place("file"), &log) == 0, "%s: %s", w->name, log.error);
    hyv_string_free(&s);
    return c;
}

static void check_container(const hyv_writer *w, const hyv_keys *keys)
{
    const hyv_tensor *list[TENSORS];
    int count = 0;
    for (int i = 0; i < TENSORS; i++)
        if (w->holds(tensors[i].type))
            list[count++] = &tensors[i];
    hyv_checkpoint *c = write_and_open(w, list, count, keys);
    CHECK_MSG(c && hyv_checkpoint_count(c) == count, "%s: other tensors", w->name);
    for (int i = 0; c && i < count; i++) {
        const hyv_tensor *t = hyv_checkpoint_find(c, list[i]->name), *want = list[i];
        if (!CHECK_MSG(t != NULL, "%s: %s is missing", w->name, want->name))
            continue;
        CHECK(t->type == want->type && t->rank == want->rank && t->size_bytes == want->size_bytes);
        CHECK(memcmp(t->shape, want->shape, sizeof(t->shape[0]) * (size_t)t->rank) == 0);
        for (size_t k = 0; k < t->size_bytes; k++)
            if (!CHECK(((const uint8_t *)t->data)[k] == (uint8_t)(i * 16 + (int)(k % 16))))
                break;
    }
    hyv_checkpoint_close(&c);
}

/* Keys of every kind, written by the tests' own writer, read, copied, and read again. */
static void check_keys(void)
{
    gguf_file f = {0};
    const float one = 1.0f;
    const int64_t shape[1] = {1};
    hyv_log log = {0};
    hyv_checkpoint *c = NULL;
    hyv_keys keys = {{0}, 0};
    gguf_key_string(&f, "string", "text");
    gguf_key(&f, "bool", HYV_VALUE_BOOL);
    gguf_put(&f.values, 1, 1);
    gguf_key(&f, "i64", HYV_VALUE_I64);
    gguf_put(&f.values, (uint64_t)-5, 8);
    gguf_key(&f, "strings", HYV_VALUE_ARRAY);
    gguf_put(&f.values, HYV_VALUE_STRING, 4);
    gguf_put(&f.values, 2, 8);
    gguf_put_string(&f.values, "first", 5);
    gguf_put_string(&f.values, "a\0b", 3);
    gguf_key(&f, "numbers", HYV_VALUE_ARRAY);
    gguf_put(&f.values, HYV_VALUE_U16, 4);
    gguf_put(&f.values, 3, 8);
    for (uint64_t i = 0; i < 3; i++)
        gguf_put(&f.values, 1000 + i, 2);
    gguf_tensor(&f, "one", 1, shape, HYV_F32, &one);
    CHECK(gguf_write(&f, place("source")));
    if (!CHECK_MSG(hyv_checkpoint_open(&c, place("source"), &log) == 0, "%s", log.error))
        return;
    const hyv_metadata *m = hyv_checkpoint_metadata(c);
    for (size_t i = 0; i < m->count; i++)
        hyv_keys_copy(&keys, &m->list[i]);
    hyv_keys_string(&keys, "own", "value");
    hyv_keys_u32(&keys, "own.u32", 4000000000u);
    hyv_keys_f32(&keys, "own.f32", 0.5f);
    CHECK(keys.count == m->count + 3);
    hyv_checkpoint_close(&c);
    const hyv_tensor *list[1] = {&tensors[0]};
    c = write_and_open(&hyv_writer_gguf, list, 1, &keys);
    m = c ? hyv_checkpoint_metadata(c) : &(hyv_metadata){0};
    int64_t n = 0;
    double x = 0.0;
    const char *text = "";
    size_t length = 0;
    hyv_walk w = hyv_value_walk(hyv_metadata_find(m, "strings"));
    CHECK(hyv_metadata_equals(m, "string", "text") && hyv_metadata_equals(m, "own", "value"));
    CHECK(hyv_metadata_int(m, "bool", &n) && n == 1 && hyv_metadata_int(m, "i64", &n) && n == -5);
    CHECK(hyv_walk_string(&w, &text, &length) && length == 5 && !memcmp(text, "first", 5));
    CHECK(hyv_walk_string(&w, &text, &length) && length == 3 && !memcmp(text, "a\0b", 3));
    CHECK(!hyv_walk_string(&w, &text, &length));
    w = hyv_value_walk(hyv_metadata_find(m, "numbers"));
    for (int64_t i = 0; i < 3; i++)
        CHECK(hyv_walk_int(&w, &n) && n == 1000 + i);
    CHECK(hyv_metadata_int(m, "own.u32", &n) && n == 4000000000);
    CHECK(hyv_metadata_float(m, "own.f32", &x) && x == 0.5);
    check_container(&hyv_writer_gguf, &keys);
    hyv_checkpoint_close(&c);
    hyv_string_free(&keys.bytes);
}

static void check_numbers(void)
{
    for (int t = 0; t < HYV_TYPES; t++)
        if (hyv_gguf_number((hyv_type)t) >= 0)
            CHECK(hyv_gguf_number((hyv_type)t) == (int)gguf_number((hyv_type)t));
    CHECK(hyv_gguf_number(HYV_F8_E4M3) < 0 && hyv_gguf_number(HYV_BOOL) < 0);
    CHECK(hyv_gguf_number(HYV_TYPES) < 0 && hyv_gguf_number(HYV_BF16) == 30);
}

/* Nothing under the name until the end; the old file when it fails. */
static void check_output(void)
{
    hyv_output o;
    char *text = NULL;
    size_t size = 0;
    const int before = count_files();
    CHECK(hyv_output_open(&o, place("out"), 100000) == 0 && hyv_output_write(&o, "first", 5) == 0);
    CHECK(access(place("out"), F_OK) != 0 && count_files() == before + 1);
    CHECK(hyv_output_close(&o, -EIO) == -EIO && count_files() == before);
    CHECK(hyv_output_open(&o, place("out"), 5) == 0 && hyv_output_write(&o, "first", 5) == 0);
    CHECK(hyv_output_close(&o, 0) == 0 && count_files() == before + 1);
    CHECK(hyv_output_open(&o, place("out"), 0) == 0 && hyv_output_write(&o, "other", 5) == 0);
    CHECK(hyv_output_close(&o, -EINTR) == -EINTR && count_files() == before + 1);
    CHECK(hyv_file_copy(place("copy"), "/nonexistent", 100) == -ENOENT);
    CHECK(count_files() == before + 1);
    CHECK(hyv_output_open(&o, "/nonexistent/out", 5) == -ENOENT);
    CHECK(hyv_output_close(&o, -ENOENT) == -ENOENT);
    CHECK(hyv_output_open(&o, place("out"), (uint64_t)1 << 60) < 0 && count_files() == before + 1);
    CHECK(hyv_file_read(&text, &size, place("out"), 100) == 0 && size == 5 &&
          memcmp(text, "first", 5) == 0);
    hyv_free_host(text);
}

int main(void)
{
    const hyv_keys none = {{0}, 0};
    char command[128];
    if (!CHECK(mkdtemp(folder) != NULL))
        return check_done();
    check_container(&hyv_writer_safetensors, &none);
    check_container(&hyv_writer_gguf, &none);
    check_keys();
    check_numbers();
    check_output();
    snprintf(command, sizeof(command), "rm -r %s", folder);
    CHECK(system(command) == 0);
    return check_done();
}
