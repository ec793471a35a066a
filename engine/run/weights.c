/* Weights: from a checkpoint's tensors to what the kernels read.
 *
 * Plain matrices stay where the file lies in memory, in the type they are stored in; vectors become
 * f32; what needs another layout (see bind.h) is repacked: when its block is entered, or at once if
 * it is in none. Scaled fp8 as ComfyUI and Tencent publish it is a
 * matrix with a scale beside it. Knows files and types, not what a tensor is for.
 */
#include "weights.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "../../kernels/quant.h"
#include "../base/json.h"
#include "../base/util.h"
#include "layout.h"

enum { COMPLAINTS_MAX = 4, ROOMS_MAX = 8 };

/* A matrix that is repacked each time its block is entered. */
typedef struct late {
    int block;
    const hyv_tensor *tensor;
    hyv_matrix_spec spec;
    int64_t begin; /* row of the tensor */
    void *data;    /* one of the rooms */
} late;

/* Backend memory for a repacked matrix of the block that is entered. */
typedef struct room {
    void *data;
    size_t bytes;
} room;

struct hyv_weights {
    hyv_backend *be;
    hyv_checkpoint *checkpoint;
    const char *component;
    hyv_names names;
    hyv_log *log;
    void **owned;
    int64_t owned_count, owned_capacity;
    size_t owned_bytes, mapped_bytes;
    hyv_residency *residency;
    int block; /* that is being bound; 0: none */
    late *late;
    int64_t late_count, late_capacity;
    room rooms[ROOMS_MAX];
    int rooms_taken; /* by the block */
    int err;
    int64_t wrong;        /* missing and misshapen tensors */
    hyv_string complaint; /* the first few of them, for the message */
    void *report_opaque;
    hyv_weights_fault *report;
};

static void set_error(hyv_weights *w, int err)
{
    if (!w->err)
        w->err = err;
}

static void complain(hyv_weights *w, const char *name, bool misshapen, const char *note)
{
    if (w->wrong++ < COMPLAINTS_MAX)
        hyv_string_append(&w->complaint, "%s%s %s", w->wrong > 1 ? "; " : "", name, note);
    if (w->report)
        w->report(w->report_opaque, name, misshapen, note);
}

static void append_shape(hyv_string *s, const int64_t *shape, int rank)
{
    hyv_string_append(s, "[");
    for (int i = 0; i < rank; i++)
        hyv_string_append(s, "%s%lld", i ? "," : "", (long long)shape[i]);
    hyv_string_append(s, "]");
}

static void complain_shape(hyv_weights *w, const hyv_tensor *t, const int64_t *wanted, int rank)
{
    hyv_string note = {0};
    hyv_string_append(&note, "has shape ");
    append_shape(&note, t->shape, t->rank);
    hyv_string_append(&note, ", expected ");
    append_shape(&note, wanted, rank);
    complain(w, t->name, true, hyv_string_text(&note));
    hyv_string_free(&note);
}

/* The tensor, if it is there and of a type that operators read. */
static hyv_tensor *find(hyv_weights *w, const hyv_place *place)
{
    const char *name = place->name;
    hyv_tensor *t = hyv_checkpoint_find(w->checkpoint, name);
    if (!t) {
        complain(w, name, false, "is missing");
        return NULL;
    }
    t->used++;
    if (!hyv_type_is_weight(t->type)) {
        if (!w->err)
            w->err =
                hyv_log_error(w->log, -ENOTSUP,
                              "%s: tensor %s has type %s; weights are read in F32, F16, BF16, "
                              "F8_E4M3, F8_E5M2 and GGUF's block types",
                              hyv_checkpoint_path(w->checkpoint), name, hyv_type_name(t->type));
        return NULL;
    }
    return t;
}

/* Backend memory that lives as long as the set. */
static void *own(hyv_weights *w, size_t bytes)
{
    if (w->owned_count == w->owned_capacity) {
        const int64_t capacity = w->owned_capacity ? 2 * w->owned_capacity : 64;
        void **grown = hyv_realloc(w->owned, (size_t)capacity, sizeof(*grown));
        if (!grown) {
            set_error(w, -ENOMEM);
            return NULL;
        }
        w->owned = grown;
        w->owned_capacity = capacity;
    }
    void *p = hyv_alloc(w->be, bytes, w->component);
    if (!p) {
        set_error(w, -ENOMEM);
        return NULL;
    }
    w->owned[w->owned_count++] = p;
    w->owned_bytes += bytes;
    return p;
}

