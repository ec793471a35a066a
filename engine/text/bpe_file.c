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

#include "../base/json.h"
#include "bpe_tables.h"

enum {
    FILE_BYTES_MAX = 64 << 20,
    PATTERN_BYTES_MAX = 4096,
    CONTENT_BYTES_MAX = 64,
    ADDED_MAX = 4096,
    MATCH_STEPS_MAX = 4000000, /* far above what a good expression takes for the longest text */
    MATCH_HEAP_KIB = 65536
};

/* The expression that the byte-level step applies by itself unless told not to (GPT-2's). */
static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

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

/* What the functions below share while a folder is read. */
struct reader {
    hyv_bpe *bpe;
    hyv_json *doc;
    hyv_log *log;
};

static int no_memory(const struct reader *r)
{
    return hyv_log_error(r->log, -ENOMEM, "%s: not enough memory for the tokenizer", r->doc->name);
}

static int unknown_kind(const struct reader *r, const char *part, const char *kind)
{
    return hyv_log_error(r->log, -ENOTSUP, "%s: the %s '%.60s' is not supported", r->doc->name,
                         part, kind ? kind : "(without a type)");
}

/* Expressions. */

/* The library that tokenizers are written for takes \s as Unicode's White_Space; PCRE2's has one
 * character more (U+180E). So \s and \S are spelt out, in brackets unless already within some. */
static void spell_blanks(hyv_string *out, const char *pattern)
{
    bool within = false;
    for (const char *p = pattern; *p; p++) {
        if (p[0] == '\\' && (p[1] == 's' || (p[1] == 'S' && !within))) {
            hyv_string_append(out, "%s\\t-\\r\\x{85}\\p{Z}%s",
                              within        ? ""
                              : p[1] == 'S' ? "[^"
                                            : "[",
                              within ? "" : "]");
            p++;
        } else {
            if (*p == '[' || *p == ']')
                within = *p == '[';
            const size_t n = p[0] == '\\' && p[1] ? 2 : 1;
            hyv_string_append_bytes(out, p, n);
            p += n - 1;
        }
    }
}

static int compile(const struct reader *r, hyv_regex *regex, const char *pattern, uint32_t options)
{
    hyv_string text = {0};
    if (strlen(pattern) > PATTERN_BYTES_MAX)
        return hyv_log_error(r->log, -ENOTSUP, "%s: an expression of more than %d bytes",
                             r->doc->name, PATTERN_BYTES_MAX);
    if (options & PCRE2_LITERAL)
        hyv_string_append(&text, "%s", pattern);
    else
        spell_blanks(&text, pattern);
    if (text.failed)
        return no_memory(r);
    /* Interpreted, not compiled to machine code: prompts are short, and this runs everywhere. */
    int error;
    size_t at;
    regex->code = pcre2_compile((PCRE2_SPTR)hyv_string_text(&text), text.length, options, &error,
                                &at, r->bpe->compiling);
    hyv_string_free(&text);
    if (!regex->code) {
        char reason[128] = "";
        pcre2_get_error_message(error, (PCRE2_UCHAR *)reason, sizeof(reason));
        return hyv_log_error(r->log, error == PCRE2_ERROR_HEAP_FAILED ? -ENOMEM : -EBADMSG,
                             "%s: the expression '%.80s' is wrong at %zu: %s", r->doc->name,
                             pattern, at, reason);
    }
    regex->match = pcre2_match_data_create(1, r->bpe->memory);
    return regex->match ? 0 : no_memory(r);
}

/* {"Regex": "..."} or {"String": "..."}. */
static int compile_member(const struct reader *r, hyv_regex *regex, const json_t *pattern)
{
    const char *text = NULL, *literal = NULL;
    const bool wrong = hyv_json_string(r->doc, pattern, "Regex", &text) < 0 ||
                       hyv_json_string(r->doc, pattern, "String", &literal) < 0;
    if (wrong)
        return -EBADMSG;
    if (!pattern || (!text && !literal))
        return hyv_log_error(r->log, -EBADMSG, "%s: a rule without a pattern", r->doc->name);
    return text ? compile(r, regex, text, PCRE2_UTF | PCRE2_UCP)
                : compile(r, regex, literal, PCRE2_UTF | PCRE2_LITERAL);
}

/* Rules. */

