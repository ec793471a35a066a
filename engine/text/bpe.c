/* Byte-pair encoding with the tables of bpe_tables.h: see bpe.h.
 *
 * Follows the published definition (Sennrich et al. 2016) on GPT-2's byte alphabet: of all adjacent
 * pairs the one with the lowest rank is merged, the leftmost first. A heap of candidates over a
 * linked list of symbols makes that n log n. Knows no files and no prompts' templates.
 */
#include "bpe.h"

#include <errno.h>
#include <string.h>

#include <utf8proc.h>

#include "bpe_tables.h"

struct symbol {
    int32_t id;             /* -1: merged into its left neighbour */
    int32_t previous, next; /* -1: none */
};

struct candidate {
    int32_t rank, at; /* of the left symbol */
    int32_t left, right, result;
};

/* One call of hyv_bpe_encode. */
struct encoder {
    const hyv_bpe *bpe;
    int32_t *ids;
    int64_t max, count;
    struct symbol *symbols; /* `room` of them */
    struct candidate *heap; /* 3 * room */
    size_t room, heap_count;
    hyv_log *log;
};

int hyv_bpe_symbol(uint8_t byte, char out[2])
{
    /* Printable bytes stand for themselves, the other 68 for U+0100 and on, in their order. */
    int code = byte;
    if (byte < 33)
        code = 256 + byte;
    else if (byte >= 127 && byte < 161)
        code = 256 + 33 + byte - 127;
    else if (byte == 173)
        code = 256 + 67;
    if (code < 128) {
        out[0] = (char)code;
        return 1;
    }
    out[0] = (char)(0xc0 | code >> 6);
    out[1] = (char)(0x80 | (code & 0x3f));
    return 2;
}

/* Tables. */

static size_t token_slot(const hyv_bpe *bpe, const char *text, size_t length)
{
    /* FNV-1a, begun with what no file can foresee: none can make all its tokens collide. */
    uint64_t h = 0xcbf29ce484222325u ^ (uintptr_t)bpe->tokens;
    for (size_t i = 0; i < length; i++)
        h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    size_t slot = (size_t)(h ^ h >> 32) & (bpe->token_slots - 1);
    for (;; slot = (slot + 1) & (bpe->token_slots - 1)) {
        const hyv_token *t = &bpe->tokens[slot];
        if (t->length == 0 ||
            (t->length == length && memcmp(bpe->texts.text + t->offset, text, length) == 0))
            return slot;
    }
}

static size_t merge_slot(const hyv_bpe *bpe, int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) ^ (uintptr_t)bpe->merges;
    h = (h ^ h >> 31) * 0x9e3779b97f4a7c15u;
    size_t slot = (size_t)(h >> 32) & (bpe->merge_slots - 1);
    for (;; slot = (slot + 1) & (bpe->merge_slots - 1)) {
        const hyv_merge *m = &bpe->merges[slot];
        if (m->rank < 0 || (m->left == left && m->right == right))
            return slot;
    }
}

bool hyv_bpe_reserve(hyv_bpe *bpe, size_t tokens, size_t merges)
{
    size_t token_slots = 16, merge_slots = 16;
    while (token_slots < 2 * tokens)
        token_slots *= 2;
    while (merge_slots < 2 * merges)
        merge_slots *= 2;
    bpe->tokens = hyv_calloc(token_slots, sizeof(*bpe->tokens));
    bpe->merges = hyv_malloc(merge_slots, sizeof(*bpe->merges));
    if (!bpe->tokens || !bpe->merges)
        return false;
    bpe->token_slots = token_slots;
    bpe->merge_slots = merge_slots;
    for (size_t i = 0; i < merge_slots; i++)
        bpe->merges[i].rank = -1;
    return true;
}

int32_t hyv_bpe_find(const hyv_bpe *bpe, const char *text, size_t length)
{
    const hyv_token *t = &bpe->tokens[token_slot(bpe, text, length)];
    return t->length ? t->id : -1;
}

bool hyv_bpe_add_token(hyv_bpe *bpe, const char *text, size_t length, int32_t id)
{
    hyv_token *t = &bpe->tokens[token_slot(bpe, text, length)];
    *t = (hyv_token){(uint32_t)bpe->texts.length, (uint32_t)length, id};
    hyv_string_append_bytes(&bpe->texts, text, length);
    bpe->token_count++;
    if (id >= bpe->size)
        bpe->size = (int64_t)id + 1;
    return !bpe->texts.failed;
}

