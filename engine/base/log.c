/* Formats messages of one context, hands them to its callback, keeps the first error: see log.h.
 *
 * Text from files (names of tensors, of tokens) ends up in messages, so control characters are
 * replaced: a file must not be able to steer the user's terminal. Prints nothing itself.
 */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_MAX = 1024 };

/* Cuts an overlong text at the start of the UTF-8 sequence that the limit falls into. */
static void cut_sequence(char *text)
{
    size_t n = MESSAGE_MAX - 1;
    while (n > 0 && ((unsigned char)text[n - 1] & 0xc0) == 0x80)
        n--;
    if (n > 0 && (unsigned char)text[n - 1] >= 0xc0) {
        const unsigned char lead = (unsigned char)text[n - 1];
        const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
        if (n - 1 + length > MESSAGE_MAX - 1)
            text[n - 1] = 0;
    }
}

static void format_message(char text[MESSAGE_MAX], const char *format, va_list args)
{
    const int n = vsnprintf(text, MESSAGE_MAX, format, args);
    if (n < 0)
        snprintf(text, MESSAGE_MAX, "(a message that could not be formatted)");
    else if (n >= MESSAGE_MAX)
        cut_sequence(text);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
}

void hyv_log_write(hyv_log *log, int level, const char *format, ...)
{
    if (!log || !log->write)
        return;
    char text[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    format_message(text, format, args);
    va_end(args);
    log->write(log->opaque, level, text);
}

int(hyv_log_error)(hyv_log *log, int err, const char *format, ...)
{
    if (!log)
        return err;
    char text[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    format_message(text, format, args);
    va_end(args);
    if (!log->error[0])
        memcpy(log->error, text, sizeof(text));
    if (log->write)
        log->write(log->opaque, HYV_LEVEL_ERROR, text);
    return err;
}

void hyv_log_clear(hyv_log *log)
{
    if (log)
        log->error[0] = 0;
}