/* What has a type: 1 and the type, 0 for null and nothing, -EBADMSG. */
static int rule_kind(const struct reader *r, const json_t *rule, const char **kind)
{
    *kind = NULL;
    if (!rule || json_is_null(rule))
        return 0;
    const int err = hyv_json_string(r->doc, rule, "type", kind);
    if (err < 0)
        return err;
    return *kind ? 1 : unknown_kind(r, "rule", NULL);
}

static int read_normalizer(struct reader *r, const json_t *rule, int depth)
{
    const char *kind, *content = NULL;
    const int found = rule_kind(r, rule, &kind);
    if (found <= 0)
        return found;
    if (strcmp(kind, "Sequence") == 0 && depth == 0) {
        size_t i;
        json_t *part;
        json_array_foreach(json_object_get(rule, "normalizers"), i, part)
        {
            const int err = read_normalizer(r, part, 1);
            if (err)
                return err;
        }
        return 0;
    }
    if (r->bpe->rewrite_count == HYV_BPE_RULES_MAX)
        return hyv_log_error(r->log, -ENOTSUP, "%s: more than %d normalizers", r->doc->name,
                             HYV_BPE_RULES_MAX);
    hyv_rewrite *rewrite = &r->bpe->rewrites[r->bpe->rewrite_count++];
    if (strcmp(kind, "NFC") == 0)
        rewrite->kind = HYV_REWRITE_NFC;
    else if (strcmp(kind, "Lowercase") == 0)
        rewrite->kind = HYV_REWRITE_LOWER;
    else if (strcmp(kind, "Replace") == 0)
        rewrite->kind = HYV_REWRITE_REPLACE;
    else
        return unknown_kind(r, "normalizer", kind);
    if (rewrite->kind != HYV_REWRITE_REPLACE)
        return 0;
    int err = hyv_json_string(r->doc, rule, "content", &content);
    if (err < 0)
        return err;
    if (!content || strlen(content) > CONTENT_BYTES_MAX)
        return hyv_log_error(r->log, -ENOTSUP, "%s: 'Replace' needs a content of at most %d bytes",
                             r->doc->name, CONTENT_BYTES_MAX);
    rewrite->content = hyv_strdup(content);
    err = compile_member(r, &rewrite->pattern, json_object_get(rule, "pattern"));
    return err || rewrite->content ? err : no_memory(r);
}

static hyv_cut *next_cut(struct reader *r)
{
    if (r->bpe->cut_count < HYV_BPE_RULES_MAX)
        return &r->bpe->cuts[r->bpe->cut_count++];
    hyv_log_error(r->log, -ENOTSUP, "%s: more than %d pre-tokenizers", r->doc->name,
                  HYV_BPE_RULES_MAX);
    return NULL;
}

static int read_split(struct reader *r, const json_t *rule)
{
    const char *behavior = "";
    bool invert = false;
    int err = hyv_json_string(r->doc, rule, "behavior", &behavior);
    if (err >= 0)
        err = hyv_json_bool(r->doc, rule, "invert", &invert);
    if (err < 0)
        return err;
    hyv_cut *cut = next_cut(r);
    if (!cut)
        return -ENOTSUP;
    const bool isolated = strcmp(behavior, "Isolated") == 0;
    if (!isolated && strcmp(behavior, "Removed") != 0)
        return unknown_kind(r, "split behavior", behavior);
    cut->keep_matches = isolated || invert;
    cut->keep_gaps = isolated || !invert;
    return compile_member(r, &cut->pattern, json_object_get(rule, "pattern"));
}

static int read_byte_level(struct reader *r, const json_t *rule)
{
    bool prefix = true, use_regex = true; /* the format's defaults */
    int err = hyv_json_bool(r->doc, rule, "add_prefix_space", &prefix);
    if (err >= 0)
        err = hyv_json_bool(r->doc, rule, "use_regex", &use_regex);
    if (err < 0)
        return err;
    if (prefix)
        return unknown_kind(r, "option", "add_prefix_space");
    if (!use_regex)
        return 0;
    hyv_cut *cut = next_cut(r);
    if (!cut)
        return -ENOTSUP;
    cut->keep_matches = cut->keep_gaps = true;
    return compile(r, &cut->pattern, gpt2_pattern, PCRE2_UTF | PCRE2_UCP);
}

