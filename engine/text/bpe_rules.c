/* Reads how a tokenizer rewrites and cuts its text: the `normalizer` and `pre_tokenizer` of a
 * tokenizer.json.
 *
 * Names, defaults and meaning are those of Hugging Face's tokenizers library. Only what byte-level
 * tokenizers use is known; everything else is refused by name, never passed over.
 */
#include <errno.h>
#include <string.h>

#include "bpe_tables.h"

enum { PATTERN_BYTES_MAX = 4096 };

/* The expression that the byte-level step applies by itself unless told not to (GPT-2's). */
static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

int hyv_bpe_unknown(const hyv_bpe_reader *r, const char *part, const char *kind)
{
    return hyv_log_error(r->log, -ENOTSUP, "%s: the %s '%.60s' is not supported", r->doc.name, part,
                         kind);
}

int hyv_bpe_no_memory(const hyv_bpe_reader *r)
{
    return hyv_log_error(r->log, -ENOMEM, "%s: not enough memory for the tokenizer",
                         r->doc.name ? r->doc.name : "(tokenizer)");
}

int hyv_bpe_each_rule(hyv_bpe_reader *r, const json_t *rule, const char *parts,
                      hyv_bpe_rule_reader *read)
{
    if (!rule || json_is_null(rule))
        return 0;
    const char *kind = NULL;
    int err = hyv_json_string(&r->doc, rule, "type", &kind);
    if (err < 0)
        return err;
    if (!kind)
        return hyv_bpe_unknown(r, "rule", "(without a type)");
    if (strcmp(kind, "Sequence") != 0)
        return read(r, rule, kind);
    if (r->within)
        return hyv_bpe_unknown(r, "rule", "Sequence within a Sequence");
    r->within = true;
    err = 0;
    size_t i;
    json_t *part;
    json_array_foreach(json_object_get(rule, parts), i, part)
    {
        err = hyv_bpe_each_rule(r, part, parts, read);
        if (err)
            break;
    }
    r->within = false;
    return err;
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

static int compile(const hyv_bpe_reader *r, hyv_regex *regex, const char *pattern, uint32_t options)
{
    hyv_string text = {0};
    if (strlen(pattern) > PATTERN_BYTES_MAX)
        return hyv_log_error(r->log, -ENOTSUP, "%s: an expression of more than %d bytes",
                             r->doc.name, PATTERN_BYTES_MAX);
    if (options & PCRE2_LITERAL)
        hyv_string_append(&text, "%s", pattern);
    else
        spell_blanks(&text, pattern);
    if (text.failed)
        return hyv_bpe_no_memory(r);
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
                             "%s: the expression '%.80s' is wrong at %zu: %s", r->doc.name, pattern,
                             at, reason);
    }
    regex->match = pcre2_match_data_create(1, r->bpe->memory);
    return regex->match ? 0 : hyv_bpe_no_memory(r);
}

/* {"Regex": "..."} or {"String": "..."}. */
static int compile_member(const hyv_bpe_reader *r, hyv_regex *regex, const json_t *pattern)
{
    const char *text = NULL, *literal = NULL;
    const bool wrong = hyv_json_string(&r->doc, pattern, "Regex", &text) < 0 ||
                       hyv_json_string(&r->doc, pattern, "String", &literal) < 0;
    if (wrong)
        return -EBADMSG;
    if (!pattern || (!text && !literal))
        return hyv_log_error(r->log, -EBADMSG, "%s: a rule without a pattern", r->doc.name);
    return text ? compile(r, regex, text, PCRE2_UTF | PCRE2_UCP)
                : compile(r, regex, literal, PCRE2_UTF | PCRE2_LITERAL);
}

