/* Words outside a small model's list: what counts as a word, in scripts with and without blanks. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../engine/text/vocabulary.h"
#include "../check.h"

static char path[] = "/tmp/hyv-vocabulary-XXXXXX";

static void write_file(const char *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(bytes, 1, size, f) == size);
    if (f)
        fclose(f);
}

static int open_list(hyv_vocabulary **v, const char *bytes, size_t size, hyv_log *log)
{
    write_file(bytes, size);
    return hyv_vocabulary_open(v, path, log);
}

/* The list of unknown words, and their number. */
static void check_unknown(const hyv_vocabulary *v, const char *prompt, int count, const char *words)
{
    hyv_string list = {0};
    const int found = hyv_vocabulary_unknown(v, prompt, &list);
    CHECK_MSG(found == count && !strcmp(hyv_string_text(&list), words), "%s: %d unknown: %s",
              prompt, found, hyv_string_text(&list));
    hyv_string_free(&list);
}

static void test_words(void)
{
    static const char list[] =
        "# Coloured shapes\r\nred\nstar\nthe\nmoves\r\n\n# that move.\nÉtoile\n红色\n红\n"
        "星星\n向右移动\n";
    hyv_log log = {0};
    hyv_vocabulary *v = NULL;
    CHECK(open_list(&v, list, sizeof(list) - 1, &log) == 0);
    CHECK(v != NULL);
    if (!v)
        return;
    CHECK(!strcmp(hyv_vocabulary_about(v), "Coloured shapes that move."));
    check_unknown(v, "The RED star, moves!", 0, "");
    check_unknown(v, "", 0, "");
    check_unknown(v, "a red cat; a red dog", 4, "\"a\", \"cat\", \"dog\"");
    check_unknown(v, "re reds stars", 3, "\"re\", \"reds\", \"stars\"");
    check_unknown(v, "étoile E\xcc\x81toile", 0, "");
    check_unknown(v, "红色星星向右移动。", 0, "");
    check_unknown(v, "红星星", 0, "");
    check_unknown(v, "一只红色小猫star移动", 3, "\"一只\", \"小猫\", \"移动\"");
    check_unknown(v, "a b c d e f g", 7, "\"a\", \"b\", \"c\", \"d\", \"e\"");
    hyv_vocabulary_close(&v);
    CHECK(v == NULL);
    hyv_vocabulary_close(&v);
}

static void test_damaged(void)
{
    static const char latin[] = "red\nsch\xf6n\n", nul[] = "red\n\0star\n";
    char large[HYV_VOCABULARY_BYTES_MAX + 1];
    hyv_log log = {0};
    hyv_vocabulary *v = NULL;
    memset(large, 'a', sizeof(large));
    CHECK(open_list(&v, latin, sizeof(latin) - 1, &log) == -EBADMSG);
    CHECK(strstr(log.error, path) != NULL);
    CHECK(open_list(&v, nul, sizeof(nul) - 1, &log) == -EBADMSG);
    CHECK(open_list(&v, "# no words\n", 11, &log) == -EBADMSG);
    CHECK(open_list(&v, "", 0, &log) == -EBADMSG);
    CHECK(open_list(&v, large, sizeof(large), &log) == -EFBIG);
    CHECK(v == NULL);
    unlink(path);
    CHECK(hyv_vocabulary_open(&v, path, &log) == 0);
    CHECK(v == NULL);
}

int main(void)
{
    const int fd = mkstemp(path);
    CHECK(fd >= 0);
    close(fd);
    test_words();
    test_damaged();
    return check_done();
}
