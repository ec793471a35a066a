/* Checked sizes, memory, strings, files, time and number parsing: see util.h.
 *
 * POSIX (open, mmap, stat, clock_gettime, newlocale) is all that is used beyond C11. Every
 * allocation of the engine passes through the few functions at the top, which a test program can
 * make fail by wrapping malloc, calloc and realloc when it links. Keeps no state.
 */
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

bool hyv_mul_size(size_t a, size_t b, size_t *out)
{
    if (b && a > SIZE_MAX / b)
        return false;
    *out = a * b;
    return true;
}

bool hyv_add_size(size_t a, size_t b, size_t *out)
{
    if (a > SIZE_MAX - b)
        return false;
    *out = a + b;
    return true;
}

void *hyv_malloc(size_t count, size_t size)
{
    size_t total;
    if (!hyv_mul_size(count, size, &total))
        return NULL;
    return malloc(total ? total : 1);
}

void *hyv_calloc(size_t count, size_t size)
{
    size_t total;
    if (!hyv_mul_size(count, size, &total))
        return NULL;
    return total ? calloc(count, size) : calloc(1, 1);
}

void *hyv_realloc(void *p, size_t count, size_t size)
{
    size_t total;
    if (!hyv_mul_size(count, size, &total))
        return NULL;
    return realloc(p, total ? total : 1);
}

void hyv_free_host(void *p)
{
    free(p);
}

char *hyv_strndup(const char *s, size_t n)
{
    const char *end = memchr(s, 0, n);
    const size_t length = end ? (size_t)(end - s) : n;
    size_t size;
    char *copy = hyv_add_size(length, 1, &size) ? hyv_malloc(size, 1) : NULL;
    if (!copy)
        return NULL;
    memcpy(copy, s, length);
    copy[length] = 0;
    return copy;
}

char *hyv_strdup(const char *s)
{
    return hyv_strndup(s, strlen(s));
}

/* Room for n more bytes and the NUL. On failure the string becomes empty for good. */
static bool string_reserve(hyv_string *s, size_t n)
{
    size_t need;
    if (s->failed)
        return false;
    if (hyv_add_size(s->length, n, &need) && hyv_add_size(need, 1, &need)) {
        if (need <= s->capacity)
            return true;
        const size_t capacity = need < SIZE_MAX / 2 ? need + need / 2 : need;
        char *text = hyv_realloc(s->text, capacity, 1);
        if (text) {
            s->text = text;
            s->capacity = capacity;
            return true;
        }
    }
    hyv_string_free(s);
    s->failed = true;
    return false;
}

void hyv_string_append_bytes(hyv_string *s, const char *bytes, size_t n)
{
    if (!string_reserve(s, n))
        return;
    if (n)
        memcpy(s->text + s->length, bytes, n);
    s->length += n;
    s->text[s->length] = 0;
}

void hyv_string_append(hyv_string *s, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n >= 0 && string_reserve(s, (size_t)n)) {
        vsnprintf(s->text + s->length, (size_t)n + 1, format, again);
        s->length += (size_t)n;
    }
    va_end(again);
}

const char *hyv_string_text(const hyv_string *s)
{
    return s->text ? s->text : "";
}

void hyv_string_free(hyv_string *s)
{
    hyv_free_host(s->text);
    *s = (hyv_string){0};
}

