/* Strict parsing and typed look-ups of JSON, and the messages when something is wrong. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../engine/base/json.h"
#include "../../engine/base/util.h"
#include "../check.h"

static void test_refusals(void)
{
    static const struct {
        const char *text;
        const char *word;
    } bad[] = {
        {"", "line"},
        {"{", "line 1, column 1"},
        {"{\n \"a\": }", "line 2"},
        {"{\"a\":1} x", "end of file expected"},
        {"{\"a\":1,}", "line 1"},
        {"{\"a\":1,\"a\":2}", "duplicate"},
        {"{\"x\":{\"a\":1,\"b\":1,\"a\":2}}", "duplicate"},
        {"{\"a\":9223372036854775808}", "too big"},
        {"{\"a\":-9223372036854775809}", "too"},
        {"{\"a\":1e999}", "real number overflow"},
        {"{\"a\":01}", "line 1"},
        {"{\"a\":NaN}", "line 1"},
        {"{\"a\":\"\\u0000\"}", "line 1"},
        {"{\"a\":\"\xff\"}", "line 1"},
        {"{\"a\":\"\xc0\xaf\"}", "line 1"},
        {"{\"a\":\"\\ud83d\"}", "line 1"},
        {"{\"a\":\"tab\there\"}", "line 1"},
        {"\"text\"", "line 1"},
        {"17", "line 1"},
        {"[[[[[1]]]]]", "more than 4 levels"},
        {"{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}", "more than 4 levels"},
        {"[\"\\\"\",[[[[1]]]]]", "more than 4 levels"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        hyv_log log = {0};
        hyv_json doc;
        CHECK_MSG(hyv_json_parse(&doc, bad[i].text, strlen(bad[i].text), 4, "some.json", &log) ==
                          -EBADMSG &&
                      doc.root == NULL,
                  "'%s' is accepted", bad[i].text);
        CHECK_MSG(strstr(log.error, bad[i].word) && strstr(log.error, "some.json"),
                  "'%s' not in: %s", bad[i].word, log.error);
        hyv_json_close(&doc);
    }
}

/* Brackets in strings do not nest; a million of them elsewhere neither crash nor take long. */
static void test_depth(void)
{
    static const char *const good[] = {"[[[[1]]]]",        "[\"[[[[[[\"]",
                                       "[\"\\\"[[[[[[\"]", "[\"\\\\\",\"[[[[[\"]",
                                       "{\"[[[[[\":{}}",   "[[],[],[],[],[]]"};
    hyv_json doc;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        hyv_log log = {0};
        CHECK_MSG(hyv_json_parse(&doc, good[i], strlen(good[i]), 4, "x", &log) == 0, "%s: %s",
                  good[i], log.error);
        hyv_json_close(&doc);
    }
    const size_t n = 1000000;
    char *deep = hyv_malloc(n, 1);
    memset(deep, '[', n);
    CHECK(hyv_json_parse(&doc, deep, n, 1000, "deep", NULL) == -EBADMSG);
    memset(deep, '\\', n);
    CHECK(hyv_json_parse(&doc, deep, n, 4, "odd", NULL) == -EBADMSG);
    hyv_free_host(deep);
}

static const char members[] =
    "{\"i\": 42, \"big\": 9223372036854775807, \"neg\": -3, \"x\": 0.5, \"t\": true, \"f\": false,"
    " \"s\": \"word\", \"none\": null, \"a\": [1, 2, 3], \"mixed\": [1, \"2\"], \"e\": [],"
    " \"in\": {\"list\": [{\"deep\": \"x\"}]}}";

static void test_members(hyv_json *doc)
{
    int64_t i = 7, list[3] = {7, 7, 7};
    double x = 7;
    bool b = false;
    const char *s = "default";
    int n = 3;
    CHECK(hyv_json_int(doc, NULL, "i", 0, 100, &i) == 1 && i == 42);
    CHECK(hyv_json_int(doc, NULL, "big", 0, INT64_MAX, &i) == 1 && i == INT64_MAX);
    CHECK(hyv_json_int(doc, NULL, "neg", -3, -3, &i) == 1 && i == -3);
    CHECK(hyv_json_number(doc, NULL, "x", 0, 1, &x) == 1 && x == 0.5);
    CHECK(hyv_json_number(doc, NULL, "i", 0, 100, &x) == 1 && x == 42);
    CHECK(hyv_json_bool(doc, NULL, "t", &b) == 1 && b);
    CHECK(hyv_json_bool(doc, NULL, "f", &b) == 1 && !b);
    CHECK(hyv_json_string(doc, NULL, "s", &s) == 1 && strcmp(s, "word") == 0);
    CHECK(hyv_json_ints(doc, NULL, "a", 1, 3, list, &n) == 1 && n == 3 && list[2] == 3);
    CHECK(hyv_json_ints(doc, NULL, "e", 1, 3, list, &n) == 1 && n == 0 && list[0] == 1);
    const json_t *in = json_array_get(json_object_get(json_object_get(doc->root, "in"), "list"), 0);
    CHECK(hyv_json_string(doc, in, "deep", &s) == 1 && strcmp(s, "x") == 0);
    CHECK(doc->log->error[0] == 0);
}

