/* From a prompt to the ids that the two text encoders get.
 *
 * The Llama side wraps the prompt in the published chat template (HunyuanVideo
 * `hyvideo/constants.py`: video, or image for one frame), begins with BOS, cuts at the published
 * length, and says how many leading tokens to drop afterwards; the CLIP side takes the bare prompt.
 * No padding: padded tokens influence nothing. Special-token strings in the user's text are text,
 * not tokens.
 */
#ifndef HYV_TEXT_PROMPT_H
#define HYV_TEXT_PROMPT_H

#include <stdbool.h>

#include "bpe.h"

enum hyv_template { HYV_TEMPLATE_VIDEO, HYV_TEMPLATE_IMAGE };

enum { HYV_LLM_TOKENS_MAX = 351, HYV_CLIP_TOKENS_MAX = 77, HYV_PROMPT_BYTES_MAX = 65536 };

typedef struct hyv_prompt_tokens {
    int32_t llm[HYV_LLM_TOKENS_MAX];
    int64_t llm_count;
    int64_t crop; /* leading tokens whose states are dropped: counted, 95 (video) or 36 (image) with
                     the published vocabulary */
    int32_t clip[HYV_CLIP_TOKENS_MAX];
    int64_t clip_count; /* including begin and first end token; no padding */
    bool cut;           /* the prompt was longer than one of the encoders takes */
} hyv_prompt_tokens;

/* Blanks around the prompt are removed. A prompt that is not UTF-8 is -EINVAL. */
int hyv_prompt_encode(hyv_prompt_tokens *out, hyv_bpe *llm, hyv_bpe *clip, const char *prompt,
                      enum hyv_template which, hyv_log *log);

#endif