/* *levels counts byte-level steps: one must be the last. */
static int read_pre_tokenizer(struct reader *r, const json_t *rule, int depth, int *levels)
{
    const char *kind;
    const int found = rule_kind(r, rule, &kind);
    if (found <= 0)
        return found;
    if (strcmp(kind, "Sequence") == 0 && depth == 0) {
        size_t i;
        json_t *part;
        json_array_foreach(json_object_get(rule, "pretokenizers"), i, part)
        {
            const int err = read_pre_tokenizer(r, part, 1, levels);
            if (err)
                return err;
        }
        return 0;
    }
    if (*levels)
        return unknown_kind(r, "rule after 'ByteLevel'", kind);
    if (strcmp(kind, "ByteLevel") == 0) {
        *levels += 1;
        return read_byte_level(r, rule);
    }
    return strcmp(kind, "Split") == 0 ? read_split(r, rule)
                                      : unknown_kind(r, "pre-tokenizer", kind);
}

static int read_rules(struct reader *r)
{
    int levels = 0;
    int err = read_normalizer(r, json_object_get(r->doc->root, "normalizer"), 0);
    if (!err)
        err = read_pre_tokenizer(r, json_object_get(r->doc->root, "pre_tokenizer"), 0, &levels);
    if (!err && !levels)
        err = hyv_log_error(r->log, -ENOTSUP, "%s: not a byte-level tokenizer", r->doc->name);
    return err;
}

/* Tables. */

static int read_vocabulary(struct reader *r, json_t *vocabulary, size_t merges)
{
    const size_t count = json_object_size(vocabulary);
    if (count < 1 || count > HYV_BPE_TOKENS_MAX || merges > HYV_BPE_MERGES_MAX)
        return hyv_log_error(r->log, -EBADMSG,
                             "%s: a vocabulary of %zu tokens and %zu merges (1 to %d, at most %d)",
                             r->doc->name, count, merges, HYV_BPE_TOKENS_MAX, HYV_BPE_MERGES_MAX);
    if (!hyv_bpe_reserve(r->bpe, count, merges))
        return no_memory(r);
    const char *text;
    json_t *value;
    json_object_foreach(vocabulary, text, value)
    {
        const size_t length = strlen(text);
        const json_int_t id = json_integer_value(value);
        if (length > HYV_BPE_TOKEN_BYTES_MAX || !json_is_integer(value) || id < 0 || id >= INT_MAX)
            return hyv_log_error(r->log, -EBADMSG,
                                 "%s: token '%.60s' has no valid id or is too long", r->doc->name,
                                 text);
        /* An empty token can never occur in a text. */
        if (length && !hyv_bpe_add_token(r->bpe, text, length, (int32_t)id))
            return no_memory(r);
    }
    return 0;
}

static int read_merge(struct reader *r, size_t index, const char *left, size_t left_length,
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
                             r->doc->name, index + 1, left_length < 40 ? (int)left_length : 40,
                             left, right_length < 40 ? (int)right_length : 40, right);
    hyv_bpe_add_merge(r->bpe, ids[0], ids[1], (int32_t)index, ids[2]);
    return 0;
}

/* "A B". */
static int read_merge_text(struct reader *r, size_t index, const char *text, size_t length)
{
    const char *blank = memchr(text, ' ', length);
    const size_t left = blank ? (size_t)(blank - text) : 0;
    if (!blank || memchr(blank + 1, ' ', length - left - 1))
        return hyv_log_error(r->log, -EBADMSG, "%s: merge %zu is not two tokens with a blank",
                             r->doc->name, index + 1);
    return read_merge(r, index, text, left, blank + 1, length - left - 1);
}

static int read_merges(struct reader *r, json_t *merges)
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
            err = hyv_log_error(r->log, -EBADMSG, "%s: merge %zu is not two strings", r->doc->name,
                                i + 1);
        if (err)
            return err;
    }
    return 0;
}

static int add_added(struct reader *r, const char *text, int32_t id, bool special)
{
    hyv_bpe *bpe = r->bpe;
    const size_t length = strlen(text);
    if (length < 1 || length > HYV_BPE_TOKEN_BYTES_MAX || bpe->added_count >= ADDED_MAX)
        return hyv_log_error(r->log, -EBADMSG,
                             "%s: more than %d added tokens, or one of 0 or more than %d bytes",
                             r->doc->name, ADDED_MAX, HYV_BPE_TOKEN_BYTES_MAX);
    hyv_added *added = hyv_realloc(bpe->added, bpe->added_count + 1, sizeof(*added));
    if (added)
        bpe->added = added;
    char *copy = added ? hyv_strdup(text) : NULL;
    if (!copy)
        return no_memory(r);
    added[bpe->added_count++] = (hyv_added){copy, length, id, special};
    bpe->added_starts[(uint8_t)*text] = true;
    if (id >= bpe->size)
        bpe->size = (int64_t)id + 1;
    return 0;
}