void hyv_bpe_add_merge(hyv_bpe *bpe, int32_t left, int32_t right, int32_t rank, int32_t result)
{
    bpe->merges[merge_slot(bpe, left, right)] = (hyv_merge){left, right, rank, result};
    bpe->merge_count++;
}

/* Merging. */

static bool before(const struct candidate *a, const struct candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(struct encoder *e, struct candidate c)
{
    size_t i = e->heap_count++;
    for (; i > 0 && before(&c, &e->heap[(i - 1) / 2]); i = (i - 1) / 2)
        e->heap[i] = e->heap[(i - 1) / 2];
    e->heap[i] = c;
}

static struct candidate heap_pop(struct encoder *e)
{
    const struct candidate top = e->heap[0], last = e->heap[--e->heap_count];
    size_t i = 0;
    for (size_t child = 1; child < e->heap_count; child = 2 * i + 1) {
        if (child + 1 < e->heap_count && before(&e->heap[child + 1], &e->heap[child]))
            child++;
        if (!before(&e->heap[child], &last))
            break;
        e->heap[i] = e->heap[child];
        i = child;
    }
    e->heap[i] = last;
    return top;
}

/* Offers the pair that begins at symbol `at`, if it can be merged. */
static void offer(struct encoder *e, int32_t at)
{
    const int32_t next = at < 0 ? -1 : e->symbols[at].next;
    if (next < 0)
        return;
    const int32_t left = e->symbols[at].id, right = e->symbols[next].id;
    const hyv_merge *m = &e->bpe->merges[merge_slot(e->bpe, left, right)];
    if (m->rank >= 0)
        heap_push(e, (struct candidate){m->rank, at, left, right, m->result});
}

/* Each merge takes one candidate and offers two at most: n - 1 + 2 (n - 1) places suffice. */
static void merge_symbols(struct encoder *e, int32_t n)
{
    e->heap_count = 0;
    for (int32_t i = 0; i + 1 < n; i++)
        offer(e, i);
    while (e->heap_count) {
        const struct candidate c = heap_pop(e);
        struct symbol *s = &e->symbols[c.at];
        if (s->id != c.left || s->next < 0 || e->symbols[s->next].id != c.right)
            continue; /* one of the two has been merged meanwhile */
        struct symbol *gone = &e->symbols[s->next];
        s->id = c.result;
        s->next = gone->next;
        gone->id = -1;
        if (s->next >= 0)
            e->symbols[s->next].previous = c.at;
        offer(e, s->previous);
        offer(e, c.at);
    }
}

static void emit(struct encoder *e, int32_t id)
{
    if (e->count < e->max)
        e->ids[e->count] = id;
    e->count++;
}

static int make_room(struct encoder *e, size_t n)
{
    if (n <= e->room)
        return 0;
    const size_t room = n < 256 ? 256 : n;
    hyv_free_host(e->symbols);
    hyv_free_host(e->heap);
    e->room = 0;
    e->symbols = hyv_malloc(room, sizeof(*e->symbols));
    e->heap = hyv_malloc(room, 3 * sizeof(*e->heap));
    if (!e->symbols || !e->heap)
        return hyv_log_error(e->log, -ENOMEM, "not enough memory to encode a prompt");
    e->room = room;
    return 0;
}

/* The id of the whole piece, if it is a token and the tokenizer wants those unmerged. */
static int32_t whole_piece(struct encoder *e, const uint8_t *bytes, size_t length)
{
    if (!e->bpe->whole_first || length > HYV_BPE_TOKEN_BYTES_MAX)
        return -1;
    char text[2 * HYV_BPE_TOKEN_BYTES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < length; i++)
        n += (size_t)hyv_bpe_symbol(bytes[i], text + n);
    return hyv_bpe_find(e->bpe, text, n);
}

static int encode_piece(struct encoder *e, const char *piece, size_t length)
{
    const uint8_t *bytes = (const uint8_t *)piece;
    const int32_t whole = whole_piece(e, bytes, length);
    if (whole >= 0) {
        emit(e, whole);
        return 0;
    }
    const int err = make_room(e, length);
    if (err)
        return err;
    int32_t n = 0;
    for (size_t i = 0; i < length; i++) {
        const int32_t *ids = i + 1 < length ? e->bpe->first_ids : e->bpe->last_ids;
        const int32_t id = ids[bytes[i]] >= 0 ? ids[bytes[i]] : e->bpe->unknown;
        if (id >= 0) {
            e->symbols[n] = (struct symbol){id, n - 1, n + 1};
            n++;
        }
    }
    if (n == 0)
        return 0;
    e->symbols[n - 1].next = -1;
    merge_symbols(e, n);
    for (int32_t i = 0; i >= 0; i = e->symbols[i].next)
        emit(e, e->symbols[i].id);
    return 0;
}

/* Rewriting and cutting. */

/* The next match at or after `from`: 1 (its range in *begin, *end), 0: none, or an error. */
static int find_match(const struct encoder *e, const hyv_regex *r, const char *text, size_t length,
                      size_t from, size_t *begin, size_t *end)
{
    const int rc = pcre2_match(r->code, (PCRE2_SPTR)text, length, from,
                               PCRE2_NOTEMPTY | PCRE2_NO_UTF_CHECK, r->match, e->bpe->limits);
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (rc == PCRE2_ERROR_NOMEMORY)
        return hyv_log_error(e->log, -ENOMEM, "not enough memory to split a prompt");
    if (rc < 0)
        return hyv_log_error(e->log, -EINVAL,
                             "the tokenizer's split expression gives up on this prompt (PCRE2 %d)",
                             rc);
    const size_t *range = pcre2_get_ovector_pointer(r->match);
    *begin = range[0];
    *end = range[1];
    if (*begin < from || *end <= *begin) /* \K in a lookahead can do that */
        return hyv_log_error(e->log, -ENOTSUP,
                             "the tokenizer's split expression matches backwards");
    return 1;
}

static int cut_text(struct encoder *e, int step, const char *text, size_t length)
{
    if (length == 0)
        return 0;
    if (step == e->bpe->cut_count)
        return encode_piece(e, text, length);
    const hyv_cut *cut = &e->bpe->cuts[step];
    size_t at = 0;
    while (at < length) {
        size_t begin = length, end = length;
        const int found = find_match(e, &cut->pattern, text, length, at, &begin, &end);
        int err = found < 0 ? found : 0;
        if (!err && cut->keep_gaps)
            err = cut_text(e, step + 1, text + at, begin - at);
        if (!err && cut->keep_matches)
            err = cut_text(e, step + 1, text + begin, end - begin);
        if (err)
            return err;
        at = end;
    }
    return 0;
}

static void append_code(hyv_string *s, int32_t code)
{
    utf8proc_uint8_t bytes[4];
    hyv_string_append_bytes(s, (const char *)bytes, (size_t)utf8proc_encode_char(code, bytes));
}

/* Unicode's full mapping has one unconditional case that is more than one character: U+0130. */
static void lower_text(hyv_string *out, const char *text, size_t length)
{
    for (size_t at = 0; at < length && !out->failed;) {
        utf8proc_int32_t code;
        at += (size_t)utf8proc_iterate((const utf8proc_uint8_t *)text + at,
                                       (utf8proc_ssize_t)(length - at), &code);
        append_code(out, code == 0x130 ? 'i' : utf8proc_tolower(code));
        if (code == 0x130)
            append_code(out, 0x307);
    }
}

static int compose_text(struct encoder *e, hyv_string *out, const char *text, size_t length)
{
    const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    const utf8proc_uint8_t *in = (const utf8proc_uint8_t *)text;
    const utf8proc_ssize_t n = utf8proc_decompose(in, (utf8proc_ssize_t)length, NULL, 0, options);
    if (n < 0)
        return hyv_log_error(e->log, -EINVAL, "a prompt cannot be normalised: %s",
                             utf8proc_errmsg(n));
    utf8proc_int32_t *codes = hyv_malloc((size_t)n + 1, sizeof(*codes));
    if (codes) {
        utf8proc_decompose(in, (utf8proc_ssize_t)length, codes, n, options);
        const utf8proc_ssize_t bytes = utf8proc_reencode(codes, n, options);
        if (bytes > 0)
            hyv_string_append_bytes(out, (const char *)codes, (size_t)bytes);
        out->failed |= bytes < 0;
    }
    out->failed |= !codes;
    hyv_free_host(codes);
    return 0;
}

static int replace_text(struct encoder *e, hyv_string *out, const hyv_rewrite *r, const char *text,
                        size_t length)
{
    size_t at = 0;
    while (at < length) {
        size_t begin = length, end = length;
        const int found = find_match(e, &r->pattern, text, length, at, &begin, &end);
        if (found < 0)
            return found;
        hyv_string_append_bytes(out, text + at, begin - at);
        if (found)
            hyv_string_append_bytes(out, r->content, strlen(r->content));
        at = end;
    }
    return 0;
}

/* Text without added tokens. */
static int encode_plain(struct encoder *e, const char *text, size_t length)
{
    hyv_string from = {0}, to = {0};
    int err = 0;
    for (int i = 0; i < e->bpe->rewrite_count && !err && length; i++) {
        const hyv_rewrite *r = &e->bpe->rewrites[i];
        if (r->kind == HYV_REWRITE_NFC)
            err = compose_text(e, &to, text, length);
        else if (r->kind == HYV_REWRITE_LOWER)
            lower_text(&to, text, length);
        else
            err = replace_text(e, &to, r, text, length);
        if (!err && (to.failed || to.length > 8 * (size_t)HYV_BPE_TEXT_BYTES_MAX))
            err = hyv_log_error(e->log, -ENOMEM, "not enough memory to normalise a prompt");
        hyv_string_free(&from);
        from = to;
        to = (hyv_string){0};
        text = hyv_string_text(&from);
        length = from.length;
    }
    if (!err)
        err = cut_text(e, 0, text, length);
    hyv_string_free(&from);
    return err;
}

/* The longest added token at the text's start, NULL if there is none. */
static const hyv_added *added_at(const hyv_bpe *bpe, const char *text, size_t length, bool special)
{
    const hyv_added *best = NULL;
    if (!bpe->added_starts[(uint8_t)*text])
        return NULL;
    for (size_t i = 0; i < bpe->added_count; i++) {
        const hyv_added *a = &bpe->added[i];
        if (a->length <= length && (special || !a->special) &&
            (!best || a->length > best->length) && memcmp(text, a->text, a->length) == 0)
            best = a;
    }
    return best;
}

static int encode_text(struct encoder *e, const char *text, size_t length, bool special)
{
    size_t begin = 0;
    for (size_t at = 0; at < length;) {
        const hyv_added *a = added_at(e->bpe, text + at, length - at, special);
        if (!a) {
            at++;
            continue;
        }
        const int err = encode_plain(e, text + begin, at - begin);
        if (err)
            return err;
        emit(e, a->id);
        at += a->length;
        begin = at;
    }
    return encode_plain(e, text + begin, length - begin);
}

int hyv_bpe_encode(hyv_bpe *bpe, const char *text, size_t length, int parse_special, int32_t *ids,
                   int64_t max, int64_t *count, hyv_log *log)
{
    *count = 0;
    if (length > HYV_BPE_TEXT_BYTES_MAX)
        return hyv_log_error(log, -EINVAL, "the prompt has %zu bytes, at most %d are read", length,
                             HYV_BPE_TEXT_BYTES_MAX);
    const size_t valid = hyv_utf8_check(text, length);
    if (valid != length)
        return hyv_log_error(log, -EINVAL, "the prompt is not UTF-8: byte 0x%02x at position %zu",
                             (unsigned)(uint8_t)text[valid], valid);
    struct encoder e = {.bpe = bpe, .ids = ids, .max = max, .log = log};
    const int err = encode_text(&e, text, length, parse_special != 0);
    hyv_free_host(e.symbols);
    hyv_free_host(e.heap);
    *count = err ? 0 : e.count;
    return err;
}

int32_t hyv_bpe_token(const hyv_bpe *bpe, const char *content)
{
    const size_t length = strlen(content);
    for (size_t i = 0; i < bpe->added_count; i++)
        if (bpe->added[i].length == length && memcmp(bpe->added[i].text, content, length) == 0)
            return bpe->added[i].id;
    return length ? hyv_bpe_find(bpe, content, length) : -1;
}

int32_t hyv_bpe_bos(const hyv_bpe *bpe)
{
    return bpe->bos;
}

int32_t hyv_bpe_eos(const hyv_bpe *bpe)
{
    return bpe->eos;
}

int64_t hyv_bpe_size(const hyv_bpe *bpe)
{
    return bpe->size;
}
