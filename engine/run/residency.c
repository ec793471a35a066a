/* Reads blocks of weights ahead on a thread of its own, and gives back those that may not stay.
 *
 * Reading ahead fills the system's page cache (madvise WILLNEED), which is no memory of this
 * process until a kernel looks at the pages; giving back takes them out of the map (madvise
 * DONTNEED) and, where the budget is short, out of the cache (posix_fadvise). Which block comes
 * next is what came next the last time. Knows no tensor and no model.
 */
#include "residency.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "../base/util.h"

enum { ALWAYS, ONCE, AGAIN }; /* how often a block is used */

enum {
    NONE = -1,
    AHEAD_BYTES = 8 << 20, /* asked for at a time, so that a wait for the disk can be broken off */
    POLL_NS = 50000000
};

typedef struct block {
    int use;
    bool stays;           /* once it was read */
    bool there;           /* was read, and stays */
    int next;             /* block that was entered after it the last time */
    int64_t first, count; /* its ranges */
    size_t bytes;
} block;

typedef struct range {
    const char *data;
    size_t bytes;
} range;

struct hyv_residency {
    hyv_backend *be;
    hyv_checkpoint *file;
    block *blocks;
    range *ranges;
    int count, capacity;
    int64_t range_count, range_capacity;
    int err;
    bool everything;
    int current;
    void *opaque;
    void (*arrived)(void *opaque, int index);

    /* the thread that reads ahead */
    bool running;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int wanted, read; /* block to read ahead, block that was last */
    bool stop;
};

/* ---- reading ahead --------------------------------------------------------------------------- */

static bool superseded(hyv_residency *r, int index)
{
    pthread_mutex_lock(&r->lock);
    const bool result = r->stop || r->wanted != index;
    pthread_mutex_unlock(&r->lock);
    return result;
}

static void read_block(hyv_residency *r, int index)
{
    const block *b = &r->blocks[index];
    for (int64_t i = b->first; i < b->first + b->count; i++)
        for (size_t at = 0; at < r->ranges[i].bytes; at += AHEAD_BYTES) {
            const size_t left = r->ranges[i].bytes - at;
            if (superseded(r, index))
                return;
            r->be->ops->fetch(r->be, NULL, r->ranges[i].data + at,
                              left < AHEAD_BYTES ? left : AHEAD_BYTES);
        }
}

static void *read_ahead(void *arg)
{
    hyv_residency *r = arg;
    pthread_mutex_lock(&r->lock);
    while (!r->stop) {
        const int index = r->wanted;
        if (index == r->read) {
            pthread_cond_wait(&r->changed, &r->lock);
            continue;
        }
        pthread_mutex_unlock(&r->lock);
        read_block(r, index);
        pthread_mutex_lock(&r->lock);
        r->read = index;
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* Without the thread pages are read as kernels touch them: slower, no less right. */
static void start_thread(hyv_residency *r)
{
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    r->wanted = r->read = NONE;
    r->running = pthread_create(&r->thread, NULL, read_ahead, r) == 0;
    if (r->running)
        return;
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->changed);
}

static void stop_thread(hyv_residency *r)
{
    if (!r->running)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->changed);
    r->running = false;
}

/* Waits until the thread has asked for all of a block, if that is what it does. */
static void await(hyv_residency *r, int index)
{
    pthread_mutex_lock(&r->lock);
    while (r->wanted == index && r->read != index && !hyv_stopped(r->be)) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += POLL_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&r->changed, &r->lock, &until);
    }
    pthread_mutex_unlock(&r->lock);
}

