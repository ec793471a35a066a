/* Text phase: tokens to what the transformer is conditioned on.
 *
 * The language model's states of the prompt's tokens (template dropped), their mean, and CLIP's
 * pooled vector, as host floats. Works on any backend; on the null backend it measures. Knows no
 * schedule and no pixels.
 */
#ifndef HYV_RUN_CONDITIONING_H
#define HYV_RUN_CONDITIONING_H

#include "../model/clip.h"
#include "../model/llama.h"
#include "../text/prompt.h"

typedef struct hyv_conditioning {
    int64_t tokens, width, pooled_width;
    float *states; /* [tokens, width] */
    float *mean;   /* [width]: of the states, in f32 */
    float *pooled; /* [pooled_width] */
} hyv_conditioning;

/* Allocates for `tokens` states; -ENOMEM. */
int hyv_conditioning_new(hyv_conditioning *c, int64_t tokens, int64_t width, int64_t pooled_width);
void hyv_conditioning_free(hyv_conditioning *c);

/* A text on its way through the encoders; both parts outlive the calls. */
typedef struct hyv_text {
    const hyv_prompt_tokens *tokens;
    hyv_conditioning *out;
} hyv_text;

/* Each runs one encoder and fills its part of `out`. 0, -EBADMSG if an id is outside the
 * vocabulary, or the backend's error. Results that are not finite are -EBADMSG too: then the
 * weights are damaged. The language model takes one or two texts in one run, their template's first
 * tokens only once; a text's states do not depend on the other's. */
int hyv_condition_llama(const hyv_text *texts, int count, hyv_backend *be, const hyv_llama *m,
                        const hyv_watch *watch, hyv_log *log);

/* Rows that such a run has in all. */
int64_t hyv_condition_rows(const hyv_text *texts, int count);

int hyv_condition_clip(hyv_conditioning *c, hyv_backend *be, const hyv_clip *m,
                       const hyv_prompt_tokens *tokens, const hyv_watch *watch, hyv_log *log);

#endif
