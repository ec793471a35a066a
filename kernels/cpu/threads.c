/* A fork-join pool: one caller hands out indices, all threads take them, the caller waits for the
 * last.
 *
 * Between calls workers look for the next one for some microseconds, because a network is many
 * short operators and waking a thread may take longer than one of them; then they sleep on a
 * condition variable. So does the caller who waits for the last of them. Which thread runs which
 * index is left to chance; results do not depend on it, because tasks write disjoint outputs and
 * never share a sum. Knows no operator.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cpu.h"

enum { LOOKS = 4000 }; /* before a thread sleeps: 50 to 200 us */

struct hyv_pool {
    pthread_mutex_t lock; /* of sleeping and waking */
    pthread_cond_t begin, done;
    pthread_t thread[HYV_THREADS_MAX_CPU];
    int workers;                 /* beside the caller */
    int looks;                   /* none where threads would look in each other's time */
    _Atomic uint64_t generation; /* of the call; a worker joins each once */
    atomic_int running;          /* workers that have not finished this call */
    atomic_bool quit;
    hyv_backend *be;
    hyv_task *task;
    void *arg;
    int64_t tasks;
    _Atomic int64_t next;
    _Atomic int number; /* of the next worker to start: 1, 2, ... */
};

/* Only the caller (thread 0) asks the outside whether to go on; the others watch the flag. */
bool hyv_pool_stopped(hyv_backend *be, int thread)
{
    return thread ? atomic_load_explicit(&be->stop, memory_order_relaxed) != 0 : hyv_stopped(be);
}

static void work(hyv_pool *p, int thread)
{
    while (!hyv_pool_stopped(p->be, thread)) {
        const int64_t index = atomic_fetch_add(&p->next, 1);
        if (index >= p->tasks)
            return;
        p->task(p->arg, index, thread);
    }
}

static void pause_a_moment(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static bool called(hyv_pool *p, uint64_t seen)
{
    return atomic_load(&p->generation) != seen || atomic_load(&p->quit);
}

/* Until there is a call after `seen`. */
static void await_call(hyv_pool *p, uint64_t seen)
{
    for (int i = 0; i < p->looks && !called(p, seen); i++)
        pause_a_moment();
    if (called(p, seen))
        return;
    pthread_mutex_lock(&p->lock);
    while (!called(p, seen))
        pthread_cond_wait(&p->begin, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

/* Until all workers have finished the call. */
static void await_workers(hyv_pool *p)
{
    for (int i = 0; i < p->looks && atomic_load(&p->running) > 0; i++)
        pause_a_moment();
    if (atomic_load(&p->running) == 0)
        return;
    pthread_mutex_lock(&p->lock);
    while (atomic_load(&p->running) > 0)
        pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

static void *worker(void *opaque)
{
    hyv_pool *p = opaque;
    const int thread = atomic_fetch_add(&p->number, 1);
    for (uint64_t seen = 0;; seen++) {
        await_call(p, seen);
        if (atomic_load(&p->quit))
            return NULL;
        work(p, thread);
        if (atomic_fetch_sub(&p->running, 1) == 1) {
            pthread_mutex_lock(&p->lock); /* so that the caller sleeps already, or never will */
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->lock);
        }
    }
}

/* Quota of the control group in processors, rounded up; 0 if there is none. */
static int group_quota(void)
{
    long long quota = -1, period = 0;
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (f) {
        if (fscanf(f, "%lld %lld", &quota, &period) != 2)
            quota = -1; /* "max" */
        fclose(f);
    }
    return quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}

int hyv_pool_processors(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    const bool known = sched_getaffinity(0, sizeof(set), &set) == 0; /* false beyond 1024 of them */
    int count = known ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    const int quota = group_quota();
    if (quota > 0 && quota < count)
        count = quota;
    return count < 1 ? 1 : count;
}

int hyv_pool_open(hyv_pool **out, int *threads)
{
    hyv_pool *p = *out = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->begin, NULL);
    pthread_cond_init(&p->done, NULL);
    atomic_init(&p->number, 1);
    p->looks = *threads <= hyv_pool_processors() ? LOOKS : 0;
    while (p->workers + 1 < *threads) {
        if (pthread_create(&p->thread[p->workers], NULL, worker, p) != 0)
            break;
        p->workers++;
    }
    *threads = p->workers + 1;
    return 0;
}

void hyv_pool_close(hyv_pool **out)
{
    hyv_pool *p = *out;
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->quit, true);
    pthread_cond_broadcast(&p->begin);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->workers; i++)
        pthread_join(p->thread[i], NULL);
    pthread_cond_destroy(&p->begin);
    pthread_cond_destroy(&p->done);
    pthread_mutex_destroy(&p->lock);
    free(p);
    *out = NULL;
}

void hyv_pool_run(hyv_backend *be, int64_t tasks, hyv_task *task, void *arg)
{
    hyv_pool *p = hyv_cpu_of(be)->pool;
    if (tasks <= 0)
        return;
    p->be = be;
    p->task = task;
    p->arg = arg;
    p->tasks = tasks;
    atomic_store(&p->next, 0);
    const bool alone = p->workers == 0 || tasks == 1;
    if (!alone) {
        atomic_store(&p->running, p->workers);
        pthread_mutex_lock(&p->lock);
        atomic_fetch_add(&p->generation, 1);
        pthread_cond_broadcast(&p->begin);
        pthread_mutex_unlock(&p->lock);
    }
    work(p, 0);
    if (!alone)
        await_workers(p);
    if (atomic_load(&be->stop))
        hyv_fail(be, -ECANCELED, NULL);
}
