/* What the log passes on, keeps, cuts and replaces. */
#include <errno.h>
#include <string.h>

#include "../../engine/base/log.h"
#include "../../engine/base/util.h"
#include "../check.h"

struct heard {
    int count, level;
    char text[4096];
};

static void hear(void *opaque, int level, const char *message)
{
    struct heard *h = opaque;
    h->count++;
    h->level = level;
    snprintf(h->text, sizeof(h->text), "%s", message);
}

static void test_messages(void)
{
    struct heard h = {0};
    hyv_log log = {.opaque = &h, .write = hear};
    hyv_log_write(&log, HYV_LEVEL_WARNING, "%d of %s", 3, "four");
    CHECK(h.count == 1 && h.level == HYV_LEVEL_WARNING && strcmp(h.text, "3 of four") == 0);
    CHECK(log.error[0] == 0);
    CHECK(hyv_log_error(&log, -EBADMSG, "first %c", 'x') == -EBADMSG);
    CHECK(h.count == 2 && h.level == HYV_LEVEL_ERROR && strcmp(h.text, "first x") == 0);
    CHECK(hyv_log_error(&log, -ENOMEM, "second") == -ENOMEM);
    CHECK(h.count == 3 && strcmp(h.text, "second") == 0);
    CHECK(strcmp(log.error, "first x") == 0);
    hyv_log_write(&log, HYV_LEVEL_ERROR, "said, not kept");
    CHECK(strcmp(log.error, "first x") == 0);
    hyv_log_clear(&log);
    CHECK(log.error[0] == 0);
    hyv_log_error(&log, -EIO, "third");
    CHECK(strcmp(log.error, "third") == 0);
}

static void test_silence(void)
{
    hyv_log log = {0};
    hyv_log_write(NULL, HYV_LEVEL_INFO, "nothing");
    hyv_log_write(&log, HYV_LEVEL_INFO, "nothing");
    CHECK(hyv_log_error(NULL, -EINVAL, "nothing") == -EINVAL);
    CHECK(hyv_log_error(&log, -EINVAL, "kept") == -EINVAL && strcmp(log.error, "kept") == 0);
    hyv_log_clear(NULL);
}

/* Files put names into messages: control characters must not reach a terminal. */
static void test_controls(void)
{
    struct heard h = {0};
    hyv_log log = {.opaque = &h, .write = hear};
    hyv_log_write(&log, HYV_LEVEL_INFO, "a\nb\tc\x1b[31md\x7f\r");
    CHECK_MSG(strcmp(h.text, "a?b?c?[31md??") == 0, "%s", h.text);
    hyv_log_error(&log, -EIO, "%s", "x\ny");
    CHECK(strcmp(log.error, "x?y") == 0);
}

/* Around the limit of 1023 bytes, characters of one to four bytes stay whole. */
static void test_length(void)
{
    static const char *const units[] = {"a", "\xc3\xa9", "\xe4\xb8\x80", "\xf0\x9f\x98\x80"};
    struct heard h = {0};
    hyv_log log = {.opaque = &h, .write = hear};
    for (size_t u = 0; u < 4; u++) {
        for (int shift = 0; shift < 8; shift++) {
            hyv_string s = {0};
            hyv_string_append(&s, "%.*s", shift, "-------");
            while (s.length < 1016)
                hyv_string_append(&s, "%s", units[u]);
            for (int more = 0; more < 12; more++) {
                hyv_log_write(&log, HYV_LEVEL_INFO, "%s", s.text);
                const size_t n = strlen(h.text);
                CHECK(n <= 1023 && memcmp(h.text, s.text, n) == 0);
                CHECK(hyv_utf8_check(h.text, n) == n);
                CHECK(n == s.length || n + strlen(units[u]) > 1023);
                hyv_string_append(&s, "%s", units[u]);
            }
            hyv_string_free(&s);
        }
    }
}

int main(void)
{
    test_messages();
    test_silence();
    test_controls();
    test_length();
    return check_done();
}