/* Length of the valid UTF-8 sequence at p (Unicode standard, table 3-7), 0 if there is none. */
static size_t utf8_sequence(const uint8_t *p, size_t n)
{
    const uint8_t c = p[0];
    if (c < 0x80)
        return 1;
    const size_t length = c >= 0xc2 && c <= 0xdf ? 2 : c >= 0xe0 && c <= 0xef ? 3 : 4;
    if (c < 0xc2 || c > 0xf4 || n < length)
        return 0;
    const uint8_t low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    const uint8_t high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

size_t hyv_utf8_check(const char *text, size_t size)
{
    const uint8_t *p = (const uint8_t *)text;
    size_t at = 0;
    while (at < size) {
        const size_t n = utf8_sequence(p + at, size - at);
        if (!n)
            break;
        at += n;
    }
    return at;
}

int hyv_map_open(hyv_map *map, const char *path)
{
    *map = (hyv_map){(const uint8_t *)"", 0};
    /* Without O_NONBLOCK a pipe that nobody writes would block here. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    struct stat st;
    int err = 0;
    if (fstat(fd, &st) < 0)
        err = -errno;
    else if (S_ISDIR(st.st_mode))
        err = -EISDIR;
    else if (!S_ISREG(st.st_mode))
        err = -EINVAL;
    else if (st.st_size < 0 || (uintmax_t)st.st_size > SIZE_MAX)
        err = -EFBIG;
    if (!err && st.st_size) {
        void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED)
            err = -errno;
        else
            *map = (hyv_map){data, (size_t)st.st_size};
    }
    close(fd);
    return err;
}

void hyv_map_close(hyv_map *map)
{
    if (map->size)
        munmap((void *)(uintptr_t)map->data, map->size);
    *map = (hyv_map){(const uint8_t *)"", 0};
}

/* Reads to the end of fd; at most max bytes. A signal is reported (-EINTR), not waited out: a pipe
 * may never end. */
static int read_all(int fd, hyv_string *s, size_t max)
{
    for (;;) {
        char chunk[16384];
        const ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        if ((size_t)n > max - s->length)
            return -EFBIG;
        hyv_string_append_bytes(s, chunk, (size_t)n);
        if (s->failed)
            return -ENOMEM;
    }
    hyv_string_append_bytes(s, "", 0); /* an empty file gets its NUL, too */
    return s->failed ? -ENOMEM : 0;
}

int hyv_file_read(char **text, size_t *size, const char *path, size_t max)
{
    *text = NULL;
    *size = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct stat st;
    hyv_string s = {0};
    int err = fstat(fd, &st) < 0 ? -errno : S_ISDIR(st.st_mode) ? -EISDIR : 0;
    if (!err && S_ISREG(st.st_mode)) {
        if (st.st_size > 0 && (uintmax_t)st.st_size > max)
            err = -EFBIG;
        else if (!string_reserve(&s, (size_t)st.st_size))
            err = -ENOMEM;
    }
    if (!err)
        err = read_all(fd, &s, max);
    close(fd);
    if (err) {
        hyv_string_free(&s);
        return err;
    }
    *text = s.text;
    *size = s.length;
    return 0;
}

char *hyv_path_join(const char *folder, const char *name)
{
    const size_t n = strlen(folder);
    hyv_string s = {0};
    hyv_string_append(&s, "%s%s%s", folder, n && folder[n - 1] != '/' ? "/" : "", name);
    return s.text;
}

bool hyv_path_is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool hyv_path_is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

double hyv_seconds(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t) != 0)
        return 0;
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

bool hyv_parse_int(const char *text, int64_t *value)
{
    const bool negative = *text == '-';
    const char *p = text + (*text == '-' || *text == '+');
    const uint64_t limit = (uint64_t)INT64_MAX + negative;
    uint64_t sum = 0;
    if (!*p)
        return false;
    for (; *p; p++) {
        if (*p < '0' || *p > '9')
            return false;
        const uint64_t digit = (uint64_t)(*p - '0');
        if (sum > (limit - digit) / 10)
            return false;
        sum = sum * 10 + digit;
    }
    if (negative)
        *value = sum ? -(int64_t)(sum - 1) - 1 : 0;
    else
        *value = (int64_t)sum;
    return true;
}

bool hyv_parse_double(const char *text, double *value)
{
    /* strtod also takes blanks, hexadecimal, infinities and NaN: none of them is wanted. */
    if (!*text || text[strspn(text, "0123456789+-.eE")])
        return false;
    const locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c)
        return false;
    char *end;
    const double v = strtod_l(text, &end, c);
    freelocale(c);
    if (end == text || *end || !isfinite(v))
        return false;
    *value = v;
    return true;
}
