/* Are a tokenizer's merges all there? See hyv_bpe_unmade in bpe.h.
 *
 * In byte-pair encoding every token is a single byte, an added token, or the result of a merge
 * (Sennrich et al. 2016), so a vocabulary tells when its list of merges was cut: the file is valid
 * still and words come out in smaller pieces than the model was trained on. Knows no files.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/util.h"
#include "bpe.h"
#include "bpe_tables.h"

static int by_id(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static bool is_byte(const hyv_bpe *bpe, int32_t id)
{
    for (int i = 0; i < 256; i++)
        if (bpe->first_ids[i] == id || bpe->last_ids[i] == id)
            return true;
    return false;
}

static bool is_added(const hyv_bpe *bpe, int32_t id)
{
    for (size_t i = 0; i < bpe->added_count; i++)
        if (bpe->added[i].id == id)
            return true;
    return id == bpe->unknown || id == bpe->bos || id == bpe->eos;
}

int64_t hyv_bpe_unmade(const hyv_bpe *bpe, char example[HYV_BPE_EXAMPLE_BYTES])
{
    int64_t unmade = 0;
    size_t count = 0;
    *example = '\0';
    if (bpe->whole_first)
        return 0;
    int32_t *made = hyv_malloc(bpe->merge_count, sizeof(*made));
    if (!made)
        return -ENOMEM;
    for (size_t i = 0; i < bpe->merge_slots && count < bpe->merge_count; i++)
        if (bpe->merges[i].rank >= 0)
            made[count++] = bpe->merges[i].result;
    qsort(made, count, sizeof(*made), by_id);
    for (size_t i = 0; i < bpe->token_slots; i++) {
        const hyv_token *t = &bpe->tokens[i];
        if (!t->length || bsearch(&t->id, made, count, sizeof(*made), by_id) ||
            is_byte(bpe, t->id) || is_added(bpe, t->id))
            continue;
        if (!unmade++)
            snprintf(example, HYV_BPE_EXAMPLE_BYTES, "%.*s", t->length < 30 ? (int)t->length : 30,
                     bpe->texts.text + t->offset);
    }
    hyv_free_host(made);
    return unmade;
}
