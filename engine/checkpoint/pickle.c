/* Reads the instructions of a pickle that make plain data: see pickle.h.
 *
 * Follows the list of instructions in Python's pickletools, protocols 2 to 5. It is a machine with
 * a stack and a memory of numbered values; every value lies in one array and refers to others by
 * index, so that nothing recurses, copies or has to be freed one by one. Does not know what a
 * tensor is.
 */
#include "pickle.h"

#include <errno.h>
#include <string.h>

#include "../base/util.h"

/* A hundred thousand tensors make some two million values. */
enum {
    VALUES_MAX = 4 << 20,
    CELLS_MAX = 8 << 20,
    STACK_MAX = 1 << 20,
    MEMO_MAX = 4 << 20,
    MARKS_MAX = 64,
    TEXT_BYTES_MAX = 65536,
    SYMBOL_BYTES_MAX = 200,
    PROTOCOL_MIN = 2,
    PROTOCOL_MAX = 5,
    ORDERED_DICT = 0 /* number of the symbol */
};

typedef struct machine {
    hyv_pickle *p;
    const uint8_t *data;
    size_t size, at, op_at; /* op_at: where the instruction began */
    const char *const *symbols;
    const char *path;
    hyv_log *log;
    uint32_t *stack, *memo; /* indices of values; 0 in memo: unset */
    uint32_t depth, stack_capacity, memo_capacity;
    uint32_t marks[MARKS_MAX]; /* depths */
    int mark_count;
    uint32_t memo_next; /* of the instruction that numbers by itself */
    int err;
} machine;

/* ---- failing --------------------------------------------------------------------------------- */

static uint32_t fail(machine *m, const char *what)
{
    if (!m->err)
        m->err = hyv_log_error(m->log, -EBADMSG, "%s: a damaged pickle: %s at its byte %zu",
                               m->path, what, m->op_at);
    return 0;
}

static uint32_t refuse_symbol(machine *m, const char *module, size_t n, const char *name, size_t k)
{
    if (!m->err)
        m->err =
            hyv_log_error(m->log, -ENOTSUP,
                          "%s: its pickle asks for '%.*s.%.*s', which no file of plain tensors "
                          "needs; nothing of it was run: save its state dict alone, or convert "
                          "it to safetensors",
                          m->path, (int)(n < SYMBOL_BYTES_MAX ? n : SYMBOL_BYTES_MAX), module,
                          (int)(k < SYMBOL_BYTES_MAX ? k : SYMBOL_BYTES_MAX), name);
    return 0;
}

/* ---- room ------------------------------------------------------------------------------------ */

/* The array with room for `needed` elements; NULL on failure, and the old one stays. */
static void *grow(machine *m, void *array, uint32_t *capacity, uint32_t needed, uint32_t most,
                  size_t size)
{
    uint32_t wanted = *capacity ? *capacity : 256;
    while (wanted < needed)
        wanted *= 2;
    if (needed > most) {
        fail(m, "too many values");
        return NULL;
    }
    void *grown = hyv_realloc(array, wanted, size);
    if (grown)
        *capacity = wanted;
    else
        m->err = hyv_log_error(m->log, -ENOMEM, "%s: not enough memory for its pickle", m->path);
    return grown;
}

/* A new value; its index, 0 on failure. */
static uint32_t make(machine *m, hyv_pickle_value value)
{
    hyv_pickle *p = m->p;
    if (m->err)
        return 0;
    if (p->value_count == p->value_capacity) {
        void *grown = grow(m, p->values, &p->value_capacity, p->value_count + 1, VALUES_MAX,
                           sizeof(*p->values));
        if (!grown)
            return 0;
        p->values = grown;
    }
    p->values[p->value_count] = value;
    return p->value_count++;
}

