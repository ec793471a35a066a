/* Messages of one context: formatted here, given to a callback, the last error kept.
 *
 * No global state: whoever logs has been handed a hyv_log. Levels are those of the public header,
 * repeated as plain ints so that this layer needs nothing above it.
 */
#ifndef HYV_BASE_LOG_H
#define HYV_BASE_LOG_H

enum { HYV_LEVEL_ERROR, HYV_LEVEL_WARNING, HYV_LEVEL_INFO, HYV_LEVEL_VERBOSE, HYV_LEVEL_DEBUG };

typedef struct hyv_log {
    void *opaque;
    void (*write)(void *opaque, int level, const char *message); /* may be NULL */
    char error[1024]; /* the first error since hyv_log_clear; "" for none */
} hyv_log;

/* One line without a newline; cut at 1023 bytes (at a UTF-8 boundary). Accepts log NULL. */
void hyv_log_write(hyv_log *log, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Logs at ERROR, keeps the text, and returns `err`, so that a failure is one line: return
 * hyv_log_error(log, -EINVAL, "..."). */
int hyv_log_error(hyv_log *log, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#ifdef __clang_analyzer__ /* it does not look into other files: that this is what it returns */
#define hyv_log_error(log, err, ...) (hyv_log_error(log, err, __VA_ARGS__), (err))
#endif
void hyv_log_clear(hyv_log *log);

#endif
