/* The blocked driver of the packed product, and its packer for plain matrices.
 *
 * Two orders of loops. share_rows packs a part of the right operand once for all threads, which
 * then share the rows. share_cols packs rows of the left operand, and threads share the columns:
 * weights are packed by the thread that multiplies them at once, from its nearest cache. That is
 * the order for few rows (vectors, short texts); in f32 on AVX2 and AVX-512 for any number of them,
 * so many at a time that the third cache holds them, as there a second packing of weights costs
 * less than waiting for panels that another core has written. Tiles of pairs are multiplied too
 * fast for that: a task's rows have to come from the second cache. Knows no operator.
 */
#include "gemm.h"

#include <string.h>

/* ---- panels -----------------------------------------------------------------------------------
 */

void hyv_pack_mat(const void *operand, const hyv_gemm_functions *f, float *out, int width,
                  int64_t first, int n, int64_t k0, int64_t depth, float *buffer)
{
    const hyv_mat *m = operand;
    const float *rows[HYV_GEMM_NR_MAX];
    (void)buffer;
    for (int i = 0; i < n; i++)
        rows[i] = hyv_row(*m, first + i) + k0;
    f->transpose(out, width, rows, n, depth);
}

const float *hyv_gemm_wide(const hyv_gemm_functions *f, float *out, hyv_mat m, int64_t row,
                           int64_t first, int64_t count)
{
    const int64_t at = row * m.ld + first;
    if (m.type == HYV_F32)
        return (const float *)m.data + at;
    (f->wide ? f->wide : f)->decode(out, (const uint16_t *)m.data + at, HYV_BF16, count);
    return out;
}

/* Packs a stretch of f32 and narrows it, until depth k are done. */
static void pack_and_narrow(const hyv_gemm_functions *f, hyv_pack *pack, const void *operand,
                            float *out, int width, int64_t first, int n, int64_t k0, int64_t depth,
                            float *buffer)
{
    const int64_t piece = HYV_GEMM_BUFFER / HYV_GEMM_NR_MAX;
    float *wide = buffer + HYV_GEMM_BUFFER;
    for (int64_t k = 0; k < depth; k += piece) {
        const int64_t count = depth - k < piece ? depth - k : piece;
        pack(operand, f->wide ? f->wide : f, wide, width, first, n, k0 + k, count, buffer);
        f->narrow(out + k / f->fold * width, wide, width, count);
    }
}

void hyv_gemm_pack(const hyv_gemm_functions *f, hyv_pack *pack, int64_t stretch,
                   const void *operand, float *out, int width, int64_t first, int n, int64_t k0,
                   int64_t depth, float *buffer)
{
    if (!f->narrow || (f->wide && stretch % f->grain == 0))
        pack(operand, f, out, width, first, n, k0, depth, buffer);
    else
        pack_and_narrow(f, pack, operand, out, width, first, n, k0, depth, buffer);
    const int64_t there = (depth + f->fold - 1) / f->fold, all = hyv_gemm_elements(f, depth);
    memset(out + there * width, 0, (size_t)((all - there) * width) * sizeof(float));
}

/* ---- blocking ---------------------------------------------------------------------------------
 */

enum {
    TASKS_A_THREAD = 4, /* so that a disturbed thread holds up no other for long */
    FETCHED = 16        /* floats of a cache line */
};

typedef struct job {
    const hyv_gemm_call *call;
    const hyv_gemm_functions *f;
    hyv_backend *be;
    hyv_cpu *cpu;
    float *start;      /* bias of all columns, padded to whole panels */
    int64_t elements;  /* of a panel over the whole depth */
    float *packed;     /* a part of the right or of the left operand, */
    float *beside;     /* of the left one beside the right one's, or NULL */
    int64_t j0, cols;  /* of that part: columns, */
    int64_t i0, rows;  /* or rows, */
    int64_t k0, depth; /* and elements of panels */
    int64_t row_tasks, col_tasks;
} job;

/* What a thread works in. */
typedef struct space {
    float *panels; /* left ones of a task, or a right one */
    float *buffer; /* the packer's */
    float *sums;   /* tiles of a task, or one */
} space;

