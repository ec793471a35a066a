/* The blocked driver of the packed product, and its packer for plain matrices.
 *
 * Two orders of loops: many rows pack a part of the right operand once for all threads, which then
 * share the rows; few rows (vectors, short texts) pack the left operand and share the columns, so
 * that weights are read once, by the thread that multiplies them. Knows no operator.
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

void hyv_gemm_panels(const hyv_gemm_functions *f, int rows, int64_t cols, int64_t depth,
                     const float *a, const float *b, int64_t panel, float *c, int64_t ldc,
                     const float *start, float *edge)
{
    int64_t j = 0;
    for (; j + f->nr <= cols; j += f->nr, b += panel)
        f->kernel(rows, depth, a, b, c + j, ldc, start ? start + j : NULL);
    if (j == cols)
        return;
    const size_t bytes = (size_t)(cols - j) * sizeof(float);
    for (int i = 0; i < rows && !start; i++)
        memcpy(edge + i * f->nr, c + i * ldc + j, bytes);
    f->kernel(rows, depth, a, b, edge, f->nr, start ? start + j : NULL);
    for (int i = 0; i < rows; i++)
        memcpy(c + i * ldc + j, edge + i * f->nr, bytes);
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
    float *packed;     /* a part of the right operand (many rows), or all of the left */
    int64_t j0, cols;  /* of that part: columns, */
    int64_t k0, depth; /* and elements of panels */
    int64_t row_tasks, col_tasks;
} job;

/* What a thread works in. */
typedef struct space {
    float *panels; /* left ones of a task, or a right one */
    float *buffer; /* the packer's */
    float *edge;   /* a tile at the right edge */
} space;

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
    hyv_gemm_pack(g->f, c->pack_right, c->stretch, c->right, out, g->f->nr, first, (int)n, k0,
                  depth, buffer);
}

/* Room for the left panels of a task, or for a right one. Here and below `depth` counts elements of
 * panels. */
static size_t panels_floats(const hyv_gemm_functions *f, int64_t rows, int64_t depth)
{
    const int64_t left = least(rows, f->rows) + HYV_GEMM_MR_MAX;
    return (size_t)((left > HYV_GEMM_NR_MAX ? left : HYV_GEMM_NR_MAX) *
                    least(depth, HYV_GEMM_DEPTH));
}

static size_t thread_floats(const hyv_gemm_functions *f, int64_t rows, int64_t depth)
{
    return panels_floats(f, rows, depth) + HYV_GEMM_BUFFERS + HYV_GEMM_MR_MAX * HYV_GEMM_NR_MAX;
}