/* Adds an item to a value. */
static void append(machine *m, uint32_t to, uint32_t item)
{
    hyv_pickle *p = m->p;
    if (m->err)
        return;
    if (p->cell_count == p->cell_capacity) {
        void *grown =
            grow(m, p->cells, &p->cell_capacity, p->cell_count + 1, CELLS_MAX, sizeof(*p->cells));
        if (!grown)
            return;
        p->cells = grown;
    }
    const uint32_t cell = p->cell_count++;
    hyv_pickle_value *v = &p->values[to];
    p->cells[cell] = (hyv_pickle_cell){.value = item};
    if (v->last)
        p->cells[v->last].next = cell;
    else
        v->first = cell;
    v->last = cell;
    v->count++;
}

static void push(machine *m, uint32_t value)
{
    if (m->err)
        return;
    if (m->depth == m->stack_capacity) {
        void *grown =
            grow(m, m->stack, &m->stack_capacity, m->depth + 1, STACK_MAX, sizeof(*m->stack));
        if (!grown)
            return;
        m->stack = grown;
    }
    m->stack[m->depth++] = value;
}

static void push_new(machine *m, hyv_pickle_value value)
{
    push(m, make(m, value));
}

static void push_kind(machine *m, hyv_pickle_kind kind)
{
    push_new(m, (hyv_pickle_value){.kind = kind});
}

static void push_number(machine *m, hyv_pickle_kind kind, int64_t n)
{
    push_new(m, (hyv_pickle_value){.kind = kind, .number = n});
}

/* Values above the topmost mark. */
static uint32_t above_mark(const machine *m)
{
    return m->depth - (m->mark_count ? m->marks[m->mark_count - 1] : 0);
}

static uint32_t pop(machine *m)
{
    if (m->err || above_mark(m) == 0)
        return fail(m, "an instruction finds no value");
    return m->stack[--m->depth];
}

/* The topmost value, which stays. */
static uint32_t top(machine *m)
{
    return m->err || above_mark(m) == 0 ? fail(m, "an instruction finds no value")
                                        : m->stack[m->depth - 1];
}

/* ---- reading --------------------------------------------------------------------------------- */

static const uint8_t *take(machine *m, uint64_t n)
{
    static const uint8_t nothing[8];
    if (n > m->size - m->at)
        fail(m, "its end comes in an instruction");
    if (m->err)
        return nothing;
    m->at += (size_t)n;
    return m->data + m->at - n;
}

static uint64_t number(machine *m, int bytes)
{
    const uint8_t *p = take(m, (uint64_t)bytes);
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

/* Two's complement of 0 to 8 bytes. */
static int64_t signed_number(machine *m, int bytes)
{
    uint64_t v = number(m, bytes);
    int64_t result;
    if (bytes > 0 && bytes < 8 && v >> (8 * bytes - 1))
        v |= UINT64_MAX << 8 * bytes;
    memcpy(&result, &v, sizeof(result));
    return result;
}

static void push_text(machine *m, hyv_pickle_kind kind, uint64_t bytes)
{
    if (bytes > TEXT_BYTES_MAX)
        fail(m, "a text of more than 64 KiB");
    const uint8_t *text = take(m, bytes);
    push_new(
        m, (hyv_pickle_value){.kind = kind, .number = (int64_t)bytes, .text = (const char *)text});
}

/* One line without its end. */
static const char *take_line(machine *m, size_t *n)
{
    const char *line = (const char *)m->data + m->at;
    const char *end = memchr(line, '\n', m->size - m->at);
    *n = 0;
    if (!end) {
        fail(m, "its end comes in an instruction");
        return "";
    }
    *n = (size_t)(end - line);
    m->at += *n + 1;
    return line;
}

/* ---- instructions ---------------------------------------------------------------------------- */

static void push_symbol(machine *m, const char *module, size_t n, const char *name, size_t k)
{
    for (int i = 0; m->symbols[i] && !m->err; i++) {
        const char *s = m->symbols[i];
        if (strlen(s) == n + 1 + k && memcmp(s, module, n) == 0 && s[n] == ' ' &&
            memcmp(s + n + 1, name, k) == 0) {
            push_new(m, (hyv_pickle_value){.kind = HYV_PICKLE_SYMBOL, .number = i});
            return;
        }
    }
    refuse_symbol(m, module, n, name, k);
}

static void push_stack_symbol(machine *m)
{
    const uint32_t name = pop(m), module = pop(m);
    const hyv_pickle_value *a = &m->p->values[module], *b = &m->p->values[name];
    if (m->err)
        return;
    if (a->kind != HYV_PICKLE_TEXT || b->kind != HYV_PICKLE_TEXT) {
        fail(m, "a symbol's name is no text");
        return;
    }
    push_symbol(m, a->text, (size_t)a->number, b->text, (size_t)b->number);
}

static void push_mark(machine *m)
{
    if (m->mark_count == MARKS_MAX)
        fail(m, "values nest too deep");
    else
        m->marks[m->mark_count++] = m->depth;
}

static bool keys_are_plain(const machine *m, uint32_t first, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 2) {
        const hyv_pickle_kind kind = m->p->values[m->stack[first + i]].kind;
        if (kind != HYV_PICKLE_TEXT && kind != HYV_PICKLE_INT)
            return false;
    }
    return true;
}

