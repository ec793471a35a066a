/* Reads a tokenizer folder into the tables of bpe_tables.h.
 *
 * tokenizer.json follows the format of Hugging Face's tokenizers library (its `Tokenizer` object:
 * normalizer, pre_tokenizer, model, post_processor, added_tokens); the older pair vocab.json and
 * merges.txt is read as CLIP's, whose rules are then built in. What a file asks for and is not
 * known here is refused by name, never passed over. Knows no prompts and no templates.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "bpe_tables.h"

enum {
    FILE_BYTES_MAX = 64 << 20,
    ADDED_MAX = 4096,
    MATCH_STEPS_MAX = 4000000, /* far above what a good expression takes for the longest text */
    MATCH_HEAP_KIB = 65536
};

/* CLIP's rules, for folders that have none in writing. */
static const char clip_rules[] =
    "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"},"
    "  {\"type\": \"Replace\", \"pattern\": {\"Regex\": \"\\\\s+\"}, \"content\": \" \"},"
    "  {\"type\": \"Lowercase\"}]},"
    " \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": ["
    "  {\"type\": \"Split\", \"behavior\": \"Removed\", \"invert\": true, \"pattern\": {\"Regex\":"
    "   \"<\\\\|startoftext\\\\|>|<\\\\|endoftext\\\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\\\p{L}]+|"
    "[\\\\p{N}]|[^\\\\s\\\\p{L}\\\\p{N}]+\"}},"
    "  {\"type\": \"ByteLevel\", \"add_prefix_space\": false}]}}";

/* Tables. */

static int read_vocabulary(hyv_bpe_reader *r, json_t *vocabulary, size_t merges)
{
    const size_t count = json_object_size(vocabulary);
    if (count < 1 || count > HYV_BPE_TOKENS_MAX || merges > HYV_BPE_MERGES_MAX)
        return hyv_log_error(r->log, -EBADMSG,
                             "%s: a vocabulary of %zu tokens and %zu merges (1 to %d, at most %d)",
                             r->doc.name, count, merges, HYV_BPE_TOKENS_MAX, HYV_BPE_MERGES_MAX);
    if (!hyv_bpe_reserve(r->bpe, count, merges))
        return hyv_bpe_no_memory(r);
    const char *text;
    json_t *value;
    json_object_foreach(vocabulary, text, value)
    {
        const size_t length = strlen(text);
        const json_int_t id = json_integer_value(value);
        if (length > HYV_BPE_TOKEN_BYTES_MAX || !json_is_integer(value) || id < 0 || id >= INT_MAX)
            return hyv_log_error(r->log, -EBADMSG,
                                 "%s: token '%.60s' has no valid id or is too long", r->doc.name,
                                 text);
        /* An empty token can never occur in a text. */
        if (length && !hyv_bpe_add_token(r->bpe, text, length, (int32_t)id))
            return hyv_bpe_no_memory(r);
    }
    return 0;
}

static int read_merge(hyv_bpe_reader *r, size_t index, const char *left, size_t left_length,
                      const char *right, size_t right_length)
{
    char both[2 * HYV_BPE_TOKEN_BYTES_MAX];
    int32_t ids[3] = {-1, -1, -1};
    if (left_length <= HYV_BPE_TOKEN_BYTES_MAX && right_length <= HYV_BPE_TOKEN_BYTES_MAX) {
        memcpy(both, left, left_length);
        memcpy(both + left_length, right, right_length);
        ids[0] = hyv_bpe_find(r->bpe, left, left_length);
        ids[1] = hyv_bpe_find(r->bpe, right, right_length);
        ids[2] = hyv_bpe_find(r->bpe, both, left_length + right_length);
    }
    if (ids[0] < 0 || ids[1] < 0 || ids[2] < 0)
        return hyv_log_error(r->log, -EBADMSG,
                             "%s: merge %zu ('%.*s' and '%.*s') is not of three known tokens",
                             r->doc.name, index + 1, left_length < 40 ? (int)left_length : 40, left,
                             right_length < 40 ? (int)right_length : 40, right);
    hyv_bpe_add_merge(r->bpe, ids[0], ids[1], (int32_t)index, ids[2]);
    return 0;
}

/* "A B". */
static int read_merge_text(hyv_bpe_reader *r, size_t index, const char *text, size_t length)
{
    const char *blank = memchr(text, ' ', length);
    const size_t left = blank ? (size_t)(blank - text) : 0;
    if (!blank || memchr(blank + 1, ' ', length - left - 1))
        return hyv_log_error(r->log, -EBADMSG, "%s: merge %zu is not two tokens with a blank",
                             r->doc.name, index + 1);
    return read_merge(r, index, text, left, blank + 1, length - left - 1);
}

static int read_merges(hyv_bpe_reader *r, json_t *merges)
{
    size_t i;
    json_t *merge;
    json_array_foreach(merges, i, merge)
    {
        const char *left = json_string_value(json_array_get(merge, 0));
        const char *right = json_string_value(json_array_get(merge, 1));
        const char *text = json_string_value(merge);
        int err;
        if (text)
            err = read_merge_text(r, i, text, strlen(text));
        else if (left && right && json_array_size(merge) == 2)
            err = read_merge(r, i, left, strlen(left), right, strlen(right));
        else
            err = hyv_log_error(r->log, -EBADMSG, "%s: merge %zu is not two strings", r->doc.name,
                                i + 1);
        if (err)
            return err;
    }
    return 0;
}

static int add_added(hyv_bpe_reader *r, const char *text, int32_t id, bool special)
{
    hyv_bpe *bpe = r->bpe;
    const size_t length = strlen(text);
    if (length < 1 || length > HYV_BPE_TOKEN_BYTES_MAX || bpe->added_count >= ADDED_MAX)
        return hyv_log_error(r->log, -EBADMSG,
                             "%s: more than %d added tokens, or one of 0 or more than %d bytes",
                             r->doc.name, ADDED_MAX, HYV_BPE_TOKEN_BYTES_MAX);
    hyv_added *added = hyv_realloc(bpe->added, bpe->added_count + 1, sizeof(*added));
    if (added)
        bpe->added = added;
    char *copy = added ? hyv_strdup(text) : NULL;
    if (!copy)
        return hyv_bpe_no_memory(r);
    added[bpe->added_count++] = (hyv_added){copy, length, id, special};
    bpe->added_starts[(uint8_t)*text] = true;
    if (id >= bpe->size)
        bpe->size = (int64_t)id + 1;
    return 0;
}

static int read_added(hyv_bpe_reader *r)
{
    size_t i;
    json_t *token;
    json_array_foreach(json_object_get(r->doc.root, "added_tokens"), i, token)
    {
        const char *content = NULL;
        int64_t id = -1;
        bool special = false;
        int err = hyv_json_int(&r->doc, token, "id", 0, INT_MAX - 1, &id);
        if (err >= 0)
            err = hyv_json_string(&r->doc, token, "content", &content);
        if (err >= 0)
            err = hyv_json_bool(&r->doc, token, "special", &special);
        if (err >= 0 && (id < 0 || !content))
            err = hyv_log_error(r->log, -EBADMSG, "%s: added token %zu lacks its id or content",
                                r->doc.name, i);
        if (err >= 0)
            err = add_added(r, content, (int32_t)id, special);
        if (err < 0)
            return err;
    }
    return 0;
}

/* The begin and end tokens that are put around a text. */
static int read_post_processor(hyv_bpe_reader *r, const json_t *rule, const char *kind)
{
    if (strcmp(kind, "TemplateProcessing") == 0) {
        int32_t *which = &r->bpe->bos; /* until the text's own place has been passed */
        size_t i;
        json_t *part;
        json_array_foreach(json_object_get(rule, "single"), i, part)
        {
            const json_t *special = json_object_get(part, "SpecialToken");
            const char *token = json_string_value(json_object_get(special, "id"));
            if (token)
                *which = hyv_bpe_token(r->bpe, token);
            else
                which = &r->bpe->eos;
        }
    } else if (strcmp(kind, "RobertaProcessing") == 0 || strcmp(kind, "BertProcessing") == 0) {
        const char *cls = json_string_value(json_array_get(json_object_get(rule, "cls"), 0));
        const char *sep = json_string_value(json_array_get(json_object_get(rule, "sep"), 0));
        r->bpe->bos = cls ? hyv_bpe_token(r->bpe, cls) : -1;
        r->bpe->eos = sep ? hyv_bpe_token(r->bpe, sep) : -1;
    }
    return 0;
}

static int read_model(hyv_bpe_reader *r, const json_t *model)
{
    const char *kind = "BPE", *prefix = "", *suffix = "", *unknown = NULL;
    bool fallback = false, fuse = false;
    double dropout = 0;
    if (hyv_json_string(&r->doc, model, "type", &kind) < 0 ||
        hyv_json_string(&r->doc, model, "continuing_subword_prefix", &prefix) < 0 ||
        hyv_json_string(&r->doc, model, "end_of_word_suffix", &suffix) < 0 ||
        hyv_json_string(&r->doc, model, "unk_token", &unknown) < 0 ||
        hyv_json_bool(&r->doc, model, "byte_fallback", &fallback) < 0 ||
        hyv_json_bool(&r->doc, model, "fuse_unk", &fuse) < 0 ||
        hyv_json_number(&r->doc, model, "dropout", 0, 1, &dropout) < 0 ||
        hyv_json_bool(&r->doc, model, "ignore_merges", &r->bpe->whole_first) < 0)
        return -EBADMSG;
    if (strcmp(kind, "BPE") != 0)
        return hyv_bpe_unknown(r, "model", kind);
    if (*prefix || fallback || fuse || dropout > 0)
        return hyv_bpe_unknown(r, "model's option",
                               *prefix    ? "continuing_subword_prefix"
                               : fallback ? "byte_fallback"
                               : fuse     ? "fuse_unk"
                                          : "dropout");
    if (strlen(suffix) > HYV_BPE_CONTENT_BYTES_MAX)
        return hyv_bpe_unknown(r, "end_of_word_suffix", suffix);
    json_t *merges = json_object_get(model, "merges");
    int err = read_vocabulary(r, json_object_get(model, "vocab"), json_array_size(merges));
    if (!err)
        err = read_merges(r, merges);
    if (!err && !(r->bpe->suffix = hyv_strdup(suffix)))
        err = hyv_bpe_no_memory(r);
    if (!err && unknown)
        r->bpe->unknown = hyv_bpe_token(r->bpe, unknown);
    return err;
}

/* The document that is open, which this closes. */
static int read_document(hyv_bpe_reader *r)
{
    int err = 0;
    const json_t *model = json_object_get(r->doc.root, "model");
    if (!json_is_object(model))
        err = hyv_log_error(r->log, -EBADMSG, "%s: has no 'model'", r->doc.name);
    if (!err)
        err = read_model(r, model);
    if (!err)
        err = read_added(r);
    if (!err)
        err = hyv_bpe_read_rules(r);
    if (!err)
        err = hyv_bpe_each_rule(r, json_object_get(r->doc.root, "post_processor"), "processors",
                                read_post_processor);
    hyv_json_close(&r->doc);
    return err;
}

static int read_tokenizer_json(hyv_bpe_reader *r, const char *path)
{
    const int err = hyv_json_load(&r->doc, path, FILE_BYTES_MAX, r->log);
    return err ? err : read_document(r);
}

/* CLIP's older pair of files. */

static int read_merge_lines(hyv_bpe_reader *r, const char *text, size_t size)
{
    size_t rank = 0;
    for (const char *line = text, *end = text + size; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        const size_t length = (size_t)((stop ? stop : end) - line);
        const size_t used = length && line[length - 1] == '\r' ? length - 1 : length;
        if (used && strncmp(line, "#version", 8) != 0) {
            const int err = read_merge_text(r, rank++, line, used);
            if (err)
                return err;
        }
        line += length + 1;
    }
    return 0;
}

static size_t count_lines(const char *text, size_t size)
{
    size_t lines = 1;
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    return lines;
}

static int read_clip_rules(hyv_bpe_reader *r)
{
    int err =
        hyv_json_parse(&r->doc, clip_rules, sizeof(clip_rules) - 1, 8, "CLIP's rules", r->log);
    if (err)
        return err;
    err = hyv_bpe_read_rules(r);
    if (!err && !(r->bpe->suffix = hyv_strdup("</w>")))
        err = hyv_bpe_no_memory(r);
    hyv_json_close(&r->doc);
    return err;
}

static int read_clip_files(hyv_bpe_reader *r, const char *vocabulary, const char *merges)
{
    char *text;
    size_t size;
    int err = hyv_file_read(&text, &size, merges, FILE_BYTES_MAX);
    if (err)
        return hyv_log_error(r->log, err, "%s: cannot be read: %s", merges, strerror(-err));
    err = hyv_json_load(&r->doc, vocabulary, FILE_BYTES_MAX, r->log);
    if (!err) {
        err = read_vocabulary(r, r->doc.root, count_lines(text, size));
        r->doc.name = merges;
        if (!err)
            err = read_merge_lines(r, text, size);
        hyv_json_close(&r->doc);
    }
    hyv_free_host(text);
    return err ? err : read_clip_rules(r);
}

/* The rest of a folder. */

/* A token's text in tokenizer_config.json: a string, or an object with the string as content. */
static const char *config_token(const hyv_json *doc, const char *key)
{
    const json_t *value = json_object_get(doc->root, key);
    return json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
}

/* What the tokenizer's own files left open; `added`: the special tokens are not known, either. */
static int read_config(hyv_bpe_reader *r, const char *path, bool added)
{
    static const char *const keys[] = {"bos_token", "eos_token", "unk_token"};
    static const char *const usual[] = {"<|startoftext|>", "<|endoftext|>", "<|endoftext|>"};
    int32_t *ids[] = {&r->bpe->bos, &r->bpe->eos, &r->bpe->unknown};
    r->doc = (hyv_json){.name = path, .log = r->log};
    int err = hyv_path_is_file(path) ? hyv_json_load(&r->doc, path, FILE_BYTES_MAX, r->log) : 0;
    for (int i = 0; i < 3 && !err; i++) {
        const char *text = config_token(&r->doc, keys[i]);
        /* Beside this pair may stand the other tokenizer's configuration. */
        if (added && (!text || hyv_bpe_token(r->bpe, text) < 0))
            text = usual[i];
        if (*ids[i] >= 0 || !text || (i == 2 && !added))
            continue;
        *ids[i] = hyv_bpe_token(r->bpe, text);
        if (added && *ids[i] >= 0)
            err = add_added(r, text, *ids[i], true);
    }
    hyv_json_close(&r->doc);
    return err;
}

static void number_bytes(hyv_bpe *bpe)
{
    const size_t suffix = strlen(bpe->suffix);
    for (int byte = 0; byte < 256; byte++) {
        char text[2 + HYV_BPE_CONTENT_BYTES_MAX];
        const size_t n = (size_t)hyv_bpe_symbol((uint8_t)byte, text);
        bpe->first_ids[byte] = hyv_bpe_find(bpe, text, n);
        memcpy(text + n, bpe->suffix, suffix);
        bpe->last_ids[byte] = hyv_bpe_find(bpe, text, n + suffix);
    }
}

/* `path`: the folder, or the one of its files that is to be read. */
static int read_path(hyv_bpe_reader *r, const char *path)
{
    static const char *const names[] = {"tokenizer.json", "vocab.json", "merges.txt",
                                        "tokenizer_config.json"};
    const bool file = hyv_path_is_file(path);
    const char *slash = file ? strrchr(path, '/') : NULL;
    const char *name = slash ? slash + 1 : path;
    char *folder = !file   ? hyv_strdup(path)
                   : slash ? hyv_strndup(path, (size_t)(slash - path) + 1)
                           : hyv_strdup(".");
    char *paths[4];
    bool memory = folder != NULL;
    for (int i = 0; i < 4; i++)
        memory &= (paths[i] = folder ? hyv_path_join(folder, names[i]) : NULL) != NULL;
    const bool pair = file && strcmp(name, names[1]) == 0;
    int err;
    bool clip = false;
    if (!memory)
        err = hyv_bpe_no_memory(r);
    else if (file && !pair)
        err = read_tokenizer_json(r, path);
    else if (!pair && hyv_path_is_file(paths[0]))
        err = read_tokenizer_json(r, paths[0]);
    else if (hyv_path_is_file(paths[1]) && (clip = hyv_path_is_file(paths[2])))
        err = read_clip_files(r, paths[1], paths[2]);
    else
        err =
            hyv_log_error(r->log, -ENOENT,
                          "%s: holds neither tokenizer.json nor vocab.json and merges.txt", folder);
    if (!err)
        err = read_config(r, paths[3], clip);
    for (int i = 0; i < 4; i++)
        hyv_free_host(paths[i]);
    hyv_free_host(folder);
    return err;
}

static void *pcre_malloc(size_t size, void *opaque)
{
    (void)opaque;
    return hyv_malloc(size, 1);
}

static void pcre_free(void *p, void *opaque)
{
    (void)opaque;
    hyv_free_host(p);
}

static bool make_contexts(hyv_bpe *bpe)
{
    bpe->memory = pcre2_general_context_create(pcre_malloc, pcre_free, NULL);
    if (!bpe->memory)
        return false;
    bpe->compiling = pcre2_compile_context_create(bpe->memory);
    bpe->limits = pcre2_match_context_create(bpe->memory);
    if (!bpe->compiling || !bpe->limits)
        return false;
    pcre2_set_match_limit(bpe->limits, MATCH_STEPS_MAX);
    pcre2_set_heap_limit(bpe->limits, MATCH_HEAP_KIB);
    return true;
}

/* From a text if there is one, else from a folder or file. */
static int open_any(hyv_bpe **out, const char *path, const char *text, size_t size, hyv_log *log)
{
    enum { DEPTH = 32 };
    *out = NULL;
    hyv_bpe *bpe = hyv_calloc(1, sizeof(*bpe));
    if (!bpe)
        return hyv_log_error(log, -ENOMEM, "not enough memory for the tokenizer");
    bpe->bos = bpe->eos = bpe->unknown = -1;
    hyv_bpe_reader r = {.bpe = bpe, .log = log};
    int err;
    if (!make_contexts(bpe))
        err = hyv_log_error(log, -ENOMEM, "not enough memory for the tokenizer");
    else if (!text)
        err = read_path(&r, path);
    else if (!(err = hyv_json_parse(&r.doc, text, size, DEPTH, path, log)))
        err = read_document(&r);
    if (err) {
        hyv_bpe_close(&bpe);
        return err;
    }
    number_bytes(bpe);
    *out = bpe;
    return 0;
}

int hyv_bpe_open(hyv_bpe **out, const char *path, hyv_log *log)
{
    return open_any(out, path, NULL, 0, log);
}

int hyv_bpe_parse(hyv_bpe **out, const char *text, size_t size, const char *name, hyv_log *log)
{
    return open_any(out, name, text, size, log);
}

static void free_regex(hyv_regex *r)
{
    pcre2_code_free(r->code);
    pcre2_match_data_free(r->match);
}

void hyv_bpe_close(hyv_bpe **address)
{
    hyv_bpe *bpe = *address;
    *address = NULL;
    if (!bpe)
        return;
    for (int i = 0; i < bpe->rewrite_count; i++) {
        free_regex(&bpe->rewrites[i].pattern);
        hyv_free_host(bpe->rewrites[i].content);
    }
    for (int i = 0; i < bpe->cut_count; i++)
        free_regex(&bpe->cuts[i].pattern);
    for (size_t i = 0; i < bpe->added_count; i++)
        hyv_free_host(bpe->added[i].text);
    pcre2_match_context_free(bpe->limits);
    pcre2_compile_context_free(bpe->compiling);
    pcre2_general_context_free(bpe->memory);
    hyv_string_free(&bpe->texts);
    hyv_free_host(bpe->tokens);
    hyv_free_host(bpe->merges);
    hyv_free_host(bpe->added);
    hyv_free_host(bpe->suffix);
    hyv_free_host(bpe);
}
