/* Runs a fuzz target over files, those of every folder that is named, instead of libFuzzer. */
#include <dirent.h>
#include <stdlib.h>

#include "../../engine/base/util.h"
#include "../check.h"
#include "fuzz.h"

enum { FILE_BYTES_MAX = 1 << 24 };

/* The exact bytes in memory of their own, so that a read behind them is seen. */
static void replay(const char *path)
{
    char *text;
    size_t size;
    if (!CHECK_MSG(hyv_file_read(&text, &size, path, FILE_BYTES_MAX) == 0, "%s", path))
        return;
    uint8_t *exact = malloc(size ? size : 1);
    if (CHECK(exact != NULL)) {
        for (size_t i = 0; i < size; i++)
            exact[i] = (uint8_t)text[i];
        CHECK_MSG(LLVMFuzzerTestOneInput(exact, size) == 0, "%s", path);
    }
    free(exact);
    hyv_free_host(text);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        if (!CHECK_MSG(dir != NULL, "there is no folder %s", argv[i]))
            continue;
        for (const struct dirent *d = readdir(dir); d; d = readdir(dir)) {
            if (d->d_name[0] == '.')
                continue;
            char *path = hyv_path_join(argv[i], d->d_name);
            if (CHECK(path != NULL))
                replay(path);
            hyv_free_host(path);
        }
        closedir(dir);
    }
    return check_done();
}