/* Moves the topmost n values, in their order, into `to`, which is of this kind. */
static void gather(machine *m, uint32_t to, hyv_pickle_kind kind, uint32_t n)
{
    if (m->err)
        return;
    const uint32_t first = m->depth - n;
    if (m->p->values[to].kind != kind)
        fail(m, "items for what is no list or dict");
    else if (kind == HYV_PICKLE_DICT && (n % 2 || !keys_are_plain(m, first, n)))
        fail(m, "a dict's key is neither text nor a number");
    for (uint32_t i = 0; i < n; i++)
        append(m, to, m->stack[first + i]);
    m->depth = first;
}

static void push_tuple(machine *m, uint32_t n)
{
    const uint32_t tuple = make(m, (hyv_pickle_value){.kind = HYV_PICKLE_TUPLE});
    if (n > above_mark(m))
        fail(m, "an instruction finds no value");
    gather(m, tuple, HYV_PICKLE_TUPLE, n);
    push(m, tuple);
}

/* Forgets the mark; how many values stand above it. */
static uint32_t pop_mark(machine *m)
{
    const uint32_t n = above_mark(m);
    if (m->mark_count == 0)
        return fail(m, "an instruction finds no mark");
    m->mark_count--;
    return n;
}

static void add_items(machine *m, hyv_pickle_kind kind, uint32_t n)
{
    if (!m->err && n >= above_mark(m))
        fail(m, "items for nothing");
    if (!m->err)
        gather(m, m->stack[m->depth - n - 1], kind, n);
}

/* A dict from nothing or from one list of pairs. */
static void call_dict(machine *m, const hyv_pickle_value *args)
{
    const hyv_pickle_value *list, *pair, *item[2];
    push_number(m, HYV_PICKLE_DICT, 1);
    hyv_pickle_items(m->p, args, &list, 1);
    if (!m->err && list && (list->kind != HYV_PICKLE_LIST || args->count > 1))
        fail(m, "an ordered dict of no list");
    uint32_t cell = list ? list->first : 0;
    while (!m->err && (pair = hyv_pickle_next(m->p, &cell))) {
        hyv_pickle_items(m->p, pair, item, 2);
        if ((pair->kind != HYV_PICKLE_TUPLE && pair->kind != HYV_PICKLE_LIST) || pair->count != 2) {
            fail(m, "an ordered dict of no pairs");
            return;
        }
        push(m, (uint32_t)(item[0] - m->p->values));
        push(m, (uint32_t)(item[1] - m->p->values));
        add_items(m, HYV_PICKLE_DICT, 2);
    }
}

/* What a call would make is for the reader of the tree to know. */
static void call(machine *m)
{
    const uint32_t args = pop(m), symbol = pop(m);
    if (m->err)
        return;
    const hyv_pickle_value a = m->p->values[args], s = m->p->values[symbol];
    if (s.kind != HYV_PICKLE_SYMBOL || a.kind != HYV_PICKLE_TUPLE) {
        fail(m, "a call of what is no symbol");
        return;
    }
    hyv_pickle_value node = a;
    node.kind = HYV_PICKLE_CALL;
    node.number = s.number;
    if (s.number == ORDERED_DICT)
        call_dict(m, &a);
    else
        push_new(m, node);
}

