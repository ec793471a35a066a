/* Sizes, memory, strings, files, UTF-8 and number parsing, at their limits.
 *
 * Files and pipes are made in a temporary folder.
 */
#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../engine/base/util.h"
#include "../check.h"

static void test_sizes(void)
{
    size_t out = 7;
    CHECK(hyv_mul_size(0, SIZE_MAX, &out) && out == 0);
    CHECK(hyv_mul_size(SIZE_MAX, 0, &out) && out == 0);
    CHECK(hyv_mul_size(SIZE_MAX, 1, &out) && out == SIZE_MAX);
    CHECK(hyv_mul_size(SIZE_MAX / 3, 3, &out) && out == SIZE_MAX / 3 * 3);
    out = 7;
    CHECK(!hyv_mul_size(SIZE_MAX / 2 + 1, 2, &out) && out == 7);
    CHECK(!hyv_mul_size((size_t)1 << 32, (size_t)1 << 32, &out) && out == 7);
    CHECK(hyv_add_size(SIZE_MAX - 1, 1, &out) && out == SIZE_MAX);
    CHECK(hyv_add_size(0, 0, &out) && out == 0);
    out = 7;
    CHECK(!hyv_add_size(SIZE_MAX, 1, &out) && out == 7);
    CHECK(!hyv_add_size(SIZE_MAX / 2 + 1, SIZE_MAX / 2 + 1, &out) && out == 7);
}

static void test_memory(void)
{
    CHECK(hyv_malloc(SIZE_MAX, 2) == NULL);
    CHECK(hyv_calloc(SIZE_MAX / 2, 4) == NULL);
    void *empty = hyv_malloc(0, 8), *nothing = hyv_calloc(8, 0);
    CHECK(empty != NULL && nothing != NULL);
    hyv_free_host(empty);
    hyv_free_host(nothing);
    hyv_free_host(NULL);
    uint32_t *p = hyv_calloc(100, sizeof(*p));
    uint32_t sum = 0;
    for (int i = 0; p && i < 100; i++)
        sum |= p[i];
    CHECK(p && sum == 0);
    p[99] = 17;
    CHECK(hyv_realloc(p, SIZE_MAX, 2) == NULL);
    CHECK(p[99] == 17); /* a failure leaves it as it was */
    p = hyv_realloc(p, 1000, sizeof(*p));
    CHECK(p && p[99] == 17);
    p = hyv_realloc(p, 0, 4);
    CHECK(p != NULL);
    hyv_free_host(p);
    char *copy = hyv_strdup(""), *part = hyv_strndup("abcdef", 3), *all = hyv_strndup("ab", 100);
    CHECK(strcmp(copy, "") == 0 && strcmp(part, "abc") == 0 && strcmp(all, "ab") == 0);
    hyv_free_host(copy);
    hyv_free_host(part);
    hyv_free_host(all);
}

static void test_string(void)
{
    hyv_string s = {0};
    CHECK(strcmp(hyv_string_text(&s), "") == 0);
    char expected[40001] = "";
    size_t n = 0;
    for (int i = 0; n + 12 < sizeof(expected); i++) {
        hyv_string_append(&s, "%d,", i);
        n += (size_t)snprintf(expected + n, sizeof(expected) - n, "%d,", i);
    }
    CHECK(!s.failed && s.length == n && strcmp(hyv_string_text(&s), expected) == 0);
    hyv_string_append_bytes(&s, "\0x", 2);
    CHECK(s.length == n + 2 && s.text[n] == 0 && s.text[n + 1] == 'x' && s.text[n + 2] == 0);
    hyv_string_append_bytes(&s, NULL, 0);
    CHECK(s.length == n + 2);
    /* too large: empty for good, and every later append is ignored */
    hyv_string_append_bytes(&s, "y", SIZE_MAX - 4);
    CHECK(s.failed && s.length == 0 && strcmp(hyv_string_text(&s), "") == 0);
    hyv_string_append(&s, "more");
    CHECK(s.failed && s.length == 0 && strcmp(hyv_string_text(&s), "") == 0);
    hyv_string_free(&s);
    CHECK(!s.failed);
    hyv_string_append(&s, "again");
    CHECK(strcmp(hyv_string_text(&s), "again") == 0);
    hyv_string_free(&s);
    hyv_string_free(&s);
}

