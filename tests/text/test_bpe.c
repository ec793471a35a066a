/* Both tokenizers against the reference's ids; damaged and foreign tokenizer files; long and odd
 * texts.
 *
 * tests/golden/cases/tokens.json has texts with the ids of both tokenizers of the tiny model,
 * begin and end tokens included. Damaged files are written to a temporary folder.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../engine/base/json.h"
#include "../../engine/base/util.h"
#include "../../engine/text/bpe.h"
#include "../check.h"

enum { IDS = 4096 };

static char folder[] = "/tmp/hyv-test-XXXXXX";

static hyv_bpe *open_bpe(const char *path)
{
    hyv_log log = {0};
    hyv_bpe *bpe;
    CHECK_MSG(hyv_bpe_open(&bpe, path, &log) == 0, "%s: %s", path, log.error);
    return bpe;
}

/* The text's ids behind `begin` and before `end` (-1: none) must be those of the array. */
static void check_ids(hyv_bpe *bpe, const char *text, size_t length, const json_t *expected,
                      int32_t begin, int32_t end)
{
    int32_t ids[IDS];
    int64_t count, n = 0;
    hyv_log log = {0};
    if (begin >= 0)
        ids[n++] = begin;
    if (!CHECK_MSG(hyv_bpe_encode(bpe, text, length, 1, ids + n, IDS - 2, &count, &log) == 0, "%s",
                   log.error))
        return;
    n += count;
    if (end >= 0)
        ids[n++] = end;
    bool same = n == (int64_t)json_array_size(expected);
    for (int64_t i = 0; i < n && same; i++)
        same = ids[i] == json_integer_value(json_array_get(expected, (size_t)i));
    CHECK_MSG(same, "'%.60s': %lld ids, or their values, differ from the reference's %zu", text,
              (long long)n, json_array_size(expected));
}

static void test_reference(hyv_bpe *llama, hyv_bpe *clip, hyv_bpe *clip_json)
{
    hyv_json doc;
    hyv_log log = {0};
    if (!CHECK_MSG(hyv_json_load(&doc, "tests/golden/cases/tokens.json", 1 << 20, &log) == 0, "%s",
                   log.error))
        return;
    size_t i;
    json_t *entry;
    CHECK(json_array_size(doc.root) >= 30);
    json_array_foreach(doc.root, i, entry)
    {
        const json_t *text = json_object_get(entry, "text");
        const char *s = json_string_value(text);
        const size_t length = json_string_length(text);
        check_ids(llama, s, length, json_object_get(entry, "llama"), hyv_bpe_bos(llama), -1);
        check_ids(clip, s, length, json_object_get(entry, "clip"), hyv_bpe_bos(clip),
                  hyv_bpe_eos(clip));
        check_ids(clip_json, s, length, json_object_get(entry, "clip"), hyv_bpe_bos(clip_json),
                  hyv_bpe_eos(clip_json));
    }
    hyv_json_close(&doc);
}

/* The same CLIP tokenizer as tokenizer.json instead of the pair of files. */
static void write_file(const char *name, const char *text)
{
    char *path = hyv_path_join(folder, name);
    FILE *f = fopen(path, "wb");
    if (CHECK_MSG(f != NULL, "cannot write %s", path)) {
        CHECK(fwrite(text, 1, strlen(text), f) == strlen(text));
        fclose(f);
    }
    hyv_free_host(path);
}

static void remove_file(const char *name)
{
    char *path = hyv_path_join(folder, name);
    unlink(path);
    hyv_free_host(path);
}