/* Elements [first, first + n) of t as f32 on the backend; row i of the result is element order(i).
 */
static const float *load_vector(hyv_weights *w, const hyv_tensor *t, int64_t first, int64_t n,
                                hyv_layout layout, int64_t detail)
{
    float *device = own(w, (size_t)n * sizeof(float));
    if (!device || w->be->ops->dry)
        return device;
    float *host = w->be->ops->host_memory ? device : hyv_malloc((size_t)n, sizeof(float));
    if (!host) {
        set_error(w, -ENOMEM);
        return NULL;
    }
    bool finite = true;
    for (int64_t i = 0; i < n; i++) {
        int64_t from = i;
        if (layout == HYV_LAYOUT_DEPTH_LAST)
            from = i % (n / detail) * detail + i / (n / detail);
        else if (layout == HYV_LAYOUT_HALVES)
            from = i / detail * detail + i % detail / 2 + i % 2 * (detail / 2);
        hyv_decode(&host[i], t->data, t->type, first + from, 1);
        finite &= isfinite(host[i]) != 0;
    }
    if (!finite && !w->err)
        w->err = hyv_log_error(w->log, -EBADMSG, "%s: tensor %s holds NaN or Inf",
                               hyv_checkpoint_path(w->checkpoint), t->name);
    if (host != device) {
        hyv_upload(w->be, (hyv_mat){device, 1, n, n, HYV_F32}, host);
        hyv_free_host(host);
    }
    return device;
}

static void bind_vector(void *opaque, const float **out, const char *name, int64_t n)
{
    hyv_weights *w = opaque;
    hyv_place place;
    hyv_names_place_full(&w->names, name, &place);
    const hyv_tensor *t = find(w, &place);
    *out = NULL;
    if (!t)
        return;
    if (t->count != n) {
        complain_shape(w, t, &n, 1);
        return;
    }
    *out = load_vector(w, t, 0, n, HYV_LAYOUT_PLAIN, 0);
}

static void bind_table(void *opaque, hyv_mat *out, const char *name, int64_t rows, int64_t cols)
{
    hyv_weights *w = opaque;
    hyv_place place;
    hyv_names_place_full(&w->names, name, &place);
    const hyv_tensor *t = find(w, &place);
    *out = HYV_NO_MAT;
    if (!t)
        return;
    if (t->rank != 2 || t->shape[0] != rows || t->shape[1] != cols) {
        complain_shape(w, t, (const int64_t[]){rows, cols}, 2);
        return;
    }
    *out = (hyv_mat){(void *)(uintptr_t)t->data, rows, cols, cols, t->type};
}

/* The row of the file's matrix at which ours begins; *rows: how many the file's must have. What
 * follows the head is known to the tail alone, so that any number there is right for the head. */
static int64_t first_row(const hyv_place *p, const hyv_matrix_spec *s, int64_t found, int64_t *rows)
{
    const int64_t ours = s->rows * (s->parts ? s->parts : 1), first = s->part * s->rows;
    const int64_t least = (p->index + 1) * ours;
    *rows = ours;
    switch (p->slice) {
    case HYV_SLICE_WHOLE:
        break;
    case HYV_SLICE_THIRD:
        *rows = 3 * ours;
        return p->index * ours + first;
    case HYV_SLICE_HEAD:
        *rows = found > least ? found : least;
        return p->index * ours + first;
    case HYV_SLICE_TAIL:
        *rows = p->index * s->cols + ours;
        return p->index * s->cols + first;
    case HYV_SLICE_SWAPPED:
        return (first + ours / 2) % ours;
    }
    return first;
}