static void test_utf8(void)
{
    static const struct {
        const char *text;
        size_t size, good;
    } texts[] = {
        {"", 0, 0},
        {"plain", 5, 5},
        {"a\0b", 3, 3},
        {"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf", 16, 16},
        {"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 8, 8},
        {"ab\x80", 3, 2},             /* continuation first */
        {"ab\xc0\x80", 4, 2},         /* overlong */
        {"ab\xc1\xbf", 4, 2},         /* overlong */
        {"ab\xe0\x9f\xbf", 5, 2},     /* overlong */
        {"ab\xf0\x8f\xbf\xbf", 6, 2}, /* overlong */
        {"ab\xed\xa0\x80", 5, 2},     /* surrogate */
        {"ab\xf4\x90\x80\x80", 6, 2}, /* beyond U+10FFFF */
        {"ab\xf5\x80\x80\x80", 6, 2},
        {"ab\xff", 3, 2},
        {"ab\xe4\xb8", 4, 2}, /* cut */
        {"ab\xe4\x41\x41", 5, 2},
        {"ab\xf0\x9f\x98", 5, 2},
        {"\xc3\xa9\xc3", 3, 2},
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        /* a copy of exactly this size, so that a look beyond it is seen by the sanitizer */
        char *copy = hyv_malloc(texts[i].size, 1);
        memcpy(copy, texts[i].text, texts[i].size);
        const size_t good = hyv_utf8_check(copy, texts[i].size);
        CHECK_MSG(good == texts[i].good, "text %zu: %zu", i, good);
        hyv_free_host(copy);
    }
}

static void write_bytes(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    if (CHECK_MSG(f != NULL, "cannot write %s", path)) {
        CHECK(fwrite(data, 1, size, f) == size);
        fclose(f);
    }
}

static void test_files(const char *folder)
{
    char *path = hyv_path_join(folder, "file"), *text;
    size_t size;
    hyv_map map;
    CHECK(hyv_map_open(&map, path) == -ENOENT && map.size == 0 && map.data);
    CHECK(hyv_file_read(&text, &size, path, 10) == -ENOENT && !text);
    CHECK(!hyv_path_is_file(path) && !hyv_path_is_folder(path));
    write_bytes(path, "0123456789", 10);
    CHECK(hyv_path_is_file(path) && !hyv_path_is_folder(path));
    CHECK(hyv_file_read(&text, &size, path, 10) == 0 && size == 10 && !strcmp(text, "0123456789"));
    hyv_free_host(text);
    CHECK(hyv_file_read(&text, &size, path, 9) == -EFBIG && !text && size == 0);
    CHECK(hyv_map_open(&map, path) == 0 && map.size == 10 && !memcmp(map.data, "0123456789", 10));
    hyv_map_close(&map);
    CHECK(map.size == 0 && map.data);
    hyv_map_close(&map);
    write_bytes(path, "", 0);
    CHECK(hyv_map_open(&map, path) == 0 && map.size == 0 && map.data);
    hyv_map_close(&map);
    CHECK(hyv_file_read(&text, &size, path, 0) == 0 && size == 0 && !strcmp(text, ""));
    hyv_free_host(text);
    CHECK(hyv_map_open(&map, folder) == -EISDIR);
    CHECK(hyv_file_read(&text, &size, folder, 10) == -EISDIR);
    CHECK(hyv_path_is_folder(folder) && !hyv_path_is_file(folder));
    CHECK(hyv_map_open(&map, "/dev/null") == -EINVAL);
    CHECK(hyv_file_read(&text, &size, "/dev/zero", 100000) == -EFBIG);
    unlink(path);
    hyv_free_host(path);
}

/* A pipe is read to its end by hyv_file_read, refused by hyv_map_open, and neither waits for ever.
 */
static void test_pipe(const char *folder)
{
    char *path = hyv_path_join(folder, "pipe"), *text;
    size_t size;
    hyv_map map;
    CHECK(mkfifo(path, 0600) == 0);
    CHECK(hyv_map_open(&map, path) == -EINVAL);
    const int fd = open(path, O_RDWR); /* so that the pipe has a writer before its reader */
    static char data[30000];
    memset(data, 'x', sizeof(data));
    CHECK(fd >= 0 && write(fd, data, sizeof(data)) == (ssize_t)sizeof(data));
    CHECK(hyv_file_read(&text, &size, path, 20000) == -EFBIG);
    close(fd);
    unlink(path);
    hyv_free_host(path);
    int ends[2];
    char name[32];
    CHECK(pipe(ends) == 0 && write(ends[1], data, 20000) == 20000);
    close(ends[1]);
    snprintf(name, sizeof(name), "/dev/fd/%d", ends[0]);
    CHECK(hyv_file_read(&text, &size, name, 20000) == 0 && size == 20000 && strlen(text) == 20000);
    hyv_free_host(text);
    close(ends[0]);
}

static void test_paths(void)
{
    static const char *const paths[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"/", "b", "/b"}, {"", "b", "b"}, {"a", "", "a/"}};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        char *joined = hyv_path_join(paths[i][0], paths[i][1]);
        CHECK_MSG(joined && strcmp(joined, paths[i][2]) == 0, "path %zu", i);
        hyv_free_host(joined);
    }
}

