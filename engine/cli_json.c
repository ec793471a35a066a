/* The JSON document of info and doctor: see cli_inspect.h.
 *
 * One object with the sums, and arrays of components, tensors and findings in the order in which
 * the library tells them. Keys are stable; hyv.1 documents them and tests/cli/test_doctor.sh
 * compares. Members that do not apply are left out.
 */
#include "cli_inspect.h"

#include <stdlib.h>
#include <string.h>

/* Paths need not be UTF-8, JSON must. */
static json_t *text_of(const char *text)
{
    json_t *value = json_string(text);
    char *copy = value ? NULL : strdup(text);
    for (char *p = copy; p && *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    if (copy)
        value = json_string(copy);
    free(copy);
    return value;
}

static void put_text(json_t *object, const char *key, const char *text)
{
    if (*text)
        json_object_set_new(object, key, text_of(text));
}

static void put_int(json_t *object, const char *key, long long value)
{
    json_object_set_new(object, key, json_integer(value));
}

bool hyv_cli_document_new(hyv_cli_document *d, const hyv_cli_request *request)
{
    *d = (hyv_cli_document){json_object(), json_array(), json_array(), json_array(), 0, 0};
    if (!d->root || !d->components || !d->tensors || !d->findings) {
        hyv_cli_document_free(d);
        return false;
    }
    put_text(d->root, "command", request->command);
    put_text(d->root, "model", hyv_options_get(request->options, "model"));
    return true;
}

void hyv_cli_document_component(hyv_cli_document *d, const hyv_component_info *info)
{
    json_t *object = json_object();
    put_text(object, "component", info->component);
    put_text(object, "file", info->file);
    put_text(object, "config", info->config);
    put_text(object, "family", info->family);
    put_text(object, "variant", info->variant);
    put_text(object, "naming", info->naming);
    if (info->tensors)
        json_object_set_new(object, "types", json_object());
    put_int(object, "tensors", info->tensors);
    put_int(object, "values", info->values);
    put_int(object, "bytes", (long long)info->bytes);
    put_text(object, "summary", info->summary);
    json_array_append_new(d->components, object);
    /* The transformer's, which is the model's. */
    if (!strcmp(info->component, "transformer") || !*info->component) {
        put_text(d->root, "family", info->family);
        put_text(d->root, "variant", info->variant);
    }
}

/* Tensors come behind their component. */
static void count_type(const hyv_cli_document *d, const char *type)
{
    const size_t n = json_array_size(d->components);
    json_t *last = json_array_get(d->components, n ? n - 1 : 0);
    json_t *types = json_object_get(last, "types");
    const json_t *count = json_object_get(types, type);
    if (*type && types)
        json_object_set_new(types, type, json_integer(json_integer_value(count) + 1));
}

void hyv_cli_document_tensor(hyv_cli_document *d, const hyv_tensor_info *info)
{
    static const char *const states[] = {"used", "unused", "extra", "missing", "misshapen"};
    json_t *object = json_object(), *shape = json_array();
    put_text(object, "component", info->component);
    put_text(object, "file", info->file);
    put_text(object, "name", info->name);
    put_text(object, "type", info->type);
    for (int i = 0; i < info->rank && i < 8; i++)
        json_array_append_new(shape, json_integer(info->shape[i]));
    if (info->state == HYV_TENSOR_MISSING)
        json_decref(shape);
    else
        json_object_set_new(object, "shape", shape);
    put_text(object, "state", states[info->state]);
    if (info->examined) {
        put_int(object, "nan", info->nan);
        put_int(object, "inf", info->inf);
        json_object_set_new(object, "min", json_real(info->min));
        json_object_set_new(object, "max", json_real(info->max));
    }
    json_array_append_new(d->tensors, object);
    count_type(d, info->type);
}

void hyv_cli_document_finding(hyv_cli_document *d, const hyv_finding *finding)
{
    const bool error = finding->severity == HYV_SEVERITY_ERROR;
    json_t *object = json_object();
    put_text(object, "severity", error ? "error" : "warning");
    put_text(object, "kind", finding->kind);
    put_text(object, "component", finding->component);
    put_text(object, "file", finding->file);
    put_text(object, "tensor", finding->tensor);
    put_text(object, "found", finding->found);
    put_text(object, "valid", finding->valid);
    put_text(object, "advice", finding->advice);
    json_array_append_new(d->findings, object);
    d->errors += error;
    d->warnings += !error;
}

bool hyv_cli_document_print(hyv_cli_document *d)
{
    json_object_set_new(d->root, "healthy", json_boolean(d->errors == 0));
    put_int(d->root, "errors", d->errors);
    put_int(d->root, "warnings", d->warnings);
    json_object_set(d->root, "components", d->components);
    json_object_set(d->root, "tensors", d->tensors);
    json_object_set(d->root, "findings", d->findings);
    const bool good = json_dumpf(d->root, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) == 0;
    return good && putchar('\n') != EOF;
}

void hyv_cli_document_free(hyv_cli_document *d)
{
    json_decref(d->root);
    json_decref(d->components);
    json_decref(d->tensors);
    json_decref(d->findings);
    *d = (hyv_cli_document){0};
}