/* Is t, of which `rows` rows are wanted, a matrix of this spec? A convolution may be flattened. */
static bool check_matrix(hyv_weights *w, const hyv_tensor *t, const hyv_matrix_spec *s,
                         int64_t rows)
{
    const bool taps = s->layout == HYV_LAYOUT_TAPS && !(t->rank == 2 && t->shape[1] == s->cols);
    const int64_t wanted[3] = {rows, taps ? s->cols / s->detail : s->cols, s->detail};
    bool ok = t->rank >= 2 && t->shape[0] == rows && t->shape[1] == wanted[1];
    int64_t rest = 1;
    for (int i = 2; i < t->rank; i++)
        rest *= t->shape[i];
    ok = ok && rest == (taps ? s->detail : 1);
    if (!ok)
        complain_shape(w, t, wanted, taps ? 3 : 2);
    return ok;
}

/* A copy of the matrix in the kernels' layout, in backend memory. */
static void *repack(hyv_weights *w, const hyv_tensor *t, const hyv_matrix_spec *s, int64_t begin)
{
    const hyv_type type = hyv_layout_type(t, s);
    const size_t bytes = (size_t)s->rows * hyv_type_size(type, s->cols);
    uint8_t *device = own(w, bytes);
    if (!device || w->be->ops->dry)
        return device;
    const bool direct = w->be->ops->host_memory;
    uint8_t *host = direct ? device : hyv_malloc(1, bytes);
    float *values = type == t->type ? NULL : hyv_malloc((size_t)s->cols, sizeof(*values));
    if (!host || (type != t->type && !values)) {
        set_error(w, -ENOMEM);
        device = NULL;
    } else {
        hyv_layout_copy(host, t, s, begin, values);
        if (!direct)
            w->be->ops->fetch(w->be, device, host, bytes);
    }
    hyv_free_host(values);
    if (!direct)
        hyv_free_host(host);
    return device;
}

/* Part of the file that is used, in place or when its block is entered. */
static void use_mapped(hyv_weights *w, const void *data, size_t bytes)
{
    w->mapped_bytes += bytes;
    hyv_residency_add(w->residency, data, bytes);
}

/* The room for the next copy of the block that is being bound, which other blocks use as well. */
static void *shared_room(hyv_weights *w, size_t bytes)
{
    room *r = &w->rooms[w->rooms_taken++];
    if (r->bytes < bytes)
        *r = (room){own(w, bytes), bytes};
    return r->data;
}

/* A copy that is made when its block is entered: a start does not wait for those of all blocks, and
 * only one block's are there at a time. */
static void *repack_late(hyv_weights *w, const hyv_tensor *t, const hyv_matrix_spec *s,
                         int64_t begin)
{
    const size_t bytes = hyv_type_size(t->type, s->rows * s->cols);
    if (w->late_count == w->late_capacity) {
        const int64_t capacity = w->late_capacity ? 2 * w->late_capacity : 64;
        late *grown = hyv_realloc(w->late, (size_t)capacity, sizeof(*grown));
        if (!grown) {
            set_error(w, -ENOMEM);
            return NULL;
        }
        w->late = grown;
        w->late_capacity = capacity;
    }
    use_mapped(w, (const uint8_t *)t->data + hyv_type_step(t->type, begin * s->cols), bytes);
    void *data = shared_room(w, bytes);
    w->late[w->late_count++] = (late){w->block, t, *s, begin, data};
    return data;
}

/* The block's weights are wanted and can be read. */
static void arrive(void *opaque, int index)
{
    const hyv_weights *w = opaque;
    for (int64_t i = 0; i < w->late_count; i++) {
        const late *l = &w->late[i];
        if (l->block == index)
            hyv_layout_copy(l->data, l->tensor, &l->spec, l->begin, NULL);
    }
}

static hyv_tensor *find_beside(hyv_weights *w, const char *module, const char *suffix,
                               hyv_place *place)
{
    hyv_names_place(&w->names, module, suffix, place);
    return hyv_checkpoint_find(w->checkpoint, place->name);
}

/* ComfyUI's newer files tell how a layer is quantised, in JSON in a tensor beside it. Only fp8 with
 * one scale is known here; smoothed inputs and scales of scales belong to other kinds. */
