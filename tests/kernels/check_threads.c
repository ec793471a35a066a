/* The thread pool: each index once, on a thread that exists, in any number; stopping; sleeping. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "../../kernels/cpu/cpu.h"
#include "../check.h"

enum { TASKS = 5000 };

typedef struct count {
    hyv_backend *be;
    atomic_int times[TASKS];
    atomic_int wrong_thread;
    int threads;
    atomic_int busy[HYV_THREADS_MAX_CPU];
    int stop_at; /* index whose task stops the run, or -1 */
    atomic_int done;
} count;

static void task(void *arg, int64_t index, int thread)
{
    count *c = arg;
    if (thread < 0 || thread >= c->threads || atomic_fetch_add(&c->busy[thread], 1) != 0)
        atomic_fetch_add(&c->wrong_thread, 1); /* no such thread, or two at once on one */
    else
        atomic_fetch_sub(&c->busy[thread], 1);
    atomic_fetch_add(&c->times[index], 1);
    atomic_fetch_add(&c->done, 1);
    if (index == c->stop_at)
        hyv_backend_stop(c->be);
}

static hyv_backend *open_cpu(int threads)
{
    const hyv_backend_config config = {.threads = threads, .isa = "c"};
    hyv_backend *be = NULL;
    CHECK(hyv_backend_open(&be, "cpu", &config) == 0);
    return be;
}

static void test_each_once(int threads)
{
    static const int64_t tasks[] = {0, 1, 2, 3, 7, 100, TASKS};
    hyv_backend *be = open_cpu(threads);
    for (size_t i = 0; be && i < sizeof(tasks) / sizeof(tasks[0]); i++) {
        count *c = calloc(1, sizeof(*c));
        if (!c)
            exit(2);
        c->be = be;
        c->threads = hyv_cpu_of(be)->threads;
        c->stop_at = -1;
        hyv_pool_run(be, tasks[i], task, c);
        int bad = 0;
        for (int64_t k = 0; k < TASKS; k++)
            bad += atomic_load(&c->times[k]) != (k < tasks[i]);
        CHECK_MSG(bad == 0, "%d threads, %lld tasks: %d not run once", threads, (long long)tasks[i],
                  bad);
        CHECK(atomic_load(&c->wrong_thread) == 0);
        CHECK(hyv_backend_error(be) == 0);
        free(c);
    }
    hyv_backend_close(&be);
}

/* Many short calls in a row, as a model makes them. */
static void test_many_calls(int threads)
{
    hyv_backend *be = open_cpu(threads);
    count *c = calloc(1, sizeof(*c));
    if (!c)
        exit(2);
    c->be = be;
    c->threads = hyv_cpu_of(be)->threads;
    c->stop_at = -1;
    for (int i = 0; i < 2000; i++)
        hyv_pool_run(be, 5, task, c);
    for (int i = 0; i < 5; i++)
        CHECK(atomic_load(&c->times[i]) == 2000);
    CHECK(atomic_load(&c->wrong_thread) == 0);
    free(c);
    hyv_backend_close(&be);
}

static void test_stop(int threads)
{
    hyv_backend *be = open_cpu(threads);
    count *c = calloc(1, sizeof(*c));
    if (!c)
        exit(2);
    c->be = be;
    c->threads = hyv_cpu_of(be)->threads;
    c->stop_at = 10;
    hyv_pool_run(be, TASKS, task, c);
    CHECK_MSG(atomic_load(&c->done) < TASKS, "%d threads: a stop ran all tasks", threads);
    CHECK(hyv_backend_error(be) == -ECANCELED);
    hyv_backend_reset(be);
    CHECK(hyv_backend_error(be) == 0 && !hyv_stopped(be));
    const int before = atomic_load(&c->done);
    c->stop_at = -1;
    hyv_pool_run(be, 100, task, c);
    CHECK(atomic_load(&c->done) == before + 100);
    free(c);
    hyv_backend_close(&be);
}

/* Waiting workers take no processor time. */
static void test_idle(void)
{
    hyv_backend *be = open_cpu(7);
    count *c = calloc(1, sizeof(*c));
    if (!c)
        exit(2);
    c->be = be;
    c->threads = hyv_cpu_of(be)->threads;
    c->stop_at = -1;
    hyv_pool_run(be, 100, task, c);
    const clock_t before = clock();
    const struct timespec pause = {0, 200000000};
    nanosleep(&pause, NULL);
    const double used = (double)(clock() - before) / CLOCKS_PER_SEC;
    CHECK_MSG(used < 0.1, "%.3f s of processor time in 0.2 s of waiting", used);
    free(c);
    hyv_backend_close(&be);
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif

/* No room for 64 stacks: fewer threads, but the same work. */
static void test_few_threads(void)
{
#ifdef SANITIZED
    check_skip("threads that cannot be created (a sanitizer needs the address space)");
#else
    struct rlimit before, tight;
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    const bool known = f && fscanf(f, "%ld", &pages) == 1;
    if (f)
        fclose(f);
    if (!known || getrlimit(RLIMIT_AS, &before) != 0) {
        check_skip("threads that cannot be created (size of the process unknown)");
        return;
    }
    tight = before;
    tight.rlim_cur = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + ((rlim_t)100 << 20);
    CHECK(setrlimit(RLIMIT_AS, &tight) == 0);
    hyv_backend *be = open_cpu(64);
    CHECK(setrlimit(RLIMIT_AS, &before) == 0);
    const int threads = be ? hyv_cpu_of(be)->threads : 0;
    CHECK_MSG(threads >= 1 && threads < 64, "%d threads", threads);
    hyv_backend_close(&be);
#endif
}

int main(void)
{
    static const int threads[] = {1, 2, 3, 7, 64};
    for (size_t i = 0; i < sizeof(threads) / sizeof(threads[0]); i++) {
        test_each_once(threads[i]);
        if (threads[i] <= 7)
            test_many_calls(threads[i]);
        test_stop(threads[i]);
    }
    test_idle();
    test_few_threads();
    CHECK(hyv_pool_processors() >= 1 && hyv_pool_processors() <= HYV_THREADS_MAX_CPU);
    hyv_backend *be = open_cpu(0);
    CHECK(be && hyv_cpu_of(be)->threads == hyv_pool_processors());
    hyv_backend_close(&be);
    be = open_cpu(100000);
    CHECK(be && hyv_cpu_of(be)->threads <= HYV_THREADS_MAX_CPU);
    hyv_backend_close(&be);
    return check_done();
}