static void push_persistent(machine *m)
{
    const uint32_t id = pop(m);
    if (m->err)
        return;
    hyv_pickle_value node = m->p->values[id];
    if (node.kind != HYV_PICKLE_TUPLE) {
        fail(m, "a storage that is described by no tuple");
        return;
    }
    node.kind = HYV_PICKLE_PERSISTENT;
    push_new(m, node);
}

/* Attributes of a dict: nothing to us. */
static void drop_state(machine *m)
{
    pop(m);
    const hyv_pickle_value *v = &m->p->values[top(m)];
    if (!m->err && (v->kind != HYV_PICKLE_DICT || v->number != 1))
        fail(m, "attributes of what is no ordered dict");
}

static void remember(machine *m, uint64_t index)
{
    const uint32_t value = top(m);
    if (!m->err && index >= MEMO_MAX)
        fail(m, "a number of a value is too large");
    if (m->err)
        return;
    if (index >= m->memo_capacity) {
        const uint32_t before = m->memo_capacity;
        void *grown =
            grow(m, m->memo, &m->memo_capacity, (uint32_t)index + 1, MEMO_MAX, sizeof(*m->memo));
        if (!grown)
            return;
        m->memo = grown;
        memset(m->memo + before, 0, (m->memo_capacity - before) * sizeof(*m->memo));
    }
    m->memo[index] = value;
}

static void recall(machine *m, uint64_t index)
{
    if (index >= m->memo_capacity || !m->memo[index])
        fail(m, "a number that no value has");
    else
        push(m, m->memo[index]);
}

/* An integer of as many bytes as it says first. */
static int64_t long_number(machine *m)
{
    const uint64_t bytes = number(m, 1);
    if (bytes > 8)
        fail(m, "an integer of more than 64 bits");
    return m->err ? 0 : signed_number(m, (int)bytes);
}

/* Instructions that push a value of their own; false: it is none of them. */
static bool step_value(machine *m, uint8_t op)
{
    switch (op) {
    case 'N':
        return push_kind(m, HYV_PICKLE_NONE), true;
    case 0x88:
    case 0x89:
        return push_number(m, HYV_PICKLE_BOOL, op == 0x88), true;
    case 'K':
        return push_number(m, HYV_PICKLE_INT, (int64_t)number(m, 1)), true;
    case 'M':
        return push_number(m, HYV_PICKLE_INT, (int64_t)number(m, 2)), true;
    case 'J':
        return push_number(m, HYV_PICKLE_INT, signed_number(m, 4)), true;
    case 0x8a:
        return push_number(m, HYV_PICKLE_INT, long_number(m)), true;
    case 'G':
        return take(m, 8), push_kind(m, HYV_PICKLE_FLOAT), true;
    case 'X':
        return push_text(m, HYV_PICKLE_TEXT, number(m, 4)), true;
    case 0x8c:
        return push_text(m, HYV_PICKLE_TEXT, number(m, 1)), true;
    case 0x8d:
        return push_text(m, HYV_PICKLE_TEXT, number(m, 8)), true;
    case 'U':
        return push_text(m, HYV_PICKLE_BYTES, number(m, 1)), true;
    case ')':
        return push_kind(m, HYV_PICKLE_TUPLE), true;
    case ']':
        return push_kind(m, HYV_PICKLE_LIST), true;
    case '}':
        return push_kind(m, HYV_PICKLE_DICT), true;
    default:
        return false;
    }
}