static int read_normalizer(hyv_bpe_reader *r, const json_t *rule, const char *kind)
{
    if (r->bpe->rewrite_count == HYV_BPE_RULES_MAX)
        return hyv_bpe_unknown(r, "normalizer after so many others", kind);
    hyv_rewrite *rewrite = &r->bpe->rewrites[r->bpe->rewrite_count++];
    if (strcmp(kind, "NFC") == 0)
        rewrite->kind = HYV_REWRITE_NFC;
    else if (strcmp(kind, "Lowercase") == 0)
        rewrite->kind = HYV_REWRITE_LOWER;
    else if (strcmp(kind, "Replace") == 0)
        rewrite->kind = HYV_REWRITE_REPLACE;
    else
        return hyv_bpe_unknown(r, "normalizer", kind);
    if (rewrite->kind != HYV_REWRITE_REPLACE)
        return 0;
    const char *content = "";
    int err = hyv_json_string(&r->doc, rule, "content", &content);
    if (err < 0)
        return err;
    if (strlen(content) > HYV_BPE_CONTENT_BYTES_MAX)
        return hyv_bpe_unknown(r, "long content", content);
    rewrite->content = hyv_strdup(content);
    err = compile_member(r, &rewrite->pattern, json_object_get(rule, "pattern"));
    return err || rewrite->content ? err : hyv_bpe_no_memory(r);
}

static int read_split(hyv_bpe_reader *r, const json_t *rule, hyv_cut *cut)
{
    const char *behavior = "";
    bool invert = false;
    if (hyv_json_string(&r->doc, rule, "behavior", &behavior) < 0 ||
        hyv_json_bool(&r->doc, rule, "invert", &invert) < 0)
        return -EBADMSG;
    const bool isolated = strcmp(behavior, "Isolated") == 0;
    if (!isolated && strcmp(behavior, "Removed") != 0)
        return hyv_bpe_unknown(r, "split behavior", behavior);
    cut->keep_matches = isolated || invert;
    cut->keep_gaps = isolated || !invert;
    return compile_member(r, &cut->pattern, json_object_get(rule, "pattern"));
}

static int read_pre_tokenizer(hyv_bpe_reader *r, const json_t *rule, const char *kind)
{
    if (r->byte_level)
        return hyv_bpe_unknown(r, "rule after 'ByteLevel'", kind);
    if (r->bpe->cut_count == HYV_BPE_RULES_MAX)
        return hyv_bpe_unknown(r, "pre-tokenizer after so many others", kind);
    hyv_cut *cut = &r->bpe->cuts[r->bpe->cut_count];
    if (strcmp(kind, "Split") == 0) {
        r->bpe->cut_count++;
        return read_split(r, rule, cut);
    }
    if (strcmp(kind, "ByteLevel") != 0)
        return hyv_bpe_unknown(r, "pre-tokenizer", kind);
    r->byte_level = true;
    bool prefix = true, use_regex = true; /* the format's defaults */
    if (hyv_json_bool(&r->doc, rule, "add_prefix_space", &prefix) < 0 ||
        hyv_json_bool(&r->doc, rule, "use_regex", &use_regex) < 0)
        return -EBADMSG;
    if (prefix)
        return hyv_bpe_unknown(r, "option", "add_prefix_space");
    if (!use_regex)
        return 0;
    r->bpe->cut_count++;
    cut->keep_matches = cut->keep_gaps = true;
    return compile(r, &cut->pattern, gpt2_pattern, PCRE2_UTF | PCRE2_UCP);
}

int hyv_bpe_read_rules(hyv_bpe_reader *r)
{
    r->byte_level = false;
    int err = hyv_bpe_each_rule(r, json_object_get(r->doc.root, "normalizer"), "normalizers",
                                read_normalizer);
    if (!err)
        err = hyv_bpe_each_rule(r, json_object_get(r->doc.root, "pre_tokenizer"), "pretokenizers",
                                read_pre_tokenizer);
    if (!err && !r->byte_level)
        err = hyv_log_error(r->log, -ENOTSUP, "%s: not a byte-level tokenizer", r->doc.name);
    return err;
}