static space thread_space(const job *g, int thread)
{
    float *base = (float *)(void *)g->cpu->scratch[thread].data;
    float *buffer = base + panels_floats(g->f, g->call->rows, g->elements);
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

/* Like hyv_gemm_panels for at most one panel of columns whose rows lie at row[i] + j. */
static void multiply_placed(const hyv_gemm_functions *f, int rows, int64_t cols, int64_t depth,
                            const float *a, const float *b, float *const *row, int64_t j,
                            const float *start, float *edge)
{
    const size_t bytes = (size_t)cols * sizeof(float);
    for (int i = 0; i < rows && !start; i++)
        memcpy(edge + i * f->nr, row[i] + j, bytes);
    f->kernel(rows, depth, a, b, edge, f->nr, start);
    for (int i = 0; i < rows; i++)
        memcpy(row[i] + j, edge + i * f->nr, bytes);
}

/* Asks for part `index` of `parts` of the panel that comes next: until the rows of a task have
 * passed it comes from the third cache, far too late. */
static void fetch_part(const float *panel, int64_t floats, int64_t index, int64_t parts)
{
    for (int64_t i = part(index, floats, parts); i < part(index + 1, floats, parts); i += FETCHED)
        __builtin_prefetch(panel + i, 0, 2);
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
    float *placed[HYV_GEMM_ROWS_MAX + HYV_GEMM_MR_MAX];
    for (int64_t i = i0; i < i1; i++)
        placed[i - i0] = c->place ? c->place(c->left, c->y, i) : hyv_row(c->y, i);
    hyv_gemm_begin(g->f);
    for (int64_t k = 0; k < g->depth && !hyv_pool_stopped(g->be, thread); k += g->f->depth) {
        const int64_t depth = least(g->f->depth, g->depth - k);
        for (int64_t i = i0; i < i1; i += mr)
            pack_left(g, s.panels + (i - i0) * depth, i, least(mr, i1 - i), g->k0 + k, depth,
                      s.buffer);
        for (int64_t j = j0; j < j1; j += nr) {
            const float *start = g->k0 + k == 0 ? g->start + g->j0 + j : NULL;
            const float *right = g->packed + j * g->depth + k * nr;
            for (int64_t i = i0; i < i1; i += mr) {
                const float *left = s.panels + (i - i0) * depth;
                const int rows = (int)least(mr, i1 - i);
                const int64_t cols = least(nr, j1 - j);
                if (j + nr < j1)
                    fetch_part(right + nr * g->depth, nr * depth, (i - i0) / mr, panels);
                if (c->place)
                    multiply_placed(g->f, rows, cols, depth, left, right, placed + (i - i0),
                                    g->j0 + j, start, s.edge);
                else
                    hyv_gemm_panels(g->f, rows, cols, depth, left, right, 0,
                                    placed[i - i0] + g->j0 + j, c->y.ld, start, s.edge);
            }
        }
    }
    hyv_gemm_end(g->f);
    for (int64_t i = i0; i < i1 && c->finish && g->k0 + g->depth == g->elements; i++)
        c->finish(c->left, placed[i - i0] + g->j0 + j0, i, g->j0 + j0, j1 - j0);
}

/* Rows a task: its block of the left operand shares the second cache with a right panel. */
static int64_t block_rows(const hyv_cpu *cpu, const hyv_gemm_functions *f)
{
    const int64_t rows = (int64_t)(cpu->cache_bytes / 2 / ((size_t)f->depth * sizeof(float)));
    return rows < HYV_GEMM_ROWS / 4 ? HYV_GEMM_ROWS / 4 : least(rows, f->rows);
}

/* Shares the rows out; the columns too where there are not enough rows, or where a task wants more
 * of them because tiles are multiplied faster than right panels come. */
static void plan_tasks(job *g)
{
    const int mr = g->f->mr;
    const int64_t panels = round_up(g->call->rows, mr) / mr, most = block_rows(g->cpu, g->f) / mr;
    const int64_t threads = g->cpu->threads, wanted = threads * TASKS_A_THREAD;
    const int64_t needed = round_up((panels + most - 1) / most, threads);
    const bool more = needed > wanted || g->f->unit > 1;
    g->row_tasks = least(panels, more ? needed : wanted);
    g->col_tasks = (wanted + g->row_tasks - 1) / g->row_tasks;
}

/* Columns packed at once: whole panels, as many as the memory for them holds. */
static int64_t pass_cols(int64_t cols, int64_t depth)
{
    const int64_t room = HYV_GEMM_PASS / least(depth, HYV_GEMM_DEPTH_PASS);
    const int64_t most = room / HYV_GEMM_NR_MAX * HYV_GEMM_NR_MAX;
    const int64_t passes = (cols + most - 1) / most;
    return round_up((cols + passes - 1) / passes, HYV_GEMM_NR_MAX);
}

static void many_rows(hyv_backend *be, job *g)
{
    const hyv_gemm_call *c = g->call;
    const int64_t cols = pass_cols(c->cols, g->elements);
    plan_tasks(g);
    for (g->j0 = 0; g->j0 < c->cols; g->j0 += cols) {
        g->cols = least(cols, c->cols - g->j0);
        for (g->k0 = 0; g->k0 < g->elements && !be->err; g->k0 += HYV_GEMM_DEPTH_PASS) {
            g->depth = least(HYV_GEMM_DEPTH_PASS, g->elements - g->k0);
            hyv_pool_run(be, round_up(g->cols, g->f->nr) / g->f->nr, pack_right_panel, g);
            hyv_pool_run(be, g->row_tasks * g->col_tasks, multiply_block, g);
        }
    }
}

/* One panel of columns for all (few) rows, whose operand is packed whole. */
static void multiply_panel(void *arg, int64_t index, int thread)
{
    const job *g = arg;
    const hyv_gemm_call *c = g->call;
    const space s = thread_space(g, thread);
    const int mr = g->f->mr, nr = g->f->nr;
    const int64_t j = index * nr, cols = least(nr, c->cols - j);
    hyv_gemm_begin(g->f);
    for (int64_t k = 0; k < g->elements; k += g->f->depth) {
        const int64_t depth = least(g->f->depth, g->elements - k);
        pack_right(g, s.panels, j, cols, k, depth, s.buffer);
        for (int64_t i = 0; i < c->rows; i += mr) {
            const int rows = (int)least(mr, c->rows - i);
            const float *left = g->packed + i * g->elements + k * mr;
            const float *start = k == 0 ? g->start + j : NULL;
            float *placed[HYV_GEMM_MR_MAX];
            for (int r = 0; r < rows && c->place; r++)
                placed[r] = c->place(c->left, c->y, i + r);
            if (c->place)
                multiply_placed(g->f, rows, cols, depth, left, s.panels, placed, j, start, s.edge);
            else
                hyv_gemm_panels(g->f, rows, cols, depth, left, s.panels, 0, hyv_row(c->y, i) + j,
                                c->y.ld, start, s.edge);
        }
    }
    hyv_gemm_end(g->f);
    for (int64_t i = 0; i < c->rows && c->finish; i++)
        c->finish(c->left, hyv_row(c->y, i) + j, i, j, cols);
}

static void pack_left_panel(void *arg, int64_t index, int thread)
{
    const job *g = arg;
    const int64_t i = index * g->f->mr;
    pack_left(g, g->packed + i * g->elements, i, least(g->f->mr, g->call->rows - i), 0, g->elements,
              thread_space(g, thread).buffer);
}

static void few_rows(hyv_backend *be, job *g)
{
    const hyv_gemm_call *c = g->call;
    hyv_pool_run(be, round_up(c->rows, g->f->mr) / g->f->mr, pack_left_panel, g);
    hyv_pool_run(be, round_up(c->cols, g->f->nr) / g->f->nr, multiply_panel, g);
}

/* Which order of loops: a right panel that is multiplied at once stays in the second cache, but
 * the left operand comes from the third, and columns must be enough for all threads. */
static bool is_few(int64_t rows, int64_t cols, int64_t depth)
{
    const bool some =
        rows <= HYV_GEMM_SOME_ROWS && (rows + HYV_GEMM_MR_MAX) * depth <= HYV_GEMM_PASS;
    return rows <= HYV_GEMM_FEW_ROWS || (some && cols >= HYV_GEMM_MANY_COLS);
}

/* Floats of the shared memory: bias and what `packed` holds. */
static size_t shared_floats(int64_t rows, int64_t cols, int64_t depth)
{
    const int64_t bias = round_up(cols, HYV_GEMM_NR_MAX);
    const int64_t packed = is_few(rows, cols, depth)
                               ? (rows + HYV_GEMM_MR_MAX) * depth /* whole panels of any mr */
                               : pass_cols(cols, depth) * least(depth, HYV_GEMM_DEPTH_PASS);
    return (size_t)(bias + packed);
}

size_t hyv_gemm_scratch(const hyv_gemm_functions *f, int64_t rows, int64_t cols, int64_t depth,
                        int threads)
{
    const int64_t elements = hyv_gemm_elements(f, depth);
    return (shared_floats(rows, cols, elements) +
            (size_t)threads * thread_floats(f, rows, elements)) *
           sizeof(float);
}

void hyv_gemm(hyv_backend *be, const hyv_gemm_call *call)
{
    hyv_cpu *cpu = hyv_cpu_of(be);
    const hyv_gemm_functions *f = call->functions ? call->functions : cpu->gemm;
    const int64_t elements = hyv_gemm_elements(f, call->depth);
    const size_t bytes = shared_floats(call->rows, call->cols, elements) * sizeof(float);
    char *memory = hyv_cpu_scratch(be, &cpu->shared, call->reserved + bytes);
    const size_t thread_bytes = thread_floats(f, call->rows, elements) * sizeof(float);
    if (!memory || !hyv_cpu_scratch_all(be, thread_bytes))
        return;
    float *shared = (float *)(void *)(memory + call->reserved);
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
    if (is_few(call->rows, call->cols, elements))
        few_rows(be, &g);
    else
        many_rows(be, &g);
}