static void check_quantisation(hyv_weights *w, const char *module)
{
    enum { JSON_BYTES_MAX = 65536, JSON_DEPTH_MAX = 8 };
    static const char *const foreign[] = {"weight_scale_2", "pre_quant_scale"};
    const char *format = "float8_e4m3fn";
    hyv_place place;
    hyv_json doc = {0};
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
        if (find_beside(w, module, foreign[i], &place) && !w->err)
            w->err = hyv_log_error(w->log, -ENOTSUP,
                                   "%s: %s belongs to a kind of quantisation that is not read here",
                                   hyv_checkpoint_path(w->checkpoint), place.name);
    hyv_tensor *t = find_beside(w, module, "comfy_quant", &place);
    if (!t || w->err)
        return;
    t->used++;
    if (t->type != HYV_U8 || t->size_bytes > JSON_BYTES_MAX)
        w->err = hyv_log_error(w->log, -EBADMSG, "%s: %s is no short text",
                               hyv_checkpoint_path(w->checkpoint), place.name);
    else
        w->err = hyv_json_parse(&doc, t->data, t->size_bytes, JSON_DEPTH_MAX, place.name, w->log);
    if (!w->err && hyv_json_string(&doc, NULL, "format", &format) < 0)
        w->err = -EBADMSG;
    if (!w->err && strcmp(format, "float8_e4m3fn") != 0 && strcmp(format, "float8_e5m2") != 0)
        w->err =
            hyv_log_error(w->log, -ENOTSUP, "%s: %s is quantised as '%s', which is not read here",
                          hyv_checkpoint_path(w->checkpoint), module, format);
    hyv_json_close(&doc);
}

/* fp8 matrices may have a scale: `fp8_scale` (Tencent's, who round to bf16), `scale_weight`
 * (ComfyUI's older files), `weight_scale` (newer), one for all rows or one for each. */
static void bind_scale(hyv_weights *w, hyv_weight *out, const char *module,
                       const hyv_matrix_spec *s)
{
    static const char *const suffixes[] = {"fp8_scale", "scale_weight", "weight_scale"};
    hyv_place place;
    hyv_tensor *t = NULL;
    if (out->w.type != HYV_F8_E4M3 && out->w.type != HYV_F8_E5M2)
        return;
    for (size_t i = 0; !t && i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        t = find_beside(w, module, suffixes[i], &place);
        out->rounded = t && i == 0;
    }
    if (!t)
        return;
    t->used++;
    int64_t rows;
    const int64_t first = first_row(&place, s, t->count, &rows);
    if ((t->count != 1 && t->count != rows) || !hyv_type_is_float(t->type)) {
        complain_shape(w, t, &rows, 1);
        return;
    }
    out->scales = t->count == 1 ? 1 : s->rows;
    out->scale = load_vector(w, t, t->count == 1 ? 0 : first, out->scales, HYV_LAYOUT_PLAIN, 0);
}

static void bind_bias(hyv_weights *w, hyv_weight *out, const char *module, const hyv_matrix_spec *s)
{
    hyv_place place;
    int64_t rows;
    hyv_names_place(&w->names, module, "bias", &place);
    const hyv_tensor *t = find(w, &place);
    if (!t)
        return;
    const int64_t first = first_row(&place, s, t->count, &rows);
    if (t->count != rows) {
        complain_shape(w, t, &rows, 1);
        return;
    }
    out->bias = load_vector(w, t, first, s->rows, hyv_layout_needed(t, s), s->detail);
}

/* The matrix itself: where it lies, or a copy if the kernels need another layout. */
static void bind_data(hyv_weights *w, hyv_weight *out, const hyv_tensor *t,
                      const hyv_matrix_spec *s, int64_t begin)
{
    const hyv_type type = hyv_layout_type(t, s);
    const size_t bytes = hyv_type_size(type, s->rows * s->cols);
    const bool in_place = w->be->ops->dry || w->be->ops->host_memory;
    void *data;
    if (type != t->type) {
        data = repack(w, t, s, begin);
    } else if (s->layout != HYV_LAYOUT_PLAIN) {
        const bool waits = in_place && w->block > 0 && w->rooms_taken < ROOMS_MAX;
        data = waits ? repack_late(w, t, s, begin) : repack(w, t, s, begin);
    } else {
        const uint8_t *src = (const uint8_t *)t->data + hyv_type_step(type, begin * s->cols);
        data = (void *)(uintptr_t)src;
        if (in_place) {
            use_mapped(w, src, bytes);
        } else {
            data = own(w, bytes);
            if (data)
                w->be->ops->fetch(w->be, data, src, bytes);
        }
    }
    out->w = (hyv_mat){data, s->rows, s->cols, s->cols, type};
}