static hyv_bpe *clip_from_json(void)
{
    hyv_json vocabulary, whole;
    hyv_log log = {0};
    char *merges;
    size_t size;
    if (!CHECK(
            hyv_json_load(&vocabulary, "tests/golden/t2v/tokenizer_2/vocab.json", 1 << 20, &log) ==
                0 &&
            hyv_json_load(&whole, "tests/golden/i2v/tokenizer_2/tokenizer.json", 1 << 20, &log) ==
                0 &&
            hyv_file_read(&merges, &size, "tests/golden/t2v/tokenizer_2/merges.txt", 1 << 20) == 0))
        return NULL;
    json_t *model = json_object_get(whole.root, "model"), *list = json_array(), *token;
    char *rest = NULL;
    for (char *line = strtok_r(merges, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (*line != '#')
            json_array_append_new(list, json_string(line));
    json_object_set_new(model, "merges", list);
    size_t i;
    json_array_foreach(json_object_get(whole.root, "added_tokens"), i, token) json_object_set(
        token, "id",
        json_object_get(vocabulary.root, json_string_value(json_object_get(token, "content"))));
    json_object_set(model, "vocab", vocabulary.root);
    char *text = json_dumps(whole.root, JSON_COMPACT);
    write_file("tokenizer.json", text);
    free(text);
    hyv_free_host(merges);
    hyv_json_close(&vocabulary);
    hyv_json_close(&whole);
    hyv_bpe *bpe = open_bpe(folder);
    remove_file("tokenizer.json");
    return bpe;
}

static int64_t count_ids(hyv_bpe *bpe, const char *text, int special, int32_t *first)
{
    int32_t ids[IDS];
    int64_t count = -1;
    hyv_log log = {0};
    CHECK_MSG(hyv_bpe_encode(bpe, text, strlen(text), special, ids, IDS, &count, &log) == 0, "%s",
              log.error);
    if (first && count > 0)
        *first = ids[0];
    return count;
}

static void test_special(hyv_bpe *llama, hyv_bpe *clip)
{
    int32_t first = -1;
    CHECK(hyv_bpe_token(llama, "<|eot_id|>") == 889 && hyv_bpe_token(llama, "<|eot") < 0);
    CHECK(hyv_bpe_token(llama, "") < 0);
    CHECK(hyv_bpe_bos(llama) == 880 && hyv_bpe_eos(llama) == 881 && hyv_bpe_size(llama) == 893);
    CHECK(hyv_bpe_bos(clip) == 772 && hyv_bpe_eos(clip) == 773 && hyv_bpe_size(clip) == 774);
    CHECK(count_ids(llama, "<|eot_id|>", 1, &first) == 1 && first == 889);
    CHECK(count_ids(llama, "<|eot_id|>", 0, &first) > 1 && first != 889);
    CHECK(count_ids(clip, "<|endoftext|>", 1, &first) == 1 && first == 773);
    CHECK(count_ids(clip, "<|endoftext|>", 0, &first) > 1 && first != 773);
    CHECK(count_ids(llama, "", 1, NULL) == 0 && count_ids(clip, "", 1, NULL) == 0);
    /* the longest of the special tokens that begin alike, and an unfinished one */
    CHECK(count_ids(llama, "<|reserved_special_token_3|><|reserved_special_token_", 1, &first) > 1);
    CHECK(first == hyv_bpe_token(llama, "<|reserved_special_token_3|>"));
}

/* What is stored and what is counted when the array is short. */
static void test_short_array(hyv_bpe *llama)
{
    int32_t all[64], few[3] = {-7, -7, -7};
    int64_t count, same;
    const char *text = "A cat walks on the grass";
    CHECK(hyv_bpe_encode(llama, text, strlen(text), 0, all, 64, &count, NULL) == 0 && count > 3);
    CHECK(hyv_bpe_encode(llama, text, strlen(text), 0, few, 2, &same, NULL) == 0 && same == count);
    CHECK(few[0] == all[0] && few[1] == all[1] && few[2] == -7);
    CHECK(hyv_bpe_encode(llama, text, strlen(text), 0, NULL, 0, &same, NULL) == 0 && same == count);
}

static void test_bad_text(hyv_bpe *llama, hyv_bpe *clip)
{
    static const char *const texts[] = {
        "caf\xe9",  "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
        "\xe2\x82", "ok\xff",   "\x80",         "\xf8\x88\x80\x80\x80"};
    hyv_bpe *const both[] = {llama, clip};
    for (size_t i = 0; i < 16; i++) {
        hyv_log log = {0};
        int64_t count = 9;
        const char *text = texts[i / 2];
        CHECK(hyv_bpe_encode(both[i % 2], text, strlen(text), 0, NULL, 0, &count, &log) == -EINVAL);
        CHECK(strstr(log.error, "UTF-8") && count == 0);
    }
}

/* Hundreds of thousands of bytes without a place to cut, in well under a second each. */
static void test_long(hyv_bpe *llama, hyv_bpe *clip)
{
    static const char *const units[] = {"a",  " ",  "\n",  "ab c",     "the", "\xe7\x8b\x97",
                                        "<|", "'s", "\n ", "\xcc\x81", "1",   "A\xcc\x8a"};
    const size_t bytes = 1 << 18;
    char *text = hyv_malloc(bytes, 1);
    int32_t *ids = hyv_malloc(bytes, sizeof(*ids));
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        const size_t n = strlen(units[i]), whole = bytes / n * n;
        for (size_t at = 0; at < whole; at += n)
            memcpy(text + at, units[i], n);
        const double start = hyv_seconds();
        int64_t count = -1, clip_count = -1;
        hyv_log log = {0};
        CHECK_MSG(hyv_bpe_encode(llama, text, whole, 1, ids, (int64_t)bytes, &count, &log) == 0,
                  "'%s': %s", units[i], log.error);
        CHECK_MSG(hyv_bpe_encode(clip, text, whole, 1, ids, (int64_t)bytes, &clip_count, &log) == 0,
                  "'%s': %s", units[i], log.error);
        CHECK_MSG(count > 0 && count <= (int64_t)whole && clip_count <= 3 * (int64_t)whole,
                  "'%s': %lld and %lld ids", units[i], (long long)count, (long long)clip_count);
        /* a quadratic algorithm takes minutes for these; the bound leaves room for sanitizers */
        CHECK_MSG(hyv_seconds() - start < 20, "'%s' took %.1f s", units[i], hyv_seconds() - start);
    }
    hyv_log log = {0};
    int64_t count;
    CHECK(hyv_bpe_encode(llama, text, (size_t)1 << 30, 0, NULL, 0, &count, &log) == -EINVAL);
    CHECK(strstr(log.error, "1073741824"));
    hyv_free_host(ids);
    hyv_free_host(text);
}

/* Merging against the definition, followed word by word, on random texts from few letters. */
static void test_definition(void)
{
    enum { LETTERS = 24, MERGES = 8 };
    static const char *const tokens[] = {"a",  "b",   "c",   "ab",  "ba", "aba",
                                         "aa", "bab", "aab", "cab", "abc"};
    static const int merges[MERGES][3] = {{0, 1, 3}, {1, 0, 4}, {3, 0, 5}, {0, 0, 6},
                                          {4, 1, 7}, {6, 1, 8}, {2, 3, 9}, {3, 2, 10}};
    write_file("tokenizer.json",
               "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"ba\":4,"
               "\"aba\":5,\"aa\":6,\"bab\":7,\"aab\":8,\"cab\":9,\"abc\":10},"
               "\"merges\":[\"a b\",\"b a\",\"ab a\",\"a a\",\"ba b\",\"aa b\",\"c ab\",\"ab c\"]},"
               "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
               "\"use_regex\":false}}");
    hyv_bpe *bpe = open_bpe(folder);
    check_random random = {7};
    for (int round = 0; bpe && round < 300; round++) {
        char text[LETTERS];
        int32_t expected[LETTERS], ids[LETTERS];
        const int length = (int)check_random_int(&random, 1, LETTERS);
        for (int i = 0; i < length; i++) {
            expected[i] = (int32_t)check_random_int(&random, 0, round % 2 ? 2 : 1);
            text[i] = *tokens[expected[i]];
        }
        int n = length;
        for (int m = 0; m < MERGES;) {
            int at = 0;
            while (at + 1 < n && (expected[at] != merges[m][0] || expected[at + 1] != merges[m][1]))
                at++;
            if (at + 1 >= n) {
                m++;
                continue;
            }
            expected[at] = merges[m][2];
            n--;
            for (int i = at + 1; i < n; i++)
                expected[i] = expected[i + 1];
            m = 0; /* begin again with the lowest rank */
        }
        int64_t count;
        CHECK(hyv_bpe_encode(bpe, text, (size_t)length, 0, ids, LETTERS, &count, NULL) == 0);
        CHECK_MSG(count == n && memcmp(ids, expected, (size_t)n * sizeof(*ids)) == 0,
                  "'%.*s' is merged in another way", length, text);
    }
    hyv_bpe_close(&bpe);
    remove_file("tokenizer.json");
}

#define VOCAB       "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]"
#define LEVEL       "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"
#define MODEL(more) "{\"model\":{\"type\":\"BPE\"," more "},\"pre_tokenizer\":" LEVEL "}"
#define RULES(more) "{\"model\":{\"type\":\"BPE\"," VOCAB "}," more "}"

static const struct damage {
    const char *text;
    int err;
    const char *word;
} damages[] = {
    {"", -EBADMSG, "empty"},
    {"{", -EBADMSG, "not valid JSON"},
    {"[]", -EBADMSG, "no 'model'"},
    {"{\"model\":{},\"model\":{}}", -EBADMSG, "duplicate"},
    {"{\"model\":{\"type\":\"Unigram\"}}", -ENOTSUP, "'Unigram'"},
    {"{\"model\":{\"type\":7}}", -EBADMSG, "'model.type' is 7"},
    {"{\"model\":{\"type\":\"BPE\"}}", -EBADMSG, "a vocabulary of 0 tokens"},
    {MODEL("\"vocab\":{\"a\":-1}"), -EBADMSG, "token 'a'"},
    {MODEL("\"vocab\":{\"a\":1.5}"), -EBADMSG, "token 'a'"},
    {MODEL("\"vocab\":{\"a\":\"0\"}"), -EBADMSG, "token 'a'"},
    {MODEL("\"vocab\":{\"a\":2147483647}"), -EBADMSG, "token 'a'"},
    {MODEL("\"vocab\":{\"a\":0,\"a\":1}"), -EBADMSG, "duplicate"},
    {MODEL("\"vocab\":{\"a\":0,\"b\":1},\"merges\":[\"a b\"]"), -EBADMSG, "merge 1"},
    {MODEL("\"vocab\":{\"a\":0,\"ab\":1},\"merges\":[\"a b\"]"), -EBADMSG, "merge 1"},
    {MODEL("\"vocab\":{\"a\":0},\"merges\":[\"ab\"]"), -EBADMSG, "two tokens with a blank"},
    {MODEL("\"vocab\":{\"a\":0},\"merges\":[\"a b c\"]"), -EBADMSG, "two tokens with a blank"},
    {MODEL("\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]"), -EBADMSG, "not two strings"},
    {MODEL("\"vocab\":{\"a\":0},\"merges\":[7]"), -EBADMSG, "not two strings"},
    {MODEL(VOCAB ",\"byte_fallback\":true"), -ENOTSUP, "byte_fallback"},
    {MODEL(VOCAB ",\"dropout\":0.1"), -ENOTSUP, "dropout"},
    {MODEL(VOCAB ",\"continuing_subword_prefix\":\"##\""), -ENOTSUP, "subword_prefix"},
    {MODEL(VOCAB ",\"ignore_merges\":1"), -EBADMSG, "ignore_merges"},
    {RULES("\"normalizer\":{\"type\":\"Strange\"}"), -ENOTSUP, "'Strange'"},
    {RULES("\"normalizer\":{}"), -ENOTSUP, "without a type"},
    {RULES("\"pre_tokenizer\":{\"type\":\"Whitespace\"}"), -ENOTSUP, "'Whitespace'"},
    {RULES("\"pre_tokenizer\":null"), -ENOTSUP, "not a byte-level"},
    {RULES("\"pre_tokenizer\":{\"type\":\"ByteLevel\"}"), -ENOTSUP, "add_prefix_space"},
    {RULES("\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\","
           "\"pattern\":{\"Regex\":\"(a\"}}"),
     -EBADMSG, "the expression '(a' is wrong at 2"},
    {RULES("\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\"}"), -EBADMSG,
     "without a pattern"},
    {RULES("\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"MergedWithNext\","
           "\"pattern\":{\"String\":\"a\"}}"),
     -ENOTSUP, "MergedWithNext"},
    {RULES("\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[" LEVEL "," LEVEL "]}"),
     -ENOTSUP, "after 'ByteLevel'"},
    {RULES("\"pre_tokenizer\":" LEVEL ",\"added_tokens\":[{\"content\":\"x\"}]"), -EBADMSG,
     "lacks its id"},
    {RULES("\"pre_tokenizer\":" LEVEL ",\"added_tokens\":[{\"id\":-4,\"content\":\"x\"}]"),
     -EBADMSG, "an integer from 0"},
    {RULES("\"pre_tokenizer\":" LEVEL ",\"added_tokens\":[{\"id\":4,\"content\":\"\"}]"), -EBADMSG,
     "added token"},
};

static void test_damaged(void)
{
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        const struct damage *d = &damages[i];
        write_file("tokenizer.json", d->text);
        hyv_log log = {0};
        hyv_bpe *bpe = (hyv_bpe *)&log;
        const int err = hyv_bpe_open(&bpe, folder, &log);
        CHECK_MSG(err == d->err && bpe == NULL, "%s: %d: %s", d->text, err, log.error);
        CHECK_MSG(strstr(log.error, d->word) && strstr(log.error, "tokenizer.json"),
                  "'%s' not in: %s", d->word, log.error);
        hyv_bpe_close(&bpe);
    }
    remove_file("tokenizer.json");
}