static void test_integers(void)
{
    static const struct {
        const char *text;
        bool ok;
        int64_t value;
    } texts[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"+7", true, 7},
        {"007", true, 7},
        {"-42", true, -42},
        {"4294967295", true, 4294967295},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"99999999999999999999", false, 0},
        {"18446744073709551617", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {"+-1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"1.0", false, 0},
        {"0x10", false, 0},
        {"1e3", false, 0},
        {"one", false, 0},
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int64_t value = 77;
        const bool ok = hyv_parse_int(texts[i].text, &value);
        CHECK_MSG(ok == texts[i].ok && value == (ok ? texts[i].value : 77), "'%s': %d, %lld",
                  texts[i].text, ok, (long long)value);
    }
}

static void check_numbers(void)
{
    static const struct {
        const char *text;
        bool ok;
        double value;
    } texts[] = {
        {"0", true, 0},         {"6.5", true, 6.5},
        {"-.5", true, -0.5},    {"5.", true, 5},
        {"1e3", true, 1000},    {"1E-3", true, 0.001},
        {"+2", true, 2},        {"1.7976931348623157e308", true, DBL_MAX},
        {"1e309", false, 0},    {"-1e309", false, 0},
        {"1e-400", true, 0},    {"", false, 0},
        {".", false, 0},        {"e5", false, 0},
        {"1e", false, 0},       {"1,5", false, 0},
        {" 1", false, 0},       {"1 ", false, 0},
        {"nan", false, 0},      {"inf", false, 0},
        {"infinity", false, 0}, {"0x10", false, 0},
        {"1.2.3", false, 0},    {"--1", false, 0},
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        double value = 77;
        const bool ok = hyv_parse_double(texts[i].text, &value);
        CHECK_MSG(ok == texts[i].ok && value == (ok ? texts[i].value : 77), "'%s': %d, %g",
                  texts[i].text, ok, value);
    }
}

static void test_numbers(void)
{
    check_numbers();
    /* a locale with a decimal comma, where the machine has one */
    static const char *const locales[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "ru_RU.UTF-8"};
    bool found = false;
    for (size_t i = 0; i < 3 && !found; i++)
        found = setlocale(LC_ALL, locales[i]) != NULL;
    if (found)
        check_numbers();
    else
        check_skip("numbers in a locale with a decimal comma: none is installed");
    setlocale(LC_ALL, "C");
}

static void test_seconds(void)
{
    const double start = hyv_seconds();
    usleep(20000);
    const double passed = hyv_seconds() - start;
    CHECK_MSG(passed >= 0.019 && passed < 10, "20 ms took %g s", passed);
}

int main(void)
{
    char folder[] = "/tmp/hyv-test-XXXXXX";
    if (!CHECK_MSG(mkdtemp(folder) != NULL, "no temporary folder"))
        return check_done();
    test_sizes();
    test_memory();
    test_string();
    test_utf8();
    test_files(folder);
    test_pipe(folder);
    test_paths();
    test_integers();
    test_numbers();
    test_seconds();
    CHECK(rmdir(folder) == 0);
    return check_done();
}
