/* The words that a small model knows: reading the list, cutting a prompt into words, looking up.
 *
 * Case folding and character classes are Unicode's, through utf8proc. Must not know what the words
 * mean.
 */
#include "vocabulary.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

struct hyv_vocabulary {
    char *text;   /* the file, case-folded; lines end in NUL */
    char **words; /* sorted, into text */
    size_t count;
    hyv_string about;
};

enum kind { OTHER, LETTER, IDEOGRAPH };

/* CJK ideographs and their radicals and compatibility forms (Unicode blocks). */
static bool is_ideograph(utf8proc_int32_t c)
{
    return (c >= 0x2e80 && c <= 0x2fdf) || (c >= 0x3400 && c <= 0x9fff) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x20000 && c <= 0x3ffff);
}

static enum kind kind_of(utf8proc_int32_t c)
{
    if (is_ideograph(c))
        return IDEOGRAPH;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ND:
        return LETTER;
    default:
        return OTHER;
    }
}

/* Case-folded and composed; freed with free(). NULL if memory is short or it is not UTF-8. */
static char *fold(const char *text)
{
    utf8proc_uint8_t *out = NULL;
    const utf8proc_ssize_t n =
        utf8proc_map((const utf8proc_uint8_t *)text, 0, &out,
                     UTF8PROC_NULLTERM | UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_CASEFOLD);
    return n < 0 ? NULL : (char *)out;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Cuts the text into lines, the words among them into v->words. */
static int list_words(hyv_vocabulary *v)
{
    size_t lines = 1;
    for (const char *p = v->text; (p = strchr(p, '\n')); p++)
        lines++;
    v->words = hyv_malloc(lines, sizeof(*v->words));
    if (!v->words)
        return -ENOMEM;
    for (char *line = v->text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        line[strcspn(line, "\r")] = '\0';
        if (*line && *line != '#')
            v->words[v->count++] = line;
    }
    qsort(v->words, v->count, sizeof(*v->words), compare);
    return v->count ? 0 : -EBADMSG;
}

/* From the text before folding. */
static int list_about(hyv_vocabulary *v, const char *text)
{
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (*line != '#')
            continue;
        const char *words = line + 1 + strspn(line + 1, " #");
        hyv_string_append(&v->about, "%s%.*s", v->about.length ? " " : "",
                          (int)strcspn(words, "\r\n"), words);
    }
    return v->about.failed ? -ENOMEM : 0;
}

int hyv_vocabulary_open(hyv_vocabulary **out, const char *path, hyv_log *log)
{
    char *text = NULL;
    size_t size = 0;
    *out = NULL;
    if (!hyv_path_is_file(path))
        return 0;
    int err = hyv_file_read(&text, &size, path, HYV_VOCABULARY_BYTES_MAX);
    if (err < 0)
        return hyv_log_error(log, err, "%s: cannot be read, or is larger than %d bytes", path,
                             HYV_VOCABULARY_BYTES_MAX);
    hyv_vocabulary *v = hyv_calloc(1, sizeof(*v));
    if (!v)
        err = -ENOMEM;
    else if (hyv_utf8_check(text, size) < size || strlen(text) < size)
        err = -EBADMSG;
    else
        err = (v->text = fold(text)) ? list_words(v) : -ENOMEM;
    if (err >= 0)
        err = list_about(v, text);
    hyv_free_host(text);
    if (err < 0) {
        hyv_vocabulary_close(&v);
        return hyv_log_error(log, err, "%s: %s", path,
                             err == -ENOMEM ? "not enough memory" : "not a list of words in UTF-8");
    }
    *out = v;
    return 0;
}

void hyv_vocabulary_close(hyv_vocabulary **v)
{
    if (!*v)
        return;
    free((*v)->text);
    hyv_free_host((*v)->words);
    hyv_string_free(&(*v)->about);
    hyv_free_host(*v);
    *v = NULL;
}

const char *hyv_vocabulary_about(const hyv_vocabulary *v)
{
    return hyv_string_text(&v->about);
}

/* ---- prompts --------------------------------------------------------------------------------- */

/* Bytes at p that belong together as far as kinds go. */
static size_t run_length(const char *p, enum kind *kind)
{
    size_t n = 0;
    for (;;) {
        utf8proc_int32_t c;
        const utf8proc_ssize_t bytes = utf8proc_iterate((const utf8proc_uint8_t *)p + n, -1, &c);
        if (!p[n] || bytes <= 0)
            return n;
        const enum kind k = kind_of(c);
        if (n == 0)
            *kind = k;
        else if (k != *kind)
            return n;
        n += (size_t)bytes;
    }
}

static bool is_word(const hyv_vocabulary *v, const char *p, size_t n)
{
    size_t low = 0, high = v->count;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        int order = strncmp(p, v->words[mid], n);
        if (order == 0 && v->words[mid][n])
            order = -1;
        if (order == 0)
            return true;
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return false;
}

/* Bytes of the longest word at the start of p[0 .. n), 0 if there is none. */
static size_t longest_word(const hyv_vocabulary *v, const char *p, size_t n)
{
    size_t longest = 0;
    for (size_t i = 0; i < v->count; i++) {
        const size_t length = strlen(v->words[i]);
        if (length > longest && length <= n && !memcmp(p, v->words[i], length))
            longest = length;
    }
    return longest;
}

typedef struct unknown_words {
    hyv_string *list;
    int found, named;
} unknown_words;

static void add_unknown(unknown_words *u, const char *p, size_t n)
{
    hyv_string quoted = {0};
    u->found++;
    hyv_string_append(&quoted, "\"%.*s\"", (int)n, p);
    if (quoted.failed)
        u->list->failed = true;
    else if (u->named < HYV_VOCABULARY_NAMED_MAX &&
             !strstr(hyv_string_text(u->list), quoted.text)) {
        hyv_string_append(u->list, "%s%s", u->named++ ? ", " : "", quoted.text);
    }
    hyv_string_free(&quoted);
}

/* Neighbouring ideographs that begin no word are reported as one. */
static void look_at_ideographs(const hyv_vocabulary *v, const char *p, size_t n, unknown_words *u)
{
    size_t unknown = 0; /* bytes before `at` */
    for (size_t at = 0; at < n;) {
        const size_t known = longest_word(v, p + at, n - at);
        if (known && unknown) {
            add_unknown(u, p + at - unknown, unknown);
            unknown = 0;
        }
        utf8proc_int32_t c;
        const size_t step =
            known ? known : (size_t)utf8proc_iterate((const utf8proc_uint8_t *)p + at, -1, &c);
        unknown += known ? 0 : step;
        at += step;
    }
    if (unknown)
        add_unknown(u, p + n - unknown, unknown);
}

int hyv_vocabulary_unknown(const hyv_vocabulary *v, const char *prompt, hyv_string *list)
{
    unknown_words u = {.list = list};
    char *text = fold(prompt);
    if (!text)
        return -ENOMEM;
    enum kind kind = OTHER;
    for (const char *p = text; *p;) {
        const size_t n = run_length(p, &kind);
        if (n == 0)
            break;
        if (kind == LETTER && !is_word(v, p, n))
            add_unknown(&u, p, n);
        else if (kind == IDEOGRAPH)
            look_at_ideographs(v, p, n, &u);
        p += n;
    }
    free(text);
    return list->failed ? -ENOMEM : u.found;
}
