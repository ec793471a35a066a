/* Hashes that tell one model from another without reading all of it.
 *
 * Of each tensor in use: name, type, shape, and a few pages of its content spread over its length.
 * So another model, another training, another quantisation and a merged adapter all differ; a
 * single damaged number elsewhere may go unnoticed. The same on every machine. XXH3, 128 bits.
 */
#ifndef HYV_RUN_FINGERPRINT_H
#define HYV_RUN_FINGERPRINT_H

#include "../checkpoint/checkpoint.h"

enum { HYV_FINGERPRINT_BYTES = 33 }; /* 32 hexadecimal digits and a NUL */

/* Of the tensors that somebody has bound. 0 or -ENOMEM. */
int hyv_fingerprint(char out[HYV_FINGERPRINT_BYTES], hyv_checkpoint *checkpoint);

/* Of all bytes at `data`. */
void hyv_fingerprint_bytes(char out[HYV_FINGERPRINT_BYTES], const void *data, size_t size);

#endif
