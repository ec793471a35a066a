/* What the fuzz targets share: one function over bytes, and files made of them.
 *
 * A target is linked with libFuzzer (make fuzz), or with replay.c, which runs it over the stored
 * corpus (make check). Nothing may crash, leak, hang or trip a sanitizer, whatever the bytes.
 */
#ifndef HYV_TESTS_FUZZ_H
#define HYV_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file in memory with these bytes: the path to open it by, valid until fuzz_close(*fd). */
const char *fuzz_file(int *fd, char path[32], const uint8_t *data, size_t size);
void fuzz_close(int fd);

/* Opens the bytes as a checkpoint and looks at every tensor. */
void fuzz_checkpoint(const uint8_t *data, size_t size);

#endif
