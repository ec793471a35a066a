/* The list of a converted file's tensors: see blueprint.h.
 *
 * A model's bind list says which tensors there are, the naming of the source where their rows lie,
 * the naming of the target where they go. Types of small and sensitive tensors follow the converter
 * of ComfyUI-GGUF (convert.py) for GGUF, and Tencent's and ComfyUI's fp8 files. Must not read a
 * value.
 */
#include "blueprint.h"

#include <errno.h>
#include <string.h>

#include "../base/util.h"

enum {
    SMALL_COUNT = 1024, /* elements of a tensor that GGUF files keep in F32 */
    SLOT_TAIL = 3       /* place of what stands below q, k and v */
};

typedef struct draft {
    hyv_blueprint *b;
    const hyv_model *m;
    enum hyv_component component;
    hyv_names from, to;
    hyv_type type;
    bool gguf;
    int err;
} draft;

static bool begins(const char *s, const char *start)
{
    return strncmp(s, start, strlen(start)) == 0;
}

static int no_memory(const draft *d)
{
    return hyv_log_error(d->m->log, -ENOMEM, "not enough memory for the list of tensors");
}

/* ---- items ----------------------------------------------------------------------------------- */

static hyv_item *find_item(const hyv_blueprint *b, const char *name)
{
    for (int64_t i = b->count - 1; i >= 0 && i >= b->count - 64;
         i--) /* parts come close together */
        if (strcmp(b->list[i].name, name) == 0)
            return &b->list[i];
    return NULL;
}

