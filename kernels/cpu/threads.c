/* A fork-join pool: one caller hands out indices, all threads take them, the caller waits for the
 * last.
 *
 * Workers sleep on a condition variable between calls. Which thread runs which index is left to
 * chance; results do not depend on it, because tasks write disjoint outputs and never share a sum.
 * Knows no operator.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cpu.h"

struct hyv_pool {
    pthread_mutex_t lock;
    pthread_cond_t begin, done;
    pthread_t thread[HYV_THREADS_MAX_CPU];
    int workers;         /* beside the caller */
    uint64_t generation; /* of the call; a worker joins each once */
    int running;         /* workers that have not finished this call */
    bool quit;
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

static void *worker(void *opaque)
{
    hyv_pool *p = opaque;
    const int thread = atomic_fetch_add(&p->number, 1);
    uint64_t seen = 0;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->quit && p->generation == seen)
            pthread_cond_wait(&p->begin, &p->lock);
        if (p->quit)
            break;
        seen = p->generation;
        pthread_mutex_unlock(&p->lock);
        work(p, thread);
        pthread_mutex_lock(&p->lock);
        if (--p->running == 0)
            pthread_cond_signal(&p->done);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
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
    p->quit = true;
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
        pthread_mutex_lock(&p->lock);
        p->generation++;
        p->running = p->workers;
        pthread_cond_broadcast(&p->begin);
        pthread_mutex_unlock(&p->lock);
    }
    work(p, 0);
    if (!alone) {
        pthread_mutex_lock(&p->lock);
        while (p->running > 0)
            pthread_cond_wait(&p->done, &p->lock);
        pthread_mutex_unlock(&p->lock);
    }
    if (atomic_load(&be->stop))
        hyv_fail(be, -ECANCELED, NULL);
}
