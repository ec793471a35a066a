/* Strict parsing and typed look-ups of JSON documents, over jansson: see json.h.
 *
 * RFC 8259, and stricter: duplicate keys, NUL characters and integers beyond 63 bits are errors.
 * Depth is counted before jansson, which recurses, sees the text. Knows no models.
 */
#include "json.h"

#include <errno.h>
#include <string.h>

#include "util.h"

/* Deep enough for every published configuration and tokenizer; shallow enough for any stack. */
enum { FILE_DEPTH_MAX = 32 };

/* Deepest nesting of brackets outside strings; stops counting at limit + 1. */
static int nesting(const char *text, size_t size, int limit)
{
    int depth = 0, deepest = 0;
    bool string = false;
    for (size_t i = 0; i < size && deepest <= limit; i++) {
        const char c = text[i];
        if (string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                string = false;
        } else if (c == '"') {
            string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > deepest)
                deepest = depth;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return deepest;
}

int hyv_json_parse(hyv_json *doc, const char *text, size_t size, int depth, const char *name,
                   hyv_log *log)
{
    *doc = (hyv_json){NULL, name, log};
    if (nesting(text, size, depth) > depth)
        return hyv_log_error(log, -EBADMSG, "%s: JSON is nested more than %d levels deep", name,
                             depth);
    json_error_t error;
    doc->root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (doc->root)
        return 0;
    /* jansson forgets to say so in most cases, but then it says nothing else, either. */
    if (json_error_code(&error) == json_error_out_of_memory || !error.text[0])
        return hyv_log_error(log, -ENOMEM, "%s: not enough memory to parse it", name);
    return hyv_log_error(log, -EBADMSG, "%s: not valid JSON at line %d, column %d: %s", name,
                         error.line, error.column, error.text);
}

int hyv_json_load(hyv_json *doc, const char *path, size_t max_size, hyv_log *log)
{
    *doc = (hyv_json){NULL, path, log};
    char *text;
    size_t size;
    int err = hyv_file_read(&text, &size, path, max_size);
    if (err == -EFBIG)
        return hyv_log_error(log, -EBADMSG, "%s: larger than the %zu bytes allowed here", path,
                             max_size);
    if (err)
        return hyv_log_error(log, err, "%s: cannot be read: %s", path, strerror(-err));
    if (size == 0)
        err = hyv_log_error(log, -EBADMSG, "%s: the file is empty", path);
    else if (strncmp(text, "version https://git-lfs", 23) == 0)
        err = hyv_log_error(log, -EBADMSG,
                            "%s: this is a Git LFS pointer, not the file itself: fetch it with "
                            "'git lfs pull'",
                            path);
    else if (*text == '<')
        err = hyv_log_error(
            log, -EBADMSG, "%s: this is an HTML or XML page, not JSON: fetch the file again", path);
    else
        err = hyv_json_parse(doc, text, size, FILE_DEPTH_MAX, path, log);
    hyv_free_host(text);
    return err;
}

void hyv_json_close(hyv_json *doc)
{
    json_decref(doc->root);
    doc->root = NULL;
}

/* Appends the path from `from` to `to`, such as ".model.merges[3]"; false if it is not below. */
static bool find_path(hyv_string *path, json_t *from, const json_t *to)
{
    if (from == to)
        return true;
    const size_t length = path->length;
    const char *key;
    json_t *value;
    size_t i;
    json_object_foreach(from, key, value)
    {
        hyv_string_append(path, ".%s", key);
        if (path->failed || find_path(path, value, to))
            return true;
        path->length = length;
        path->text[length] = 0;
    }
    json_array_foreach(from, i, value)
    {
        hyv_string_append(path, "[%zu]", i);
        if (path->failed || find_path(path, value, to))
            return true;
        path->length = length;
        path->text[length] = 0;
    }
    return false;
}

/* Says what is wrong with the member `key` of `at`. */
static int complain(const hyv_json *doc, const json_t *at, const char *key, const char *wanted)
{
    hyv_string path = {0};
    if (at)
        find_path(&path, doc->root, at);
    hyv_string_append(&path, ".%s", key);
    char *found = json_dumps(json_object_get(at ? at : doc->root, key),
                             JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
    const char *name = path.failed ? key : hyv_string_text(&path) + 1;
    const int err = hyv_log_error(doc->log, -EBADMSG, "%s: '%s' is %.60s, should be %s", doc->name,
                                  name, found ? found : "wrong", wanted);
    if (found) {
        /* jansson gives text from its own allocator. */
        json_malloc_t allocate;
        json_free_t release;
        json_get_alloc_funcs(&allocate, &release);
        release(found);
    }
    hyv_string_free(&path);
    return err;
}

/* The member, NULL where it is missing or null. */
static const json_t *member(const hyv_json *doc, const json_t *at, const char *key)
{
    const json_t *value = json_object_get(at ? at : doc->root, key);
    return json_is_null(value) ? NULL : value;
}

static bool in_range(const json_t *value, int64_t min, int64_t max)
{
    return json_is_integer(value) && json_integer_value(value) >= min &&
           json_integer_value(value) <= max;
}

int hyv_json_int(const hyv_json *doc, const json_t *at, const char *key, int64_t min, int64_t max,
                 int64_t *value)
{
    const json_t *found = member(doc, at, key);
    if (!found)
        return 0;
    if (!in_range(found, min, max)) {
        char wanted[96];
        snprintf(wanted, sizeof(wanted), "an integer from %lld to %lld", (long long)min,
                 (long long)max);
        return complain(doc, at, key, wanted);
    }
    *value = json_integer_value(found);
    return 1;
}

int hyv_json_number(const hyv_json *doc, const json_t *at, const char *key, double min, double max,
                    double *value)
{
    const json_t *found = member(doc, at, key);
    if (!found)
        return 0;
    const double v = json_number_value(found);
    if (!json_is_number(found) || !(v >= min && v <= max)) {
        char wanted[96];
        snprintf(wanted, sizeof(wanted), "a number from %g to %g", min, max);
        return complain(doc, at, key, wanted);
    }
    *value = v;
    return 1;
}

int hyv_json_bool(const hyv_json *doc, const json_t *at, const char *key, bool *value)
{
    const json_t *found = member(doc, at, key);
    if (!found)
        return 0;
    if (!json_is_boolean(found))
        return complain(doc, at, key, "true or false");
    *value = json_is_true(found);
    return 1;
}

int hyv_json_string(const hyv_json *doc, const json_t *at, const char *key, const char **value)
{
    const json_t *found = member(doc, at, key);
    if (!found)
        return 0;
    if (!json_is_string(found))
        return complain(doc, at, key, "a string");
    *value = json_string_value(found);
    return 1;
}

int hyv_json_ints(const hyv_json *doc, const json_t *at, const char *key, int64_t min, int64_t max,
                  int64_t *values, int *count)
{
    const json_t *found = member(doc, at, key);
    if (!found)
        return 0;
    char wanted[128];
    snprintf(wanted, sizeof(wanted), "an array of at most %d integers from %lld to %lld", *count,
             (long long)min, (long long)max);
    const size_t n = json_array_size(found);
    if (!json_is_array(found) || *count < 0 || n > (size_t)*count)
        return complain(doc, at, key, wanted);
    for (size_t i = 0; i < n; i++)
        if (!in_range(json_array_get(found, i), min, max))
            return complain(doc, at, key, wanted);
    for (size_t i = 0; i < n; i++)
        values[i] = json_integer_value(json_array_get(found, i));
    *count = (int)n;
    return 1;
}