static void bind_matrix(void *opaque, hyv_weight *out, const char *module, const hyv_matrix_spec *s)
{
    hyv_weights *w = opaque;
    hyv_place place;
    int64_t rows = 0;
    hyv_names_place(&w->names, module, "weight", &place);
    const hyv_tensor *t = find(w, &place);
    *out = (hyv_weight){0};
    const int64_t begin = t ? first_row(&place, s, t->rank ? t->shape[0] : 0, &rows) : 0;
    if (t && check_matrix(w, t, s, rows)) {
        hyv_matrix_spec spec = *s;
        spec.layout = hyv_layout_needed(t, s);
        bind_data(w, out, t, &spec, begin);
        check_quantisation(w, module);
        bind_scale(w, out, module, s);
    }
    if (s->bias)
        bind_bias(w, out, module, s);
}

static void bind_block(void *opaque, hyv_block *out, bool once)
{
    hyv_weights *w = opaque;
    w->block = hyv_residency_block(w->residency, out, once);
    w->rooms_taken = 0;
}

int hyv_weights_new(hyv_weights **out, hyv_backend *be, hyv_checkpoint *checkpoint,
                    const hyv_names *names, const char *component, hyv_log *log)
{
    hyv_weights *w = hyv_calloc(1, sizeof(*w));
    *out = w;
    if (!w)
        return -ENOMEM;
    w->be = be;
    w->checkpoint = checkpoint;
    w->component = component;
    w->names = *names;
    w->log = log;
    if (hyv_residency_new(&w->residency, be, checkpoint, w, arrive) < 0) {
        hyv_weights_free(out);
        return -ENOMEM;
    }
    return 0;
}

void hyv_weights_free(hyv_weights **weights)
{
    hyv_weights *w = *weights;
    if (!w)
        return;
    hyv_residency_free(&w->residency);
    for (int64_t i = 0; i < w->owned_count; i++)
        hyv_free(w->be, w->owned[i]);
    hyv_free_host(w->owned);
    hyv_free_host(w->late);
    hyv_string_free(&w->complaint);
    hyv_free_host(w);
    *weights = NULL;
}

hyv_binder hyv_weights_binder(hyv_weights *w)
{
    return (hyv_binder){.opaque = w,
                        .matrix = bind_matrix,
                        .vector = bind_vector,
                        .table = bind_table,
                        .block = bind_block};
}

int hyv_weights_status(hyv_weights *w)
{
    if (hyv_residency_status(w->residency) < 0)
        set_error(w, -ENOMEM);
    if (w->err == -ENOMEM)
        return hyv_log_error(w->log, -ENOMEM, "out of memory while loading the weights of the %s",
                             w->component);
    if (!w->err && w->wrong)
        w->err =
            hyv_log_error(w->log, -ENOTSUP,
                          "%s: %lld tensors are missing or have the wrong shape for this "
                          "configuration: %s%s",
                          hyv_checkpoint_path(w->checkpoint), (long long)w->wrong,
                          hyv_string_text(&w->complaint), w->wrong > COMPLAINTS_MAX ? "; ..." : "");
    return w->err;
}

hyv_residency *hyv_weights_residency(hyv_weights *w)
{
    return w->residency;
}

size_t hyv_weights_owned_bytes(const hyv_weights *w)
{
    return w->owned_bytes;
}

size_t hyv_weights_mapped_bytes(const hyv_weights *w)
{
    return w->mapped_bytes;
}

void hyv_weights_report(hyv_weights *w, void *opaque, hyv_weights_fault *report)
{
    w->report_opaque = opaque;
    w->report = report;
}

void hyv_table_row(float *out, hyv_mat table, int64_t row)
{
    hyv_decode(out, table.data, table.type, row * table.ld, table.cols);
}
