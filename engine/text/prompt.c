/* Wraps a prompt in its template and encodes it for both text encoders: see prompt.h.
 *
 * Templates, lengths and the order of the steps are those of the published code (HunyuanVideo
 * `hyvideo/constants.py`, `text_encoder/__init__.py`). Three parts are encoded one after the other,
 * so that only the template's can hold special tokens; blanks are taken off the prompt, and the
 * split expressions never join a line feed with what is no blank, so the ids are those of the whole
 * text. Knows no models.
 */
#include "prompt.h"

#include <errno.h>
#include <string.h>

static const struct chat {
    const char *before;
    int64_t published_crop; /* tokens of `before`, with the begin token */
} chats[] = {
    [HYV_TEMPLATE_VIDEO] =
        {"<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the "
         "following aspects: 1. The main content and theme of the video.2. The color, shape, size, "
         "texture, quantity, text, and spatial relationships of the objects.3. Actions, events, "
         "behaviors temporal relationships, physical movement changes of the objects.4. background "
         "environment, light, style and atmosphere.5. camera angles, movements, and transitions "
         "used in the video:<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
         95},
    [HYV_TEMPLATE_IMAGE] =
        {"<|start_header_id|>system<|end_header_id|>\n\nDescribe the image by detailing the color, "
         "shape, size, texture, quantity, text, spatial relationships of the objects and "
         "background:<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
         36},
};

static const char after[] = "<|eot_id|>";

/* Bytes of the blank at p, 0 if there is none: what Python's str.strip() takes off. */
static size_t blank_bytes(const char *p, size_t n)
{
    const uint8_t *b = (const uint8_t *)p;
    if (n >= 1 && ((b[0] >= 0x09 && b[0] <= 0x0d) || (b[0] >= 0x1c && b[0] <= 0x20)))
        return 1;
    if (n >= 2 && b[0] == 0xc2 && (b[1] == 0x85 || b[1] == 0xa0))
        return 2;
    if (n < 3 || b[0] < 0xe1 || b[0] > 0xe3)
        return 0;
    const unsigned code = (b[0] & 0x0fu) << 12 | (b[1] & 0x3fu) << 6 | (b[2] & 0x3fu);
    const bool blank = code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
                       code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
    return blank ? 3 : 0;
}

static void strip(const char **text, size_t *length)
{
    for (size_t n; (n = blank_bytes(*text, *length)) > 0; *length -= n)
        *text += n;
    for (size_t n = 1; n <= 3 && n <= *length;) {
        if (blank_bytes(*text + *length - n, n) == n) {
            *length -= n;
            n = 1;
        } else {
            n++;
        }
    }
}

/* Appends the ids of a part; *count grows by all of them, also by those beyond the array. */
static int append_part(hyv_prompt_tokens *out, int64_t *count, hyv_bpe *bpe, const char *text,
                       size_t length, int special, hyv_log *log)
{
    const int64_t room = *count < HYV_LLM_TOKENS_MAX ? HYV_LLM_TOKENS_MAX - *count : 0;
    int64_t n;
    const int err = hyv_bpe_encode(bpe, text, length, special,
                                   out->llm + (HYV_LLM_TOKENS_MAX - room), room, &n, log);
    *count += n;
    return err;
}

static int encode_llm(hyv_prompt_tokens *out, hyv_bpe *bpe, const char *prompt, size_t length,
                      const struct chat *chat, hyv_log *log)
{
    static const char *const specials[] = {"<|start_header_id|>", "<|end_header_id|>", after};
    for (size_t i = 0; i < sizeof(specials) / sizeof(specials[0]); i++)
        if (hyv_bpe_token(bpe, specials[i]) < 0)
            return hyv_log_error(log, -ENOTSUP,
                                 "the language model's tokenizer has no token '%s', which the "
                                 "prompt's template needs",
                                 specials[i]);
    if (hyv_bpe_bos(bpe) < 0)
        return hyv_log_error(log, -ENOTSUP, "the language model's tokenizer has no begin token");
    int64_t count = 1;
    out->llm[0] = hyv_bpe_bos(bpe);
    int err = append_part(out, &count, bpe, chat->before, strlen(chat->before), 1, log);
    if (err)
        return err;
    out->crop = count;
    if (out->crop >= HYV_LLM_TOKENS_MAX)
        return hyv_log_error(log, -ENOTSUP,
                             "the language model's tokenizer makes %lld tokens of the prompt's "
                             "template alone; there is room for %d",
                             (long long)out->crop, HYV_LLM_TOKENS_MAX);
    if (out->crop != chat->published_crop)
        hyv_log_write(log, HYV_LEVEL_WARNING,
                      "the prompt's template has %lld tokens, not the published %lld: is this "
                      "tokenizer the model's?",
                      (long long)out->crop, (long long)chat->published_crop);
    err = append_part(out, &count, bpe, prompt, length, 0, log);
    const int64_t full = count;
    if (!err)
        err = append_part(out, &count, bpe, after, strlen(after), 1, log);
    out->llm_count = count < HYV_LLM_TOKENS_MAX ? count : HYV_LLM_TOKENS_MAX;
    out->cut |= full > HYV_LLM_TOKENS_MAX;
    return err;
}

static int encode_clip(hyv_prompt_tokens *out, hyv_bpe *bpe, const char *prompt, size_t length,
                       hyv_log *log)
{
    enum { WORDS = HYV_CLIP_TOKENS_MAX - 2 };
    if (hyv_bpe_bos(bpe) < 0 || hyv_bpe_eos(bpe) < 0)
        return hyv_log_error(log, -ENOTSUP, "CLIP's tokenizer has no begin or no end token");
    int64_t count;
    const int err = hyv_bpe_encode(bpe, prompt, length, 0, out->clip + 1, WORDS, &count, log);
    if (err)
        return err;
    const int64_t used = count < WORDS ? count : WORDS;
    out->clip[0] = hyv_bpe_bos(bpe);
    out->clip[1 + used] = hyv_bpe_eos(bpe);
    out->clip_count = used + 2;
    out->cut |= count > WORDS;
    return 0;
}

int hyv_prompt_encode(hyv_prompt_tokens *out, hyv_bpe *llm, hyv_bpe *clip, const char *prompt,
                      enum hyv_template which, hyv_log *log)
{
    *out = (hyv_prompt_tokens){0};
    size_t length = strlen(prompt);
    if (length > HYV_PROMPT_BYTES_MAX)
        return hyv_log_error(log, -EINVAL, "the prompt has %zu bytes, at most %d are read", length,
                             HYV_PROMPT_BYTES_MAX);
    strip(&prompt, &length);
    int err = encode_llm(out, llm, prompt, length, &chats[which], log);
    if (!err)
        err = encode_clip(out, clip, prompt, length, log);
    return err;
}