/* Missing and null members leave the values alone. */
static void test_missing(hyv_json *doc)
{
    static const char *const keys[] = {"absent", "none"};
    for (size_t k = 0; k < 2; k++) {
        int64_t i = 7;
        double x = 7;
        bool b = true;
        const char *s = "default";
        int n = 1;
        CHECK(hyv_json_int(doc, NULL, keys[k], 0, 1, &i) == 0 && i == 7);
        CHECK(hyv_json_number(doc, NULL, keys[k], 0, 1, &x) == 0 && x == 7);
        CHECK(hyv_json_bool(doc, NULL, keys[k], &b) == 0 && b);
        CHECK(hyv_json_string(doc, NULL, keys[k], &s) == 0 && strcmp(s, "default") == 0);
        CHECK(hyv_json_ints(doc, NULL, keys[k], 0, 1, &i, &n) == 0 && n == 1 && i == 7);
    }
    CHECK(doc->log->error[0] == 0);
}

#define WRONG(call, message)                                                     \
    do {                                                                         \
        hyv_log_clear(doc->log);                                                 \
        CHECK((call) == -EBADMSG);                                               \
        CHECK_MSG(strcmp(doc->log->error, message) == 0, "%s", doc->log->error); \
    } while (0)

static void test_wrong(hyv_json *doc)
{
    int64_t i = 7, list[3] = {7, 7, 7};
    double x = 7;
    bool b = true;
    const char *s = "default";
    int n = 2;
    WRONG(hyv_json_int(doc, NULL, "i", 0, 41, &i),
          "m.json: 'i' is 42, should be an integer from 0 to 41");
    WRONG(hyv_json_int(doc, NULL, "i", 43, 50, &i),
          "m.json: 'i' is 42, should be an integer from 43 to 50");
    WRONG(hyv_json_int(doc, NULL, "x", 0, 9, &i),
          "m.json: 'x' is 0.5, should be an integer from 0 to 9");
    WRONG(hyv_json_int(doc, NULL, "s", 0, 9, &i),
          "m.json: 's' is \"word\", should be an integer from 0 to 9");
    WRONG(hyv_json_number(doc, NULL, "x", 1, 2.5, &x),
          "m.json: 'x' is 0.5, should be a number from 1 to 2.5");
    WRONG(hyv_json_number(doc, NULL, "t", 0, 1, &x),
          "m.json: 't' is true, should be a number from 0 to 1");
    WRONG(hyv_json_bool(doc, NULL, "i", &b), "m.json: 'i' is 42, should be true or false");
    WRONG(hyv_json_string(doc, NULL, "a", &s), "m.json: 'a' is [1,2,3], should be a string");
    WRONG(hyv_json_ints(doc, NULL, "a", 0, 9, list, &n),
          "m.json: 'a' is [1,2,3], should be an array of at most 2 integers from 0 to 9");
    WRONG(hyv_json_ints(doc, NULL, "mixed", 0, 9, list, &n),
          "m.json: 'mixed' is [1,\"2\"], should be an array of at most 2 integers from 0 to 9");
    WRONG(hyv_json_ints(doc, NULL, "s", 0, 9, list, &n),
          "m.json: 's' is \"word\", should be an array of at most 2 integers from 0 to 9");
    const json_t *in = json_array_get(json_object_get(json_object_get(doc->root, "in"), "list"), 0);
    WRONG(hyv_json_int(doc, in, "deep", 0, 9, &i),
          "m.json: 'in.list[0].deep' is \"x\", should be an integer from 0 to 9");
    CHECK(i == 7 && x == 7 && b && strcmp(s, "default") == 0 && n == 2 && list[0] == 7);
}

/* What failed downloads leave behind. */
static void test_downloads(void)
{
    static const char *const texts[][2] = {
        {"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"},
        {"<!doctype html><html></html>", "HTML"}};
    for (size_t i = 0; i < 2; i++) {
        char path[] = "/tmp/hyv-test-XXXXXX";
        const int fd = mkstemp(path);
        const size_t size = strlen(texts[i][0]);
        hyv_log log = {0};
        hyv_json doc;
        CHECK(fd >= 0 && write(fd, texts[i][0], size) == (ssize_t)size);
        CHECK(hyv_json_load(&doc, path, 1000, &log) == -EBADMSG && doc.root == NULL);
        CHECK_MSG(strstr(log.error, texts[i][1]) != NULL, "%s", log.error);
        close(fd);
        unlink(path);
    }
}

static void test_load(void)
{
    char path[] = "/tmp/hyv-test-XXXXXX";
    const int fd = mkstemp(path);
    hyv_json doc;
    hyv_log log = {0};
    if (!CHECK(fd >= 0))
        return;
    CHECK(hyv_json_load(&doc, path, 100, &log) == -EBADMSG && strstr(log.error, "empty"));
    hyv_log_clear(&log);
    CHECK(write(fd, "{\"a\": [1]}", 10) == 10);
    CHECK(hyv_json_load(&doc, path, 10, &log) == 0 && json_object_size(doc.root) == 1);
    hyv_json_close(&doc);
    CHECK(doc.root == NULL);
    CHECK(hyv_json_load(&doc, path, 9, &log) == -EBADMSG && strstr(log.error, "9 bytes"));
    close(fd);
    unlink(path);
    hyv_log_clear(&log);
    CHECK(hyv_json_load(&doc, path, 9, &log) == -ENOENT && strstr(log.error, path));
    CHECK(strstr(log.error, "No such file") != NULL);
    CHECK(hyv_json_load(&doc, "/tmp", 9, &log) == -EISDIR && doc.root == NULL);
}

int main(void)
{
    test_refusals();
    test_depth();
    hyv_json doc;
    hyv_log log = {0};
    if (CHECK_MSG(hyv_json_parse(&doc, members, strlen(members), 8, "m.json", &log) == 0, "%s",
                  log.error)) {
        test_members(&doc);
        test_missing(&doc);
        test_wrong(&doc);
    }
    hyv_json_close(&doc);
    test_load();
    test_downloads();
    return check_done();
}