static hyv_item *add_item(draft *d, const char *name)
{
    hyv_blueprint *b = d->b;
    if (b->count == b->capacity) {
        const int64_t capacity = b->capacity ? 2 * b->capacity : 256;
        hyv_item *grown = hyv_realloc(b->list, (size_t)capacity, sizeof(*grown));
        if (!grown) {
            d->err = no_memory(d);
            return NULL;
        }
        b->list = grown;
        b->capacity = capacity;
    }
    hyv_item *item = &b->list[b->count];
    *item = (hyv_item){.name = hyv_strdup(name), .scale_of = -1};
    if (!item->name) {
        d->err = no_memory(d);
        return NULL;
    }
    b->count++;
    return item;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* What is asked for: `rows` rows of a tensor in our names. */
typedef struct wish {
    const char *module, *suffix;
    int64_t rows, cols;          /* cols: of the module's matrix, also for its bias */
    const hyv_matrix_spec *spec; /* NULL: a vector or a table */
} wish;

/* Tensors of layers that are not run have not been checked by anybody. */
static bool fail_shape(draft *d, const hyv_tensor *t)
{
    d->err = hyv_log_error(d->m->log, -ENOTSUP, "%s: tensor %s does not fit the others",
                           d->m->parts.part[d->component].path, t->name);
    return false;
}

/* Of an fp8 matrix, as weights.c finds it. */
static bool find_scale(draft *d, const wish *w, hyv_piece *p)
{
    static const char *const suffixes[] = {"fp8_scale", "scale_weight", "weight_scale"};
    const bool f8 = p->from->type == HYV_F8_E4M3 || p->from->type == HYV_F8_E5M2;
    hyv_place place;
    for (int i = 0; f8 && i < 3 && !p->scale && strcmp(w->suffix, "weight") == 0; i++) {
        hyv_names_place(&d->from, w->module, suffixes[i], &place);
        p->scale = hyv_checkpoint_find(d->m->file[d->component], place.name);
        p->rounded = p->scale && i == 0;
    }
    if (p->scale && (!hyv_type_is_float(p->scale->type) ||
                     (p->scale->count != 1 && p->scale->count != p->from->shape[0])))
        return fail_shape(d, p->scale);
    return true;
}

/* Where the rows lie in the source: one piece, or two if its halves are exchanged. */
static int find_pieces(draft *d, const wish *w, hyv_piece piece[2])
{
    hyv_place place;
    hyv_names_place(&d->from, w->module, w->suffix, &place);
    hyv_tensor *t = hyv_checkpoint_find(d->m->file[d->component], place.name);
    if (!t || !hyv_type_is_weight(t->type))
        return 0;
    t->used++;
    hyv_piece p = {.from = t, .rows = w->rows};
    if (place.slice == HYV_SLICE_THIRD || place.slice == HYV_SLICE_HEAD)
        p.first = place.index * w->rows;
    else if (place.slice == HYV_SLICE_TAIL)
        p.first = place.index * w->cols;
    if (w->spec && w->spec->layout == HYV_LAYOUT_HALVES && t->pairs != d->gguf) {
        p.order = d->gguf ? HYV_ORDER_PAIRS : HYV_ORDER_HALVES;
        p.head = w->spec->detail;
    }
    if (t->rank < 1 || p.first + p.rows > t->shape[0])
        fail_shape(d, t);
    if (d->err || !find_scale(d, w, &p))
        return 0;
    piece[0] = piece[1] = p;
    if (place.slice != HYV_SLICE_SWAPPED)
        return 1;
    piece[0].rows = piece[1].rows = piece[0].first = w->rows / 2;
    return 2;
}

/* Exchanges the halves of what one or two pieces make. */
static int swap_halves(hyv_piece piece[2], int count)
{
    if (count == 1) {
        piece[1] = piece[0];
        piece[0].rows /= 2;
        piece[1].rows -= piece[0].rows;
        piece[1].first += piece[0].rows;
    }
    const hyv_piece first = piece[0];
    piece[0] = piece[1];
    piece[1] = first;
    /* What was exchanged already is whole again. */
    if (piece[0].from != piece[1].from || piece[0].first + piece[0].rows != piece[1].first)
        return 2;
    piece[0].rows += piece[1].rows;
    return 1;
}

/* The shape that the layout of the diffusers has, whose convolutions some files flatten and whose
 * matrices some files have as convolutions. */
static void set_shape(hyv_item *item, const wish *w, const hyv_tensor *from)
{
    hyv_tensor *t = &item->tensor;
    t->rank = from->rank;
    memcpy(t->shape, from->shape, sizeof(t->shape));
    if (w->spec && w->spec->layout == HYV_LAYOUT_TAPS && from->rank == 2) {
        int64_t side = 1;
        while ((side + 1) * (side + 1) <= w->spec->detail)
            side++;
        const bool patch = side * side == w->spec->detail; /* else 3 x 3 x 3 */
        t->rank = 5;
        t->shape[1] = w->spec->cols / w->spec->detail;
        t->shape[2] = patch ? 1 : 3;
        t->shape[3] = t->shape[4] = patch ? side : 3;
    } else if (strstr(w->module, "attentions.") && t->rank > 2) {
        t->rank = 2;
    }
}

static void add_rows(draft *d, const wish *w)
{
    static const char *const blocks[] = {"transformer_blocks.", "single_transformer_blocks.",
                                         "layers."};
    hyv_piece piece[2] = {{0}};
    hyv_place place;
    int count = d->err ? 0 : find_pieces(d, w, piece);
    if (!count)
        return; /* an error, or of a layer that is not run, and that the source does not have */
    hyv_names_place(&d->to, w->module, w->suffix, &place);
    hyv_item *item = find_item(d->b, place.name);
    if (!item && !(item = add_item(d, place.name)))
        return;
    if (place.slice == HYV_SLICE_SWAPPED)
        count = swap_halves(piece, count);
    const int slot = place.slice == HYV_SLICE_TAIL      ? SLOT_TAIL
                     : place.slice == HYV_SLICE_SWAPPED ? 0
                                                        : place.index;
    memcpy(&item->piece[slot], piece, (size_t)count * sizeof(*piece));
    set_shape(item, w, piece[0].from);
    for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
        item->quantised |= w->spec && strcmp(w->suffix, "weight") == 0 &&
                           w->spec->layout != HYV_LAYOUT_TAPS && begins(w->module, blocks[i]);
}

/* ---- the bind list --------------------------------------------------------------------------- */

static void list_matrix(void *opaque, hyv_weight *out, const char *module,
                        const hyv_matrix_spec *spec)
{
    wish w = {module, "weight", spec->rows * (spec->parts ? spec->parts : 1), spec->cols, spec};
    *out = (hyv_weight){0};
    if (spec->part)
        return; /* came with the first part */
    add_rows(opaque, &w);
    w.suffix = "bias";
    if (spec->bias)
        add_rows(opaque, &w);
}

/* A tensor by its full name. */
static void list_whole(draft *d, const char *name, int64_t rows)
{
    const char *dot = strrchr(name, '.');
    char *module = hyv_strndup(name, dot ? (size_t)(dot - name) : strlen(name));
    if (module)
        add_rows(d, &(wish){module, dot ? dot + 1 : "", rows, 0, NULL});
    else
        d->err = no_memory(d);
    hyv_free_host(module);
}

static void list_vector(void *opaque, const float **out, const char *name, int64_t n)
{
    *out = NULL;
    list_whole(opaque, name, n);
}

static void list_table(void *opaque, hyv_mat *out, const char *name, int64_t rows, int64_t cols)
{
    (void)cols;
    *out = HYV_NO_MAT;
    list_whole(opaque, name, rows);
}

/* What belongs to the published component but is not run here. */
static void list_rest(draft *d)
{
    static const char *const kept[HYV_COMPONENTS][3] = {
        [HYV_TEXT_ENCODER] = {"norm.", NULL}, [HYV_VAE] = {"encoder.", "quant_conv.", NULL}};
    hyv_checkpoint *c = d->m->file[d->component];
    const int64_t count = hyv_checkpoint_count(c);
    for (int64_t i = 0; i < count && !d->err; i++) {
        const hyv_tensor *t = hyv_checkpoint_at(c, i);
        char ours[HYV_PLACE_NAME_MAX];
        bool keep = t->used <= 0 && t->rank > 0 && hyv_names_ours(&d->from, t->name, ours);
        int k = 0;
        while (keep && kept[d->component][k] && !begins(ours, kept[d->component][k]))
            k++;
        if (keep && kept[d->component][k]) {
            list_whole(d, ours, t->shape[0]);
        } else if (t->used <= 0 && !strstr(t->name, "scaled_fp8")) {
            d->b->left_out++;
            d->b->left_out_name = t->name;
        }
    }
}

/* ---- types ----------------------------------------------------------------------------------- */

bool hyv_blueprint_quantises(enum hyv_component component, hyv_type type)
{
    return type == HYV_TYPES || type == HYV_F32 || type == HYV_F16 || type == HYV_BF16 ||
           component == HYV_TRANSFORMER || component == HYV_TEXT_ENCODER;
}

/* The type of all pieces, HYV_TYPES if they differ. */
static hyv_type source_type(const hyv_item *item)
{
    hyv_type type = item->piece[0].from->type;
    for (int i = 1; i < item->pieces; i++)
        if (item->piece[i].from->type != type)
            type = HYV_TYPES;
    return type;
}

/* What keeps the values, of a tensor that is not to be quantised. */
static hyv_type plain_type(const hyv_item *item)
{
    const hyv_type type = source_type(item);
    bool wide = type == HYV_F32;
    for (int i = 0; i < item->pieces; i++)
        wide |= item->piece[i].from->type == HYV_F32;
    return wide ? HYV_F32 : type == HYV_F16 ? HYV_F16 : HYV_BF16;
}

static bool fits(const hyv_tensor *t, hyv_type type)
{
    return t->rank > 0 && t->shape[t->rank - 1] % hyv_type_block(type) == 0;
}

static hyv_type choose_type(const draft *d, const hyv_item *item)
{
    const hyv_tensor *t = &item->tensor;
    const hyv_type source = source_type(item), wanted = d->type;
    const bool small =
        t->rank < 2 || t->count <= SMALL_COUNT || (d->component == HYV_TRANSFORMER && t->rank > 2);
    /* Readers of GGUF expect vectors in F32, which holds what any has. */
    if (d->gguf && (t->rank < 2 || (small && wanted != HYV_TYPES)))
        return HYV_F32;
    if (wanted == HYV_TYPES && source != HYV_TYPES && d->b->writer->holds(source) &&
        fits(t, source))
        return source;
    if (wanted == HYV_F32 || wanted == HYV_F16 || wanted == HYV_BF16)
        return wanted;
    if (wanted == HYV_TYPES || !item->quantised)
        return plain_type(item);
    if (fits(t, wanted))
        return wanted;
    return hyv_type_block(wanted) > 1 && fits(t, HYV_Q8_0) ? HYV_Q8_0 : plain_type(item);
}

/* Closes the gaps between pieces, sets size and type. */
static void finish_item(draft *d, hyv_item *item)
{
    hyv_tensor *t = &item->tensor;
    int64_t rows = 0;
    for (int i = 0; i < HYV_PIECES_MAX; i++)
        if (item->piece[i].rows) {
            rows += item->piece[i].rows;
            item->piece[item->pieces++] = item->piece[i];
        }
    if (t->rank)
        t->shape[0] = rows;
    t->name = item->name;
    t->count = 1;
    for (int i = 0; i < t->rank; i++)
        t->count *= t->shape[i]; /* no more than the source has */
    t->type = choose_type(d, item);
    t->size_bytes = hyv_type_size(t->type, t->count);
    /* fp8 that stays fp8 keeps its scale, too. */
    item->scaled =
        t->type == HYV_F8_E4M3 && d->type == HYV_F8_E4M3 && source_type(item) != HYV_F8_E4M3;
}

/* ---- scales ---------------------------------------------------------------------------------- */

/* The scale beside item i: one that is still to be chosen, or the source's. */
static void add_scale(draft *d, int64_t i, bool *marked)
{
    const hyv_item *of = &d->b->list[i];
    const hyv_piece *p = &of->piece[0];
    const bool f8 = of->tensor.type == HYV_F8_E4M3 || of->tensor.type == HYV_F8_E5M2;
    if (!f8 || (!of->scaled && !p->scale))
        return;
    const bool rounded = !of->scaled && p->rounded;
    const bool each = !of->scaled && p->scale->count > 1;
    hyv_string name = {0};
    hyv_string_append(&name, "%.*s%s", (int)(strlen(of->name) - strlen("weight")), of->name,
                      rounded ? "fp8_scale" : "scale_weight");
    hyv_item *item = name.failed ? NULL : add_item(d, name.text);
    hyv_string_free(&name);
    if (!item) {
        d->err = d->err ? d->err : no_memory(d);
        return;
    }
    of = &d->b->list[i]; /* the list may have moved */
    *marked |= !rounded;
    item->tensor = (hyv_tensor){.name = item->name, .type = HYV_F32, .rank = each, .count = 1};
    if (of->scaled) {
        item->scale_of = i;
    } else {
        for (item->pieces = 0; item->pieces < of->pieces; item->pieces++) {
            hyv_piece *scale = &item->piece[item->pieces];
            *scale = of->piece[item->pieces];
            scale->from = scale->scale;
            scale->scale = NULL;
            if (!each) {
                scale->first = 0;
                scale->rows = 1;
            }
        }
        if (!each)
            item->pieces = 1; /* of a matrix that was exchanged */
    }
    if (each)
        item->tensor.count = item->tensor.shape[0] = of->tensor.shape[0];
    item->tensor.size_bytes = hyv_type_size(HYV_F32, item->tensor.count);
}

/* Behind the weights, so that they can be written in one go; then ComfyUI's mark. */
static void add_scales(draft *d)
{
    const int64_t count = d->b->count;
    bool marked = false;
    for (int64_t i = 0; i < count && !d->err; i++)
        add_scale(d, i, &marked);
    hyv_item *mark = marked && !d->err ? add_item(d, "scaled_fp8") : NULL;
    if (mark)
        mark->tensor = (hyv_tensor){.name = mark->name, .type = HYV_F8_E4M3, .rank = 1};
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* The type of most bytes, which a file is named after. */
static hyv_type main_type(const hyv_blueprint *b)
{
    size_t bytes[HYV_TYPES] = {0};
    int most = HYV_F32;
    for (int64_t i = 0; i < b->count; i++)
        bytes[b->list[i].tensor.type] += b->list[i].tensor.size_bytes;
    for (int t = 0; t < HYV_TYPES; t++)
        most = bytes[t] > bytes[most] ? t : most;
    return (hyv_type)most;
}

static int make_header(draft *d)
{
    hyv_blueprint *b = d->b;
    const hyv_tensor **list = hyv_malloc((size_t)b->count, sizeof(*list));
    if (!list)
        return no_memory(d);
    for (int64_t i = 0; i < b->count; i++) {
        const size_t unit = b->writer->alignment;
        list[i] = &b->list[i].tensor;
        b->size_bytes += (list[i]->size_bytes + unit - 1) / unit * unit;
    }
    const int err = b->writer->header(&b->header, list, b->count, &b->keys);
    b->size_bytes += b->header.length;
    hyv_free_host(list);
    return err ? no_memory(d) : 0;
}

static int check(const draft *d)
{
    hyv_log *log = d->m->log;
    const char *name = hyv_type_name(d->type);
    if (!hyv_blueprint_quantises(d->component, d->type))
        return hyv_log_error(
            log, -ENOTSUP,
            "type %s: the %s is not quantised, since it is small and would suffer; "
            "valid: same, f32, f16, bf16",
            name, hyv_component_name(d->component));
    if (d->type != HYV_TYPES && !d->b->writer->holds(d->type))
        return hyv_log_error(log, -ENOTSUP, "type %s: a %s file cannot hold it; %s can", name,
                             d->b->writer->name, d->gguf ? ".safetensors" : ".gguf");
    return 0;
}

int hyv_blueprint_make(hyv_blueprint *b, const hyv_model *m, enum hyv_component component,
                       const hyv_writer *writer, hyv_type type)
{
    const bool gguf = writer == &hyv_writer_gguf;
    draft d = {.b = b,
               .m = m,
               .component = component,
               .from = m->names[component],
               .to = hyv_names_published(component, gguf),
               .type = type,
               .gguf = gguf};
    const hyv_binder binder = {
        .opaque = &d, .matrix = list_matrix, .vector = list_vector, .table = list_table};
    *b = (hyv_blueprint){.writer = writer};
    d.err = check(&d);
    const int listed = d.err ? 0 : hyv_network_list(m, component, &binder);
    d.err = d.err ? d.err : listed;
    if (!d.err)
        list_rest(&d);
    for (int64_t i = 0; i < b->count && !d.err; i++)
        finish_item(&d, &b->list[i]);
    add_scales(&d);
    hyv_blueprint_keys(&b->keys, m, component, main_type(b));
    if (!d.err)
        d.err = make_header(&d);
    if (d.err)
        hyv_blueprint_free(b);
    return d.err;
}

void hyv_blueprint_free(hyv_blueprint *b)
{
    for (int64_t i = 0; i < b->count; i++)
        hyv_free_host(b->list[i].name);
    hyv_free_host(b->list);
    hyv_string_free(&b->keys.bytes);
    hyv_string_free(&b->header);
    *b = (hyv_blueprint){0};
}