/* One tile and the elements of k that are added to it. */
typedef struct piece {
    int64_t i, j; /* first row and column */
    int rows;
    int64_t cols;
    int64_t k, depth;  /* elements of panels */
    const float *next; /* what may come nearer meanwhile, `pace` floats with every 16 elements, */
    int64_t pace;      /* or 0 */
} piece;

static int64_t round_up(int64_t n, int64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The first of `count` things that belongs to part `index` of `parts`. */
static int64_t part(int64_t index, int64_t count, int64_t parts)
{
    return index * count / parts;
}

/* Elements [e0, e0 + count) of a panel of either operand. */
static void pack_left(const job *g, float *out, int64_t first, int64_t n, int64_t e0, int64_t count,
                      float *buffer)
{
    const hyv_gemm_call *c = g->call;
    const int64_t k0 = e0 * g->f->fold, depth = least(count * g->f->fold, c->depth - k0);
    hyv_gemm_pack(hyv_gemm_left(g->f), c->pack_left, c->stretch, c->left, out, g->f->mr, first,
                  (int)n, k0, depth, buffer);
}

static void pack_right(const job *g, float *out, int64_t first, int64_t n, int64_t e0,
                       int64_t count, float *buffer)
{
    const hyv_gemm_call *c = g->call;
    const int64_t k0 = e0 * g->f->fold, depth = least(count * g->f->fold, c->depth - k0);
    if (c->rounded && g->f->fold == 1) {
        c->pack_right(c->right, g->f, out, g->f->nr, first, (int)n, k0, depth, buffer);
        return;
    }
    hyv_gemm_pack(g->f, c->pack_right, c->stretch, c->right, out, g->f->nr, first, (int)n, k0,
                  depth, buffer);
}

/* Which order of loops: the left operand then comes from the third cache, and without by_cols
 * columns must be enough for all threads. */
static bool is_shared_by_cols(const hyv_gemm_functions *f, int64_t rows, int64_t cols,
                              int64_t depth)
{
    const bool some =
        rows <= HYV_GEMM_SOME_ROWS && (rows + HYV_GEMM_MR_MAX) * depth <= HYV_GEMM_PASS;
    return f->by_cols || rows <= HYV_GEMM_FEW_ROWS || (some && cols >= HYV_GEMM_MANY_COLS);
}

/* Columns packed at once: whole panels, as many as the memory for them holds. */
static int64_t pass_cols(int64_t cols, int64_t depth)
{
    const int64_t room = HYV_GEMM_PASS / least(depth, HYV_GEMM_DEPTH_PASS);
    const int64_t most = room / HYV_GEMM_NR_MAX * HYV_GEMM_NR_MAX;
    const int64_t passes = (cols + most - 1) / most;
    return round_up((cols + passes - 1) / passes, HYV_GEMM_NR_MAX);
}

/* Tasks that share the columns, so many that none has too many sums; a task has `tall` panels of
 * rows. */
static int64_t column_tasks(const hyv_gemm_functions *f, int64_t tall, int64_t cols)
{
    const int64_t room = HYV_GEMM_SUMS / (tall * f->mr * f->nr), wide = (cols + f->nr - 1) / f->nr;
    return (wide + room - 1) / room;
}

/* Elements packed at once where threads share rows. The left operand is packed beside the right one
 * where tasks would otherwise pack the same rows several times, and where so much of it fits. */
static int64_t pass_depth(const hyv_gemm_functions *f, int64_t rows, int64_t cols, int64_t depth,
                          bool *beside)
{
    const int64_t tall = (least(rows, f->rows) + f->mr - 1) / f->mr,
                  across = pass_cols(cols, depth);
    const int64_t fitting = f->chunk / round_up(rows, f->mr) / f->depth * f->depth;
    const int64_t most = least(depth, HYV_GEMM_DEPTH_PASS);
    *beside = (across < cols || column_tasks(f, tall, across) > 1) &&
              fitting >= least(depth, HYV_GEMM_BESIDE_DEPTH);
    if (!*beside || fitting >= most)
        return most;
    const int64_t passes = (depth + fitting - 1) / fitting;
    return round_up((depth + passes - 1) / passes, f->depth);
}

/* Rows of the left operand packed at once: more of them where they are short. */
static int64_t chunk_rows(const hyv_gemm_functions *f, int64_t rows, int64_t depth)
{
    const int64_t fitting = least(f->chunk / depth, HYV_GEMM_SHORT_ROWS);
    const int64_t wanted = f->chunk / HYV_GEMM_CHUNK_DEPTH;
    const int64_t most = fitting > wanted ? fitting : wanted;
    const int64_t chunks = f->by_cols ? (rows + most - 1) / most : 1;
    return round_up((rows + chunks - 1) / chunks, f->mr);
}

/* Elements of them: whole blocks, as many as the memory for them holds. */
static int64_t chunk_depth(const hyv_gemm_functions *f, int64_t rows, int64_t depth)
{
    const int64_t blocks = f->chunk / (chunk_rows(f, rows, depth) * f->depth);
    const int64_t most = blocks > 1 ? blocks * f->depth : f->depth;
    const int64_t passes = f->by_cols ? (depth + most - 1) / most : 1;
    return least(round_up((depth + passes - 1) / passes, f->depth), depth);
}

/* Room for the left panels of a task, or for a right one. Here and below `depth` counts elements of
 * panels. */
static size_t panels_floats(const hyv_gemm_functions *f, int64_t rows, int64_t cols, int64_t depth)
{
    const bool right = is_shared_by_cols(f, rows, cols, depth);
    const int64_t left = right ? 0 : least(rows, f->rows) + HYV_GEMM_MR_MAX;
    return (size_t)((left > HYV_GEMM_NR_MAX ? left : HYV_GEMM_NR_MAX) *
                    least(depth, HYV_GEMM_DEPTH));
}

/* Room for the tiles of a panel of columns, of a task (plan_tasks), or for one. */
static size_t sums_floats(const hyv_gemm_functions *f, int64_t rows, int64_t cols, int64_t depth)
{
    if (is_shared_by_cols(f, rows, cols, depth))
        return (size_t)(chunk_rows(f, rows, depth) * f->nr);
    if (depth <= f->depth)
        return HYV_GEMM_MR_MAX * HYV_GEMM_NR_MAX;
    return (size_t)least((rows + HYV_GEMM_MR_MAX) * pass_cols(cols, depth), HYV_GEMM_SUMS);
}

static size_t thread_floats(const hyv_gemm_functions *f, int64_t rows, int64_t cols, int64_t depth)
{
    return panels_floats(f, rows, cols, depth) + HYV_GEMM_BUFFERS +
           sums_floats(f, rows, cols, depth);
}

static space thread_space(const job *g, int thread)
{
    float *base = (float *)(void *)g->cpu->scratch[thread].data;
    float *buffer = base + panels_floats(g->f, g->call->rows, g->call->cols, g->elements);
    return (space){base, buffer, buffer + HYV_GEMM_BUFFERS};
}

static void pack_right_panel(void *arg, int64_t index, int thread)
{
    const job *g = arg;
    const int nr = g->f->nr;
    const int64_t first = g->j0 + index * nr;
    pack_right(g, g->packed + index * nr * g->depth, first, least(nr, g->j0 + g->cols - first),
               g->k0, g->depth, thread_space(g, thread).buffer);
}

static float *row_of(const hyv_gemm_call *c, int64_t row)
{
    return c->place ? c->place(c->left, c->y, row) : hyv_row(c->y, row);
}

static void run_kernel(const hyv_gemm_functions *f, const piece *p, const float *a, const float *b,
                       float *c, int64_t ldc, const float *start)
{
    if (f->kernel_fetching && p->pace)
        f->kernel_fetching(p->rows, p->depth, a, b, c, ldc, start, p->next, p->pace);
    else
        f->kernel(p->rows, p->depth, a, b, c, ldc, start);
}

/* Multiplies two panels. Between the first and the last block of k the sums are in `tile` [mr, nr],
 * beside those of the tile that comes next: rows of y may lie whole pages apart, and lines of one
 * place in different pages push each other out of the first cache. */
static void multiply_tile(const job *g, const piece *p, const float *a, const float *b, float *tile)
{
    const hyv_gemm_call *c = g->call;
    const int nr = g->f->nr;
    const float *start = p->k == 0 ? g->start + p->j : NULL;
    const bool first = p->k == g->k0, last = p->k + p->depth == g->k0 + g->depth;
    const size_t bytes = (size_t)p->cols * sizeof(float);
    if (first && last && p->cols == nr && !c->place) {
        run_kernel(g->f, p, a, b, hyv_row(c->y, p->i) + p->j, c->y.ld, start);
        return;
    }
    for (int i = 0; i < p->rows && first && !start; i++)
        memcpy(tile + i * nr, row_of(c, p->i + i) + p->j, bytes);
    for (int i = 0; i < p->rows && last; i++) { /* no cache near has these lines */
        const float *to = row_of(c, p->i + i) + p->j;
        __builtin_prefetch(to, 1);
        __builtin_prefetch(to + FETCHED, 1);
    }
    run_kernel(g->f, p, a, b, tile, nr, start);
    for (int i = 0; i < p->rows && last; i++)
        memcpy(row_of(c, p->i + i) + p->j, tile + i * nr, bytes);
}

/* Sums that are complete become results. */
static void finish_rows(const job *g, int64_t first, int64_t end, int64_t col, int64_t cols)
{
    const hyv_gemm_call *c = g->call;
    for (int64_t i = first; i < end && c->finish && g->k0 + g->depth == g->elements; i++)
        c->finish(c->left, row_of(c, i) + col, i, col, cols);
}

/* Asks for part `index` of `parts` of the panel that comes next, or has the kernel ask for it:
 * until the rows of a task have passed it comes from the third cache, far too late. */
static void fetch_part(const hyv_gemm_functions *f, piece *p, const float *panel, int64_t index,
                       int64_t parts)
{
    const int64_t floats = f->nr * p->depth, steps = (p->depth + FETCHED - 1) / FETCHED;
    if (f->kernel_fetching) {
        p->pace = round_up((f->nr * FETCHED + parts - 1) / parts, FETCHED);
        p->next = panel + index * steps * p->pace;
        p->pace = p->next < panel + floats ? p->pace : 0;
        return;
    }
    for (int64_t i = part(index, floats, parts); i < part(index + 1, floats, parts); i += FETCHED)
        __builtin_prefetch(panel + i, 0, 2);
}

/* A block of k of the left panel of row i; that of the next rows follows, so that a kernel that
 * fetches ahead fetches what comes next. */
static float *packed_left(const job *g, int64_t i, int64_t k, int64_t depth)
{
    float *all = g->beside ? g->beside : g->packed;
    return all + k * round_up(g->rows, g->f->mr) + i * depth;
}

static void pack_left_panel(void *arg, int64_t index, int thread)
{
    const job *g = arg;
    const int64_t i = index * g->f->mr, rows = least(g->f->mr, g->rows - i);
    for (int64_t k = 0; k < g->depth; k += g->f->depth) {
        const int64_t depth = least(g->f->depth, g->depth - k);
        pack_left(g, packed_left(g, i, k, depth), g->i0 + i, rows, g->k0 + k, depth,
                  thread_space(g, thread).buffer);
    }
}

/* Rows [i0, i1) times columns [j0, j1) of the packed part, one block of k after the other. */
static void multiply_block(void *arg, int64_t index, int thread)
{
    const job *g = arg;
    const hyv_gemm_call *c = g->call;
    const space s = thread_space(g, thread);
    const int mr = g->f->mr, nr = g->f->nr;
    const int64_t row = index / g->col_tasks, col = index % g->col_tasks;
    const int64_t row_panels = round_up(c->rows, mr) / mr, col_panels = round_up(g->cols, nr) / nr;
    const int64_t i0 = part(row, row_panels, g->row_tasks) * mr;
    const int64_t i1 = least(c->rows, part(row + 1, row_panels, g->row_tasks) * mr);
    const int64_t j0 = part(col, col_panels, g->col_tasks) * nr;
    const int64_t j1 = least(g->cols, part(col + 1, col_panels, g->col_tasks) * nr);
    const int64_t panels = (i1 - i0 + mr - 1) / mr;
    hyv_gemm_begin(g->f);
    for (int64_t k = 0; k < g->depth && !hyv_pool_stopped(g->be, thread); k += g->f->depth) {
        const int64_t depth = least(g->f->depth, g->depth - k);
        const float *left = g->beside ? packed_left(g, i0, k, depth) : s.panels;
        for (int64_t i = i0; i < i1 && !g->beside; i += mr)
            pack_left(g, s.panels + (i - i0) * depth, i, least(mr, i1 - i), g->k0 + k, depth,
                      s.buffer);
        float *tile = s.sums;
        const int64_t next = depth < g->depth ? mr * nr : 0;
        for (int64_t j = j0; j < j1; j += nr) {
            const float *right = g->packed + j * g->depth + k * nr;
            for (int64_t i = i0; i < i1; i += mr, tile += next) {
                piece p = {.i = i,
                           .j = g->j0 + j,
                           .rows = (int)least(mr, i1 - i),
                           .cols = least(nr, j1 - j),
                           .k = g->k0 + k,
                           .depth = depth};
                if (j + nr < j1)
                    fetch_part(g->f, &p, right + nr * g->depth, (i - i0) / mr, panels);
                multiply_tile(g, &p, left + (i - i0) * depth, right, tile);
            }
        }
    }
    hyv_gemm_end(g->f);
    finish_rows(g, i0, i1, g->j0 + j0, j1 - j0);
}

/* Rows a task: its block of the left operand shares the second cache with a right panel. */
static int64_t block_rows(const hyv_cpu *cpu, const hyv_gemm_functions *f)
{
    const int64_t rows = (int64_t)(cpu->cache_bytes / 2 / ((size_t)f->depth * sizeof(float)));
    return rows < HYV_GEMM_ROWS / 4 ? HYV_GEMM_ROWS / 4 : least(rows, f->rows);
}

/* Shares the rows out; the columns too where there are not enough rows, where a task wants more of
 * them because tiles are multiplied faster than right panels come, or where its sums would be too
 * many. */
static void plan_tasks(job *g, int64_t cols)
{
    const int mr = g->f->mr;
    const int64_t panels = round_up(g->call->rows, mr) / mr, most = block_rows(g->cpu, g->f) / mr;
    const int64_t threads = g->cpu->threads, wanted = threads * TASKS_A_THREAD;
    const int64_t needed = round_up((panels + most - 1) / most, threads);
    const bool more = needed > wanted || g->f->unit > 1;
    g->row_tasks = least(panels, more ? needed : wanted);
    const int64_t tall = (panels + g->row_tasks - 1) / g->row_tasks;
    const int64_t enough = (wanted + g->row_tasks - 1) / g->row_tasks;
    const int64_t fitting = column_tasks(g->f, tall, cols);
    g->col_tasks = enough > fitting ? enough : fitting;
}

static void share_rows(hyv_backend *be, job *g)
{
    const hyv_gemm_call *c = g->call;
    bool beside;
    const int64_t cols = pass_cols(c->cols, g->elements);
    const int64_t depth = pass_depth(g->f, c->rows, c->cols, g->elements, &beside);
    plan_tasks(g, cols);
    g->rows = c->rows;
    g->beside = beside ? g->packed + cols * depth : NULL;
    for (g->k0 = 0; g->k0 < g->elements; g->k0 += depth) {
        g->depth = least(depth, g->elements - g->k0);
        if (beside)
            hyv_pool_run(be, round_up(g->rows, g->f->mr) / g->f->mr, pack_left_panel, g);
        for (g->j0 = 0; g->j0 < c->cols && !be->err; g->j0 += cols) {
            g->cols = least(cols, c->cols - g->j0);
            hyv_pool_run(be, round_up(g->cols, g->f->nr) / g->f->nr, pack_right_panel, g);
            hyv_pool_run(be, g->row_tasks * g->col_tasks, multiply_block, g);
        }
    }
}

/* One panel of columns for the packed rows, or for a part of them. */
static void multiply_panel(void *arg, int64_t index, int thread)
{
    const job *g = arg;
    const hyv_gemm_call *c = g->call;
    const space s = thread_space(g, thread);
    const int mr = g->f->mr, nr = g->f->nr;
    const int64_t j = index / g->row_tasks * nr, cols = least(nr, c->cols - j);
    const int64_t row = index % g->row_tasks, panels = round_up(g->rows, mr) / mr;
    const int64_t i0 = part(row, panels, g->row_tasks) * mr;
    const int64_t i1 = least(g->rows, part(row + 1, panels, g->row_tasks) * mr);
    hyv_gemm_begin(g->f);
    for (int64_t k = 0; k < g->depth && !hyv_pool_stopped(g->be, thread); k += g->f->depth) {
        const int64_t depth = least(g->f->depth, g->depth - k);
        const float *left = packed_left(g, i0, k, depth);
        pack_right(g, s.panels, j, cols, g->k0 + k, depth, s.buffer);
        for (int64_t i = i0; i < i1; i += mr) {
            const piece p = {.i = g->i0 + i,
                             .j = j,
                             .rows = (int)least(mr, i1 - i),
                             .cols = cols,
                             .k = g->k0 + k,
                             .depth = depth};
            multiply_tile(g, &p, left + (i - i0) * depth, s.panels, s.sums + (i - i0) * nr);
        }
    }
    hyv_gemm_end(g->f);
    finish_rows(g, g->i0 + i0, g->i0 + i1, j, cols);
}

static void share_cols(hyv_backend *be, job *g)
{
    const hyv_gemm_call *c = g->call;
    const int64_t rows = chunk_rows(g->f, c->rows, g->elements),
                  depth = chunk_depth(g->f, c->rows, g->elements);
    const int64_t across = round_up(c->cols, g->f->nr) / g->f->nr;
    const int64_t wanted = g->cpu->threads * TASKS_A_THREAD;
    for (g->i0 = 0; g->i0 < c->rows; g->i0 += rows) {
        g->rows = least(rows, c->rows - g->i0);
        const int64_t down = round_up(g->rows, g->f->mr) / g->f->mr;
        g->row_tasks = c->once ? 1 : least((wanted + across - 1) / across, down);
        for (g->k0 = 0; g->k0 < g->elements && !be->err; g->k0 += depth) {
            g->depth = least(depth, g->elements - g->k0);
            hyv_pool_run(be, down, pack_left_panel, g);
            hyv_pool_run(be, across * g->row_tasks, multiply_panel, g);
        }
    }
}

/* Floats of the shared memory: bias and what `packed` holds. */
static size_t shared_floats(const hyv_gemm_functions *f, int64_t rows, int64_t cols, int64_t depth)
{
    const int64_t bias = round_up(cols, HYV_GEMM_NR_MAX);
    if (is_shared_by_cols(f, rows, cols, depth))
        return (size_t)(bias + chunk_rows(f, rows, depth) * chunk_depth(f, rows, depth));
    bool beside;
    const int64_t deep = pass_depth(f, rows, cols, depth, &beside);
    const int64_t left = beside ? round_up(rows, f->mr) : 0;
    return (size_t)(bias + (pass_cols(cols, depth) + left) * deep);
}

size_t hyv_gemm_scratch(const hyv_gemm_functions *f, int64_t rows, int64_t cols, int64_t depth,
                        int threads)
{
    const int64_t elements = hyv_gemm_elements(f, depth);
    return (shared_floats(f, rows, cols, elements) +
            (size_t)threads * thread_floats(f, rows, cols, elements)) *
           sizeof(float);
}

void hyv_gemm(hyv_backend *be, const hyv_gemm_call *call)
{
    hyv_cpu *cpu = hyv_cpu_of(be);
    const hyv_gemm_functions *f = call->functions ? call->functions : cpu->gemm;
    const int64_t elements = hyv_gemm_elements(f, call->depth);
    const size_t bytes = shared_floats(f, call->rows, call->cols, elements) * sizeof(float);
    float *shared = call->memory ? call->memory : hyv_cpu_shared(be, bytes);
    const size_t thread_bytes = thread_floats(f, call->rows, call->cols, elements) * sizeof(float);
    if (!shared || !hyv_cpu_scratch_all(be, thread_bytes))
        return;
    const int64_t padded = round_up(call->cols, HYV_GEMM_NR_MAX);
    job g = {.call = call,
             .f = f,
             .be = be,
             .cpu = cpu,
             .start = shared,
             .elements = elements,
             .packed = shared + padded};
    memset(shared, 0, (size_t)padded * sizeof(float));
    if (call->bias)
        memcpy(shared, call->bias, (size_t)call->cols * sizeof(float));
    if (is_shared_by_cols(f, call->rows, call->cols, elements))
        share_cols(be, &g);
    else
        share_rows(be, &g);
}
