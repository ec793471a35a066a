/* Byte-level byte-pair encoding for both text encoders.
 *
 * hyv_bpe_open reads a tokenizer folder: tokenizer.json (Llama-3's kind: split expression, byte
 * level, ignore_merges, BOS by the post-processor; or CLIP's kind: NFC, lower case, "</w>"), or
 * vocab.json + merges.txt (CLIP). What kind it is comes from the files; tokenizer.json or
 * vocab.json may also be named themselves. Splitting is done by PCRE2 with Unicode properties,
 * normalisation by utf8proc. Knows nothing of prompts' templates.
 */
#ifndef HYV_TEXT_BPE_H
#define HYV_TEXT_BPE_H

#include <stddef.h>
#include <stdint.h>

#include "../base/log.h"

typedef struct hyv_bpe hyv_bpe;

int hyv_bpe_open(hyv_bpe **bpe, const char *path, hyv_log *log);
/* The same from the text of a tokenizer.json, which messages call `name`. */
int hyv_bpe_parse(hyv_bpe **bpe, const char *text, size_t size, const char *name, hyv_log *log);
void hyv_bpe_close(hyv_bpe **bpe);

/* Encodes UTF-8 `text` (length bytes). Special tokens that stand literally in the text become their
 * ids iff parse_special. No BOS and no end token are added. At most `max` ids are stored; *count is
 * how many there would be (so *count > max: cut). -EINVAL: not UTF-8; -ENOMEM. */
int hyv_bpe_encode(hyv_bpe *bpe, const char *text, size_t length, int parse_special, int32_t *ids,
                   int64_t max, int64_t *count, hyv_log *log);

/* Id of a token given by its content ("<|eot_id|>", "<|endoftext|>"), or -1. */
int32_t hyv_bpe_token(const hyv_bpe *bpe, const char *content);
/* The begin token that the post-processor or config prepends, and the end token; -1 if none. */
int32_t hyv_bpe_bos(const hyv_bpe *bpe);
int32_t hyv_bpe_eos(const hyv_bpe *bpe);
int64_t hyv_bpe_size(const hyv_bpe *bpe); /* one more than the largest id */

/* How many tokens no merge makes, though they are neither single bytes nor added ones: 0 unless the
 * list of merges was cut, or tokens need no merges (ignore_merges). `example` is the first of them,
 * at most 30 bytes of it. -ENOMEM. */
enum { HYV_BPE_EXAMPLE_BYTES = 32 };
int64_t hyv_bpe_unmade(const hyv_bpe *bpe, char example[HYV_BPE_EXAMPLE_BYTES]);

#endif
