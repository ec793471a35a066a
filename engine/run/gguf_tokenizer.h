/* The tokenizer inside a GGUF file of a Llama, for distributions that ship no other.
 *
 * Its keys (tokenizer.ggml.*) hold the vocabulary and the merges of the tokenizer.json that it was
 * converted from; the split expression is not in the file but named by it, and is Llama 3's here.
 */
#ifndef HYV_RUN_GGUF_TOKENIZER_H
#define HYV_RUN_GGUF_TOKENIZER_H

#include "../checkpoint/checkpoint.h"
#include "../text/bpe.h"

/* 1 and *bpe; 0 if the file has no tokenizer; negative after a message, which names `path`: a
 * tokenizer of another kind (-ENOTSUP), a damaged one (-EBADMSG). */
int hyv_gguf_tokenizer(hyv_bpe **bpe, hyv_checkpoint *c, const char *path, hyv_log *log);

/* The same for the text of such a tokenizer.json. */
int hyv_gguf_tokenizer_text(hyv_string *text, hyv_checkpoint *c, const char *path, hyv_log *log);

#endif