static void ask(hyv_residency *r, int index)
{
    pthread_mutex_lock(&r->lock);
    r->wanted = index;
    r->read = NONE; /* it may be the last one again, given back since */
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

/* The next block to come that is not in memory; NONE if none is known. */
static int next_missing(const hyv_residency *r, int index)
{
    int next = r->blocks[index].next;
    for (int i = 0; i < r->count && next >= 0 && next < r->count; i++) {
        if (!r->blocks[next].there)
            return next == index ? NONE : next;
        next = r->blocks[next].next;
    }
    return NONE;
}

/* ---- entering -------------------------------------------------------------------------------- */

static void leave(hyv_residency *r, int index)
{
    block *b = &r->blocks[index];
    b->there = b->stays;
    for (int64_t i = b->first; !b->stays && i < b->first + b->count; i++)
        hyv_checkpoint_release(r->file, r->ranges[i].data, r->ranges[i].bytes, !r->everything);
}

static void enter(void *opaque, int index)
{
    hyv_residency *r = opaque;
    if (r->be->ops->dry || index == r->current)
        return;
    if (r->current != NONE) {
        r->blocks[r->current].next = index;
        leave(r, r->current);
    }
    r->current = index;
    if (r->running) {
        await(r, index);
        const int next = next_missing(r, index);
        if (next != NONE)
            ask(r, next);
    }
    r->arrived(r->opaque, index);
}

/* ---- binding --------------------------------------------------------------------------------- */

int hyv_residency_new(hyv_residency **out, hyv_backend *be, hyv_checkpoint *file, void *opaque,
                      void (*arrived)(void *opaque, int index))
{
    hyv_residency *r = *out = hyv_calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->be = be;
    r->file = file;
    r->opaque = opaque;
    r->arrived = arrived;
    r->current = NONE;
    r->everything = true;
    hyv_residency_block(r, NULL, false);
    return 0;
}

void hyv_residency_free(hyv_residency **out)
{
    hyv_residency *r = *out;
    if (!r)
        return;
    stop_thread(r);
    hyv_free_host(r->blocks);
    hyv_free_host(r->ranges);
    hyv_free_host(r);
    *out = NULL;
}

int hyv_residency_block(hyv_residency *r, hyv_block *out, bool once)
{
    if (r->count == r->capacity) {
        const int capacity = r->capacity ? 2 * r->capacity : 16;
        block *grown = hyv_realloc(r->blocks, (size_t)capacity, sizeof(*grown));
        if (!grown) {
            r->err = -ENOMEM;
            return 0;
        }
        r->blocks = grown;
        r->capacity = capacity;
    }
    r->blocks[r->count] = (block){.use = !out   ? ALWAYS
                                         : once ? ONCE
                                                : AGAIN,
                                  .stays = !once,
                                  .next = r->count + 1,
                                  .first = r->range_count};
    if (out)
        *out = (hyv_block){r, enter, r->count};
    r->count++;
    return out ? r->count - 1 : 0;
}

void hyv_residency_add(hyv_residency *r, const void *data, size_t bytes)
{
    if (r->err)
        return;
    if (r->range_count == r->range_capacity) {
        const int64_t capacity = r->range_capacity ? 2 * r->range_capacity : 256;
        range *grown = hyv_realloc(r->ranges, (size_t)capacity, sizeof(*grown));
        if (!grown) {
            r->err = -ENOMEM;
            return;
        }
        r->ranges = grown;
        r->range_capacity = capacity;
    }
    block *b = &r->blocks[r->count - 1];
    r->ranges[r->range_count++] = (range){data, bytes};
    b->count++;
    b->bytes += bytes;
}

int hyv_residency_status(const hyv_residency *r)
{
    return r->err;
}

/* ---- dividing a budget ----------------------------------------------------------------------- */

/* Bytes of all blocks of a use, and the largest of them. */
static size_t total(const hyv_residency *r, int use, size_t *largest)
{
    size_t sum = 0;
    *largest = 0;
    for (int i = 0; i < r->count; i++) {
        const block *b = &r->blocks[i];
        if (b->use != use)
            continue;
        sum += b->bytes;
        *largest = b->bytes > *largest ? b->bytes : *largest;
    }
    return sum;
}

/* Lets blocks stay up to `room` bytes, evenly spread, so that the disk always has something to do.
 * Returns their bytes. */
static size_t choose(hyv_residency *r, size_t room, size_t all)
{
    size_t passed = 0, kept = 0;
    for (int i = 0; i < r->count; i++) {
        block *b = &r->blocks[i];
        if (b->use != AGAIN)
            continue;
        passed += b->bytes;
        const double share = (double)room * ((double)passed / (double)all);
        b->stays = (double)(kept + b->bytes) <= share;
        kept += b->stays ? b->bytes : 0;
    }
    for (int i = 0; i < r->count; i++) { /* what the spreading has left over */
        block *b = &r->blocks[i];
        if (b->use == AGAIN && !b->stays && kept + b->bytes <= room) {
            b->stays = true;
            kept += b->bytes;
        }
    }
    return kept;
}

hyv_residency_plan hyv_residency_fit(hyv_residency *r, size_t budget)
{
    size_t once_largest, largest, ignored;
    const size_t once = total(r, ONCE, &once_largest), again = total(r, AGAIN, &largest);
    const size_t always = total(r, ALWAYS, &ignored);
    const size_t room = budget > always ? budget - always : 0;
    hyv_residency_plan plan = {.first = always + once + again};
    const size_t passing = once_largest > largest ? once_largest : largest;
    plan.least = always + passing;
    size_t kept = again;
    r->everything = plan.everything = again <= room && once_largest <= room;
    for (int i = 0; i < r->count; i++)
        r->blocks[i].stays = r->blocks[i].use != ONCE;
    if (!plan.everything)
        kept = choose(r, room > largest ? room - largest : 0, again);
    plan.again = again - kept;
    const size_t running = kept + (plan.again ? largest : 0);
    plan.peak = always + (running > once_largest ? running : once_largest);
    if (!r->be->ops->dry && !r->running && r->count > 1)
        start_thread(r);
    return plan;
}
