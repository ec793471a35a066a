/* The real tokenizers of Llama 3 and CLIP-L, whose vocabularies are not ours to ship.
 *
 * Python packages have them: llama-models (llama_models/llama3/tokenizer.model) and open-clip-torch
 * (open_clip/bpe_simple_vocab_16e6.txt.gz). Put both files into build/tokenizers, or where the
 * variable HYV_TOKENIZERS says. Here they are turned into the forms that the distributions ship
 * (tokenizer.json; vocab.json and merges.txt), read, and compared with known ids. Without a file
 * its part is skipped by name.
 */
#define _XOPEN_SOURCE 700
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../engine/text/bpe_tables.h"
#include "../../engine/text/prompt.h"
#include "../check.h"

enum { LLAMA_WORDS = 128000, CLIP_MERGES = 48894, TEXT_BYTES = 1024, IDS_MAX = 64 };

static hyv_log test_log;

static char *find_file(char path[512], const char *name)
{
    const char *folder = getenv("HYV_TOKENIZERS");
    snprintf(path, 512, "%s/%s", folder ? folder : "build/tokenizers", name);
    return access(path, R_OK) == 0 ? path : NULL;
}

/* ---- Llama 3: "BASE64 RANK" a line ----------------------------------------------------------- */

static int digit_of(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* The bytes as the characters that stand for them. */
static size_t decode_word(char *text, const char *base64)
{
    size_t length = 0;
    uint32_t bits = 0;
    for (int count = 0, digit; (digit = digit_of(*base64)) >= 0; base64++) {
        bits = bits << 6 | (uint32_t)digit;
        count += 6;
        if (count < 8)
            continue;
        count -= 8;
        if (length + 3 < TEXT_BYTES)
            length += (size_t)hyv_bpe_symbol((uint8_t)(bits >> count), text + length);
    }
    text[length] = '\0';
    return length;
}

static json_int_t rank_of(const json_t *vocabulary, const char *from, const char *to)
{
    char word[TEXT_BYTES];
    snprintf(word, sizeof(word), "%.*s", (int)(to - from), from);
    const json_t *id = json_object_get(vocabulary, word);
    return id ? json_integer_value(id) : LLAMA_WORDS;
}

/* The two parts that merging by ranks below its own leaves of a word; false if there are not two,
 * as of a single character or a word that only ignore_merges finds. */
static bool split_word(const json_t *vocabulary, const char *word, json_int_t own,
                       char pair[2 * TEXT_BYTES])
{
    const char *cuts[TEXT_BYTES];
    int count = 0;
    for (const char *p = word; *p; p++)
        if (((unsigned char)*p & 0xc0) != 0x80)
            cuts[count++] = p;
    cuts[count] = word + strlen(word);
    if (count < 2)
        return false;
    while (count > 2) {
        int best = 0;
        json_int_t lowest = own;
        for (int i = 0; i + 2 <= count; i++) {
            const json_int_t rank = rank_of(vocabulary, cuts[i], cuts[i + 2]);
            if (rank < lowest) {
                lowest = rank;
                best = i;
            }
        }
        if (lowest == own)
            return false;
        for (int i = best + 1; i < count; i++)
            cuts[i] = cuts[i + 1];
        count--;
    }
    snprintf(pair, 2 * TEXT_BYTES, "%.*s %s", (int)(cuts[1] - word), word, cuts[1]);
    return true;
}

static json_t *read_words(const char *path)
{
    char line[2 * TEXT_BYTES], word[TEXT_BYTES];
    FILE *f = fopen(path, "r");
    json_t *vocabulary = json_object();
    for (json_int_t id = 0; f && fgets(line, sizeof(line), f) && id < LLAMA_WORDS; id++) {
        decode_word(word, line);
        json_object_set_new(vocabulary, word, json_integer(id));
    }
    if (f)
        fclose(f);
    return vocabulary;
}

static json_t *make_merges(const json_t *vocabulary)
{
    static const char *words[LLAMA_WORDS];
    const char *word;
    json_t *id, *merges = json_array();
    json_object_foreach((json_t *)(uintptr_t)vocabulary, word, id) words[json_integer_value(id)] =
        word;
    for (int i = 0; i < LLAMA_WORDS; i++) {
        char pair[2 * TEXT_BYTES];
        if (words[i] && split_word(vocabulary, words[i], i, pair))
            json_array_append_new(merges, json_string(pair));
    }
    return merges;
}

static const char llama_rules[] =
    "{\"added_tokens\":[{\"id\":128000,\"content\":\"<|begin_of_text|>\",\"special\":true},"
    "{\"id\":128001,\"content\":\"<|end_of_text|>\",\"special\":true},"
    "{\"id\":128006,\"content\":\"<|start_header_id|>\",\"special\":true},"
    "{\"id\":128007,\"content\":\"<|end_header_id|>\",\"special\":true},"
    "{\"id\":128009,\"content\":\"<|eot_id|>\",\"special\":true}],"
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
    "\"behavior\":\"Isolated\",\"invert\":false,\"pattern\":{\"Regex\":"
    "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}|"
    " ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}},"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":["
    "{\"SpecialToken\":{\"id\":\"<|begin_of_text|>\"}},{\"Sequence\":{\"id\":\"A\"}}]}}";

static hyv_bpe *open_llama(const char *path)
{
    hyv_bpe *bpe = NULL;
    json_t *doc = json_loads(llama_rules, 0, NULL), *vocabulary = read_words(path);
    json_t *merges = make_merges(vocabulary);
    CHECK(json_object_size(vocabulary) == LLAMA_WORDS);
    json_object_set_new(doc, "model",
                        json_pack("{s:s, s:b, s:o, s:o}", "type", "BPE", "ignore_merges", 1,
                                  "vocab", vocabulary, "merges", merges));
    char *text = json_dumps(doc, JSON_COMPACT);
    CHECK_MSG(text && hyv_bpe_parse(&bpe, text, strlen(text), path, &test_log) == 0, "%s",
              test_log.error);
    free(text);
    json_decref(doc);
    return bpe;
}

/* ---- CLIP: merges a line, gzipped ------------------------------------------------------------ */

/* Ids of single characters follow the order in which bytes were given characters. */
static void add_symbols(json_t *vocabulary, const char *suffix)
{
    for (int pass = 0; pass < 2; pass++)
        for (int byte = 0; byte < 256; byte++) {
            const bool itself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
            char text[16] = "";
            if (itself == (pass == 1))
                continue;
            hyv_bpe_symbol((uint8_t)byte, text);
            strcat(text, suffix);
            json_object_set_new(vocabulary, text,
                                json_integer((json_int_t)json_object_size(vocabulary)));
        }
}

static hyv_bpe *open_clip(const char *path)
{
    char command[600], line[TEXT_BYTES], name[64], folder[] = "/tmp/hyv-clip-XXXXXX";
    hyv_bpe *bpe = NULL;
    json_t *vocabulary = json_object();
    snprintf(command, sizeof(command), "gzip -dc '%s'", path);
    CHECK(mkdtemp(folder) != NULL);
    snprintf(name, sizeof(name), "%s/merges.txt", folder);
    FILE *in = popen(command, "r"), *out = fopen(name, "w");
    add_symbols(vocabulary, "");
    add_symbols(vocabulary, "</w>");
    for (int i = -1; in && out && i < CLIP_MERGES && fgets(line, sizeof(line), in); i++) {
        char word[TEXT_BYTES];
        fputs(i < 0 ? "#version: 0.2\n" : line, out);
        char *blank = strchr(line, ' ');
        if (i < 0 || !blank)
            continue;
        snprintf(word, sizeof(word), "%.*s%.*s", (int)(blank - line), line,
                 (int)strcspn(blank + 1, "\r\n"), blank + 1);
        json_object_set_new(vocabulary, word,
                            json_integer((json_int_t)json_object_size(vocabulary)));
    }
    CHECK(in && out && pclose(in) >= 0 && fclose(out) == 0);
    json_object_set_new(vocabulary, "<|startoftext|>", json_integer(49406));
    json_object_set_new(vocabulary, "<|endoftext|>", json_integer(49407));
    CHECK(json_object_size(vocabulary) == 49408);
    snprintf(name, sizeof(name), "%s/vocab.json", folder);
    CHECK(json_dump_file(vocabulary, name, JSON_COMPACT) == 0);
    CHECK_MSG(hyv_bpe_open(&bpe, folder, &test_log) == 0, "%s", test_log.error);
    unlink(name);
    snprintf(name, sizeof(name), "%s/merges.txt", folder);
    unlink(name);
    rmdir(folder);
    json_decref(vocabulary);
    return bpe;
}

/* ---- known ids ------------------------------------------------------------------------------- */

typedef struct known {
    const char *text;
    int32_t ids[16]; /* 0 behind the last */
} known;

static const known llama_ids[] = {
    {"A cat walks on the grass, realistic style.",
     {32, 8415, 23291, 389, 279, 16763, 11, 26569, 1742, 13}},
    {"1girl, 2024", {16, 29652, 11, 220, 2366, 19}},
    {"I'm don't CAN'T", {40, 2846, 1541, 956, 20076, 17773}},
    {"  two  spaces", {220, 1403, 220, 12908}},
    {" foo", {15586}},
    {"foo", {8134}},
    {"line\n\nbreak", {1074, 271, 9137}},
    {"h\u00e9llo \U0001f600", {71, 19010, 385, 91416}},
    {"\u4e00\u53ea\u5c0f\u72d7\u5728\u8349\u5730\u4e0a\u5954\u8dd1\u3002",
     {15120, 92780, 31809, 117513, 19000, 105301, 30590, 17905, 124931, 110774, 1811}},
};
static const known clip_ids[] = {
    {"a photo of a cat", {320, 1125, 539, 320, 2368}},
    {"A cat walks on the grass, realistic style.",
     {320, 2368, 8192, 525, 518, 5922, 267, 16157, 1844, 269}},
    {"Hello,   World!! 123 it's", {3306, 267, 1002, 748, 272, 273, 274, 585, 568}},
    {"A girl's 4K cinematic shot", {320, 1611, 568, 275, 330, 25602, 2000}},
    {"h\u00e9llo \U0001f600", {71, 3459, 19293, 7334}},
};

static void check_known(hyv_bpe *bpe, const known *list, size_t count)
{
    for (size_t i = 0; bpe && i < count; i++) {
        int32_t ids[IDS_MAX];
        int64_t n = 0, wanted = 0;
        while (wanted < 16 && list[i].ids[wanted])
            wanted++;
        const int err =
            hyv_bpe_encode(bpe, list[i].text, strlen(list[i].text), 0, ids, IDS_MAX, &n, &test_log);
        CHECK_MSG(err == 0 && n == wanted &&
                      memcmp(ids, list[i].ids, (size_t)wanted * sizeof(*ids)) == 0,
                  "'%s': %lld tokens, %lld wanted", list[i].text, (long long)n, (long long)wanted);
    }
}

/* The templates have the published lengths with the real vocabulary. */
static void check_crops(hyv_bpe *llama, hyv_bpe *clip)
{
    static const int64_t crops[] = {[HYV_TEMPLATE_VIDEO] = 95, [HYV_TEMPLATE_IMAGE] = 36};
    for (int i = 0; i < 2; i++) {
        hyv_prompt_tokens t;
        CHECK(hyv_prompt_encode(&t, llama, clip, "a cat", (enum hyv_template)i, &test_log) == 0);
        CHECK_MSG(t.crop == crops[i], "template %d has %lld tokens", i, (long long)t.crop);
        CHECK(t.llm[0] == 128000 && t.llm[t.llm_count - 1] == 128009);
    }
}

int main(void)
{
    char path[512];
    hyv_bpe *llama = NULL, *clip = NULL;
    if (find_file(path, "tokenizer.model"))
        llama = open_llama(path);
    else
        check_skip("Llama 3's tokenizer.model (package llama-models)");
    if (find_file(path, "bpe_simple_vocab_16e6.txt.gz"))
        clip = open_clip(path);
    else
        check_skip("CLIP's bpe_simple_vocab_16e6.txt.gz (package open-clip-torch)");
    check_known(llama, llama_ids, sizeof(llama_ids) / sizeof(llama_ids[0]));
    check_known(clip, clip_ids, sizeof(clip_ids) / sizeof(clip_ids[0]));
    char example[HYV_BPE_EXAMPLE_BYTES];
    CHECK(!llama || hyv_bpe_unmade(llama, example) == 0);
    CHECK_MSG(!clip || hyv_bpe_unmade(clip, example) == 0, "no merge makes '%s'", example);
    if (llama && clip)
        check_crops(llama, clip);
    hyv_bpe_close(&llama);
    hyv_bpe_close(&clip);
    return check_done();
}