static int read_added(struct reader *r)
{
    size_t i;
    json_t *token;
    json_array_foreach(json_object_get(r->doc->root, "added_tokens"), i, token)
    {
        const char *content = NULL;
        int64_t id = -1;
        bool special = false;
        int err = hyv_json_int(r->doc, token, "id", 0, INT_MAX - 1, &id);
        if (err >= 0)
            err = hyv_json_string(r->doc, token, "content", &content);
        if (err >= 0)
            err = hyv_json_bool(r->doc, token, "special", &special);
        if (err >= 0 && (id < 0 || !content))
            err = hyv_log_error(r->log, -EBADMSG, "%s: added token %zu lacks its id or content",
                                r->doc->name, i);
        if (err >= 0)
            err = add_added(r, content, (int32_t)id, special);
        if (err < 0)
            return err;
    }
    return 0;
}

/* The begin and end tokens of the post-processor, -1 where it has none. */
static int read_post_processor(struct reader *r, const json_t *rule, int depth)
{
    const char *kind;
    const int found = rule_kind(r, rule, &kind);
    if (found <= 0)
        return found;
    size_t i;
    json_t *part;
    if (strcmp(kind, "Sequence") == 0 && depth == 0) {
        json_array_foreach(json_object_get(rule, "processors"), i, part)
        {
            const int err = read_post_processor(r, part, 1);
            if (err)
                return err;
        }
    } else if (strcmp(kind, "TemplateProcessing") == 0) {
        int32_t *which = &r->bpe->bos;
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

static int read_model(struct reader *r, const json_t *model)
{
    const char *kind = "BPE", *prefix = "", *suffix = "", *unknown = NULL;
    bool fallback = false, fuse = false;
    double dropout = 0;
    if (hyv_json_string(r->doc, model, "type", &kind) < 0 ||
        hyv_json_string(r->doc, model, "continuing_subword_prefix", &prefix) < 0 ||
        hyv_json_string(r->doc, model, "end_of_word_suffix", &suffix) < 0 ||
        hyv_json_string(r->doc, model, "unk_token", &unknown) < 0 ||
        hyv_json_bool(r->doc, model, "byte_fallback", &fallback) < 0 ||
        hyv_json_bool(r->doc, model, "fuse_unk", &fuse) < 0 ||
        hyv_json_number(r->doc, model, "dropout", 0, 1, &dropout) < 0 ||
        hyv_json_bool(r->doc, model, "ignore_merges", &r->bpe->whole_first) < 0)
        return -EBADMSG;
    if (strcmp(kind, "BPE") != 0)
        return unknown_kind(r, "model", kind);
    if (*prefix || fallback || fuse || dropout > 0)
        return unknown_kind(r, "model's option",
                            *prefix    ? "continuing_subword_prefix"
                            : fallback ? "byte_fallback"
                            : fuse     ? "fuse_unk"
                                       : "dropout");
    if (strlen(suffix) > CONTENT_BYTES_MAX)
        return unknown_kind(r, "end_of_word_suffix", suffix);
    json_t *merges = json_object_get(model, "merges");
    int err = read_vocabulary(r, json_object_get(model, "vocab"), json_array_size(merges));
    if (!err)
        err = read_merges(r, merges);
    if (!err && !(r->bpe->suffix = hyv_strdup(suffix)))
        err = no_memory(r);
    if (!err && unknown)
        r->bpe->unknown = hyv_bpe_token(r->bpe, unknown);
    return err;
}

static int read_tokenizer_json(struct reader *r, const char *path)
{
    hyv_json doc;
    int err = hyv_json_load(&doc, path, FILE_BYTES_MAX, r->log);
    if (err)
        return err;
    r->doc = &doc;
    const json_t *model = json_object_get(doc.root, "model");
    if (!json_is_object(model))
        err = hyv_log_error(r->log, -EBADMSG, "%s: has no 'model'", path);
    if (!err)
        err = read_model(r, model);
    if (!err)
        err = read_added(r);
    if (!err)
        err = read_rules(r);
    if (!err)
        err = read_post_processor(r, json_object_get(doc.root, "post_processor"), 0);
    hyv_json_close(&doc);
    return err;
}

/* CLIP's older pair of files. */

static int read_merge_lines(struct reader *r, const char *text, size_t size)
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

static int read_clip_rules(struct reader *r)
{
    hyv_json doc;
    int err = hyv_json_parse(&doc, clip_rules, sizeof(clip_rules) - 1, 8, "CLIP's rules", r->log);
    if (err)
        return err;
    r->doc = &doc;
    err = read_rules(r);
    if (!err && !(r->bpe->suffix = hyv_strdup("</w>")))
        err = no_memory(r);
    hyv_json_close(&doc);
    return err;
}

static int read_clip_files(struct reader *r, const char *vocabulary, const char *merges)
{
    char *text;
    size_t size;
    int err = hyv_file_read(&text, &size, merges, FILE_BYTES_MAX);
    if (err)
        return hyv_log_error(r->log, err, "%s: cannot be read: %s", merges, strerror(-err));
    hyv_json doc;
    err = hyv_json_load(&doc, vocabulary, FILE_BYTES_MAX, r->log);
    if (!err) {
        r->doc = &doc;
        err = read_vocabulary(r, doc.root, count_lines(text, size));
        doc.name = merges;
        if (!err)
            err = read_merge_lines(r, text, size);
        hyv_json_close(&doc);
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
static int read_config(struct reader *r, const char *path, bool added)
{
    static const char *const keys[] = {"bos_token", "eos_token", "unk_token"};
    static const char *const usual[] = {"<|startoftext|>", "<|endoftext|>", "<|endoftext|>"};
    int32_t *ids[] = {&r->bpe->bos, &r->bpe->eos, &r->bpe->unknown};
    hyv_json doc = {0};
    int err = hyv_path_is_file(path) ? hyv_json_load(&doc, path, FILE_BYTES_MAX, r->log) : 0;
    r->doc = &doc;
    for (int i = 0; i < 3 && !err; i++) {
        const char *text = config_token(&doc, keys[i]);
        if (!text && added)
            text = usual[i];
        if (*ids[i] >= 0 || !text || (i == 2 && !added))
            continue;
        *ids[i] = hyv_bpe_token(r->bpe, text);
        if (added && *ids[i] >= 0)
            err = add_added(r, text, *ids[i], true);
    }
    hyv_json_close(&doc);
    return err;
}

static void number_bytes(hyv_bpe *bpe)
{
    const size_t suffix = strlen(bpe->suffix);
    for (int byte = 0; byte < 256; byte++) {
        char text[2 + CONTENT_BYTES_MAX];
        const size_t n = (size_t)hyv_bpe_symbol((uint8_t)byte, text);
        bpe->first_ids[byte] = hyv_bpe_find(bpe, text, n);
        memcpy(text + n, bpe->suffix, suffix);
        bpe->last_ids[byte] = hyv_bpe_find(bpe, text, n + suffix);
    }
}

static int read_folder(struct reader *r, const char *folder)
{
    static const char *const names[] = {"tokenizer.json", "vocab.json", "merges.txt",
                                        "tokenizer_config.json"};
    char *paths[4];
    bool memory = true;
    for (int i = 0; i < 4; i++)
        memory &= (paths[i] = hyv_path_join(folder, names[i])) != NULL;
    int err;
    bool clip = false;
    if (!memory)
        err = hyv_log_error(r->log, -ENOMEM, "not enough memory for the tokenizer");
    else if (hyv_path_is_file(paths[0]))
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

int hyv_bpe_open(hyv_bpe **out, const char *folder, hyv_log *log)
{
    *out = NULL;
    hyv_bpe *bpe = hyv_calloc(1, sizeof(*bpe));
    if (!bpe)
        return hyv_log_error(log, -ENOMEM, "not enough memory for the tokenizer");
    bpe->bos = bpe->eos = bpe->unknown = -1;
    struct reader r = {bpe, NULL, log};
    int err;
    if (!make_contexts(bpe))
        err = hyv_log_error(log, -ENOMEM, "not enough memory for the tokenizer");
    else
        err = read_folder(&r, folder);
    if (err) {
        hyv_bpe_close(&bpe);
        return err;
    }
    number_bytes(bpe);
    *out = bpe;
    return 0;
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
