/* Keys of a GGUF file -> the text of a tokenizer.json: see gguf_tokenizer.h.
 *
 * Key names and token types are llama.cpp's (gguf-py, constants.py); the expression is that of
 * Meta's Llama 3 tokenizer. Going by way of JSON keeps one reader, with its checks, for both forms.
 * Strings of the file are escaped and never interpreted. Knows no prompts.
 */
#include "gguf_tokenizer.h"

#include <errno.h>
#include <string.h>

enum { TOKENS_MAX = 1 << 20, CONTROL = 3, USER_DEFINED = 4 };

static const char rules[] =
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
    "\"behavior\":\"Isolated\",\"invert\":false,\"pattern\":{\"Regex\":\""
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}|"
    " ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}},"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},";

static void append_string(hyv_string *s, const char *text, size_t length)
{
    hyv_string_append_bytes(s, "\"", 1);
    for (size_t i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\' || c < 0x20)
            hyv_string_append(s, "\\u%04x", c);
        else
            hyv_string_append_bytes(s, text + i, 1);
    }
    hyv_string_append_bytes(s, "\"", 1);
}

/* Tokens that stand for themselves go into `added`, the others into `vocabulary`. */
static bool append_tokens(hyv_string *vocabulary, hyv_string *added, const hyv_value *tokens,
                          const hyv_value *types)
{
    hyv_walk token = hyv_value_walk(tokens), type = hyv_value_walk(types);
    for (int64_t id = 0; id < tokens->count; id++) {
        const char *text;
        size_t length;
        int64_t kind;
        if (!hyv_walk_string(&token, &text, &length) || !hyv_walk_int(&type, &kind))
            return false;
        if (kind == CONTROL || kind == USER_DEFINED) {
            hyv_string_append(
                added, "%s{\"id\":%lld,\"special\":%s,\"content\":", added->length ? "," : "",
                (long long)id, kind == CONTROL ? "true" : "false");
            append_string(added, text, length);
            hyv_string_append(added, "}");
        } else {
            hyv_string_append(vocabulary, "%s", vocabulary->length ? "," : "");
            append_string(vocabulary, text, length);
            hyv_string_append(vocabulary, ":%lld", (long long)id);
        }
    }
    return true;
}

static bool append_merges(hyv_string *s, const hyv_value *merges)
{
    hyv_walk walk = hyv_value_walk(merges);
    for (int64_t i = 0; i < merges->count; i++) {
        const char *text;
        size_t length;
        if (!hyv_walk_string(&walk, &text, &length))
            return false;
        hyv_string_append(s, "%s", i ? "," : "");
        append_string(s, text, length);
    }
    return true;
}

/* The content of the token that a key numbers. */
static void append_begin(hyv_string *s, const hyv_metadata *m, const hyv_value *tokens)
{
    int64_t bos = -1;
    hyv_walk walk = hyv_value_walk(tokens);
    const char *text = NULL;
    size_t length = 0;
    hyv_metadata_int(m, "tokenizer.ggml.bos_token_id", &bos);
    for (int64_t id = 0; id <= bos; id++)
        if (!hyv_walk_string(&walk, &text, &length))
            return;
    if (!text)
        return;
    hyv_string_append(s, "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":["
                         "{\"SpecialToken\":{\"id\":");
    append_string(s, text, length);
    hyv_string_append(s, ",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]},");
}

static int convert(hyv_string *text, const hyv_metadata *m, const hyv_value *tokens,
                   const char *path, hyv_log *log)
{
    const hyv_value *types = hyv_metadata_find(m, "tokenizer.ggml.token_type");
    const hyv_value *merges = hyv_metadata_find(m, "tokenizer.ggml.merges");
    hyv_string s = {0}, vocabulary = {0}, added = {0};
    int err = 0;
    hyv_string_append(&s, "{");
    append_begin(&s, m, tokens);
    hyv_string_append(&s, "%s\"model\":{\"type\":\"BPE\",\"ignore_merges\":true,\"merges\":[",
                      rules);
    if (!types || !merges || types->count != tokens->count || tokens->count > TOKENS_MAX ||
        !append_merges(&s, merges) || !append_tokens(&vocabulary, &added, tokens, types))
        err = hyv_log_error(log, -EBADMSG,
                            "%s: the keys tokenizer.ggml.tokens, token_type and merges do not fit "
                            "together",
                            path);
    hyv_string_append(&s, "],\"vocab\":{");
    hyv_string_append_bytes(&s, hyv_string_text(&vocabulary), vocabulary.length);
    hyv_string_append(&s, "}},\"added_tokens\":[");
    hyv_string_append_bytes(&s, hyv_string_text(&added), added.length);
    hyv_string_append(&s, "]}");
    if (!err && (s.failed || vocabulary.failed || added.failed))
        err = hyv_log_error(log, -ENOMEM, "%s: not enough memory for its tokenizer", path);
    hyv_string_free(&vocabulary);
    hyv_string_free(&added);
    *text = s;
    if (err)
        hyv_string_free(text);
    return err;
}

int hyv_gguf_tokenizer_text(hyv_string *text, hyv_checkpoint *c, const char *path, hyv_log *log)
{
    *text = (hyv_string){0};
    const hyv_metadata *m = hyv_checkpoint_metadata(c);
    const hyv_value *tokens = hyv_metadata_find(m, "tokenizer.ggml.tokens");
    if (!tokens)
        return 0;
    /* Files from before May 2024 do not name the expression. */
    const bool other = hyv_metadata_find(m, "tokenizer.ggml.pre") &&
                       !hyv_metadata_equals(m, "tokenizer.ggml.pre", "llama-bpe");
    if (other || !hyv_metadata_equals(m, "tokenizer.ggml.model", "gpt2"))
        return hyv_log_error(log, -ENOTSUP,
                             "%s: its tokenizer is not Llama 3's (tokenizer.ggml.model gpt2, pre "
                             "llama-bpe): set option tokenizer to one that is",
                             path);
    const int err = convert(text, m, tokens, path, log);
    return err < 0 ? err : 1;
}

int hyv_gguf_tokenizer(hyv_bpe **bpe, hyv_checkpoint *c, const char *path, hyv_log *log)
{
    hyv_string text;
    const int found = hyv_gguf_tokenizer_text(&text, c, path, log);
    if (found <= 0)
        return found;
    const int err = hyv_bpe_parse(bpe, hyv_string_text(&text), text.length, path, log);
    hyv_string_free(&text);
    return err < 0 ? err : 1;
}