/* Instructions that work on values that are there; false: it is none of them. */
static bool step_stack(machine *m, uint8_t op)
{
    switch (op) {
    case '(':
        return push_mark(m), true;
    case 't':
        return push_tuple(m, pop_mark(m)), true;
    case 0x85:
    case 0x86:
    case 0x87:
        return push_tuple(m, op - 0x84u), true;
    case 'a':
        return add_items(m, HYV_PICKLE_LIST, 1), true;
    case 'e':
        return add_items(m, HYV_PICKLE_LIST, pop_mark(m)), true;
    case 's':
        return add_items(m, HYV_PICKLE_DICT, 2), true;
    case 'u':
        return add_items(m, HYV_PICKLE_DICT, pop_mark(m)), true;
    case 'q':
        return remember(m, number(m, 1)), true;
    case 'r':
        return remember(m, number(m, 4)), true;
    case 0x94:
        return remember(m, m->memo_next++), true;
    case 'h':
        return recall(m, number(m, 1)), true;
    case 'j':
        return recall(m, number(m, 4)), true;
    case '0':
        return pop(m), true;
    case 0x93:
        return push_stack_symbol(m), true;
    case 'Q':
        return push_persistent(m), true;
    case 'R':
        return call(m), true;
    case 'b':
        return drop_state(m), true;
    default:
        return false;
    }
}

static void step_symbol(machine *m)
{
    size_t n, k;
    const char *module = take_line(m, &n), *name = take_line(m, &k);
    push_symbol(m, module, n, name, k);
}

static void refuse_instruction(machine *m, uint8_t op)
{
    m->err = hyv_log_error(m->log, -ENOTSUP,
                           "%s: its pickle has instruction 0x%02x at its byte %zu, which no file "
                           "of plain tensors needs; nothing of it was run",
                           m->path, op, m->op_at);
}

/* Until the end mark, whose value is the root. */
static void run(machine *m)
{
    const uint8_t first = *take(m, 1);
    const uint64_t protocol = number(m, 1);
    if (!m->err && (first != 0x80 || protocol < PROTOCOL_MIN || protocol > PROTOCOL_MAX))
        fail(m, "it does not begin with a protocol from 2 to 5");
    while (!m->err) {
        m->op_at = m->at;
        const uint8_t op = *take(m, 1);
        if (m->err)
            return;
        if (op == '.') {
            m->p->root = pop(m);
            return;
        }
        if (op == 'c')
            step_symbol(m);
        else if (op == 0x95)
            take(m, 8); /* the length of a frame: of no use here */
        else if (!step_value(m, op) && !step_stack(m, op))
            refuse_instruction(m, op);
    }
}

int hyv_pickle_read(hyv_pickle *p, const uint8_t *data, size_t size, const char *const *symbols,
                    const char *path, hyv_log *log)
{
    machine m = {.p = p, .data = data, .size = size, .symbols = symbols, .path = path, .log = log};
    *p = (hyv_pickle){0};
    push_kind(&m, HYV_PICKLE_NONE); /* values[0] */
    append(&m, 0, 0);               /* cells[0] */
    m.depth = 0;
    if (!m.err)
        p->values[0] = (hyv_pickle_value){0};
    run(&m);
    hyv_free_host(m.stack);
    hyv_free_host(m.memo);
    if (m.err)
        hyv_pickle_close(p);
    return m.err;
}

void hyv_pickle_close(hyv_pickle *p)
{
    hyv_free_host(p->values);
    hyv_free_host(p->cells);
    *p = (hyv_pickle){0};
}

/* ---- walking --------------------------------------------------------------------------------- */

const hyv_pickle_value *hyv_pickle_root(const hyv_pickle *p)
{
    return &p->values[p->root];
}

const hyv_pickle_value *hyv_pickle_next(const hyv_pickle *p, uint32_t *cell)
{
    if (!*cell)
        return NULL;
    const hyv_pickle_cell c = p->cells[*cell];
    *cell = c.next;
    return &p->values[c.value];
}

void hyv_pickle_items(const hyv_pickle *p, const hyv_pickle_value *v,
                      const hyv_pickle_value **items, int most)
{
    uint32_t cell = v->first;
    for (int i = 0; i < most; i++)
        items[i] = hyv_pickle_next(p, &cell);
}

bool hyv_pickle_is(const hyv_pickle_value *v, const char *text)
{
    const size_t n = strlen(text);
    return v->kind == HYV_PICKLE_TEXT && (size_t)v->number == n && memcmp(v->text, text, n) == 0;
}