static void test_damaged_pair(void)
{
    static const struct {
        const char *vocabulary, *merges;
        int err;
        const char *word;
    } pairs[] = {
        {"{\"a\":0,\"b\":1,\"ab\":2}", NULL, -ENOENT, "neither"},
        {"{\"a\":0,\"b\":1,\"ab\":2}", "#version: 0.2\na b\na c\n", -EBADMSG, "merge 2"},
        {"{\"a\":0,\"b\":1,\"ab\":2}", "#version: 0.2\nab\n", -EBADMSG, "merge 1"},
        {"[\"a\"]", "a b", -EBADMSG, "a vocabulary of 0"},
        {"{\"a\":0,\"b\":1,\"ab\":2}", "a b\r\n\n", 0, ""},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        write_file("vocab.json", pairs[i].vocabulary);
        if (pairs[i].merges)
            write_file("merges.txt", pairs[i].merges);
        hyv_log log = {0};
        hyv_bpe *bpe;
        CHECK_MSG(hyv_bpe_open(&bpe, folder, &log) == pairs[i].err, "%zu: %s", i, log.error);
        CHECK_MSG(strstr(log.error, pairs[i].word) != NULL, "%s", log.error);
        hyv_bpe_close(&bpe);
        remove_file("vocab.json");
        remove_file("merges.txt");
    }
}

