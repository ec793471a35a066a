/* Presets (YAML) over arbitrary bytes. */
#include <stdlib.h>

#include "../../engine/hunyuanvideo.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[32];
    int fd;
    hyv_options *o = hyv_options_new();
    if (!o)
        abort();
    const int err = hyv_options_load(o, fuzz_file(&fd, path, data, size));
    if ((err < 0) != (hyv_options_get(o, "error")[0] != 0))
        abort();
    hyv_options_free(&o);
    fuzz_close(fd);
    return 0;
}
