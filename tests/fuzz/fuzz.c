/* Files in memory for readers that take paths: see fuzz.h. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../engine/checkpoint/checkpoint.h"
#include "../../engine/checkpoint/names.h"

const char *fuzz_file(int *fd, char path[32], const uint8_t *data, size_t size)
{
    *fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (*fd < 0 || write(*fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, 32, "/proc/self/fd/%d", *fd);
    return path;
}

void fuzz_close(int fd)
{
    close(fd);
}

void fuzz_checkpoint(const uint8_t *data, size_t size)
{
    char path[32];
    int fd;
    hyv_log log = {0};
    hyv_checkpoint *c;
    const int err = hyv_checkpoint_open(&c, fuzz_file(&fd, path, data, size), &log);
    if ((err < 0) != (c == NULL) || (err < 0) != (log.error[0] != 0))
        abort(); /* an error without a message, or the reverse */
    for (int64_t i = 0; c && i < hyv_checkpoint_count(c); i++) {
        const hyv_tensor *t = hyv_checkpoint_at(c, i);
        const uint8_t *bytes = t->data;
        volatile uint8_t sink = t->size_bytes ? bytes[0] ^ bytes[t->size_bytes - 1] : 0;
        (void)sink;
        if (hyv_checkpoint_find(c, t->name) != t)
            abort();
    }
    if (c) {
        hyv_identity found;
        hyv_names_identify(&found, c);
    }
    hyv_checkpoint_close(&c);
    fuzz_close(fd);
}