/* An expression that takes exponential time gives up, and says so. */
static void test_hostile_expression(void)
{
    write_file("tokenizer.json",
               RULES("\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":"
                     "\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":"
                     "\"((a+)+)+[xy]\"}}," LEVEL "]}"));
    hyv_bpe *bpe = open_bpe(folder);
    hyv_log log = {0};
    int64_t count;
    const char *text = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac";
    const double start = hyv_seconds();
    if (bpe)
        CHECK(hyv_bpe_encode(bpe, text, strlen(text), 0, NULL, 0, &count, &log) == -EINVAL);
    CHECK_MSG(strstr(log.error, "gives up") != NULL, "%s", log.error);
    CHECK(hyv_seconds() - start < 20);
    hyv_bpe_close(&bpe);
    remove_file("tokenizer.json");
}

/* Tokens that no merge makes: none, and two when the last two merges are left out. */
static void test_unmade(hyv_bpe *clip)
{
    char example[HYV_BPE_EXAMPLE_BYTES] = "?";
    hyv_log log = {0};
    hyv_bpe *cut;
    CHECK(hyv_bpe_unmade(clip, example) == 0 && !*example);
    write_file("vocab.json", "{\"a\":0,\"b\":1,\"a</w>\":2,\"b</w>\":3,\"ab\":4,\"aba</w>\":5,"
                             "\"ba</w>\":6,\"<|startoftext|>\":7,\"<|endoftext|>\":8}");
    write_file("merges.txt", "#version: 0.2\na b\n");
    if (CHECK_MSG(hyv_bpe_open(&cut, folder, &log) == 0, "%s", log.error))
        CHECK(hyv_bpe_unmade(cut, example) == 2 &&
              (!strcmp(example, "aba</w>") || !strcmp(example, "ba</w>")));
    hyv_bpe_close(&cut);
    remove_file("vocab.json");
    remove_file("merges.txt");
}

int main(void)
{
    if (!CHECK_MSG(mkdtemp(folder) != NULL, "no temporary folder"))
        return check_done();
    hyv_bpe *llama = open_bpe("tests/golden/t2v/tokenizer");
    hyv_bpe *clip = open_bpe("tests/golden/t2v/tokenizer_2");
    hyv_bpe *clip_json = clip_from_json();
    if (llama && clip && clip_json) {
        test_reference(llama, clip, clip_json);
        test_special(llama, clip);
        test_special(llama, clip_json);
        test_short_array(llama);
        test_bad_text(llama, clip);
        test_long(llama, clip);
        test_unmade(clip);
        test_unmade(clip_json);
    }
    hyv_bpe_close(&llama);
    hyv_bpe_close(&clip);
    hyv_bpe_close(&clip_json);
    test_definition();
    test_damaged();
    test_damaged_pair();
    test_hostile_expression();
    CHECK(rmdir(folder) == 0);
    return check_done();
}
