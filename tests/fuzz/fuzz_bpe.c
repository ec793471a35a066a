/* Tokenizers over arbitrary bytes. First byte 'V': vocab.json, a NUL, merges.txt; anything else: a
 * tokenizer.json, a NUL, and text to encode. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../engine/text/bpe.h"
#include "fuzz.h"

enum { IDS = 64 };

static void encode(hyv_bpe *bpe, const char *text, size_t size)
{
    int32_t ids[IDS];
    int64_t count = 0;
    hyv_log log = {0};
    if (hyv_bpe_encode(bpe, text, size, 1, ids, IDS, &count, &log) == 0)
        for (int64_t i = 0; i < count && i < IDS; i++)
            if (ids[i] < 0 || ids[i] >= hyv_bpe_size(bpe))
                abort();
}

static void use(hyv_bpe *bpe, const uint8_t *text, size_t size)
{
    static const char common[] = "A cat's 12 \xe4\xbd\xa0\xe5\xa5\xbd, <|eot_id|>";
    encode(bpe, common, sizeof(common) - 1);
    encode(bpe, (const char *)text, size);
}

static void write_file(const char *path, const uint8_t *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f) != 0)
        abort();
}

static int open_two(hyv_bpe **bpe, const uint8_t *data, size_t first, const uint8_t *rest,
                    size_t size, hyv_log *log)
{
    char folder[] = "/tmp/hyv-fuzz-XXXXXX", vocabulary[64], merges[64];
    if (!mkdtemp(folder))
        abort();
    snprintf(vocabulary, sizeof(vocabulary), "%s/vocab.json", folder);
    snprintf(merges, sizeof(merges), "%s/merges.txt", folder);
    write_file(vocabulary, data, first);
    write_file(merges, rest, size);
    const int err = hyv_bpe_open(bpe, folder, log);
    unlink(vocabulary);
    unlink(merges);
    rmdir(folder);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const bool two = size && data[0] == 'V';
    hyv_log log = {0};
    hyv_bpe *bpe = NULL;
    if (two) {
        data++;
        size--;
    }
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    const size_t first = end ? (size_t)(end - data) : size;
    const uint8_t *rest = end ? end + 1 : data + size;
    const size_t left = size - (size_t)(rest - data);
    const int err = two ? open_two(&bpe, data, first, rest, left, &log)
                        : hyv_bpe_parse(&bpe, (const char *)data, first, "bytes", &log);
    if (err == 0)
        use(bpe, rest, left);
    else if (bpe || !log.error[0])
        abort();
    hyv_bpe_close(&bpe);
    return 0;
}
