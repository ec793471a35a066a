/* Checkpoints, tokenizers, configurations and prompts when memory or files fail: every operation is
 * repeated with its n-th allocation, read, opening or mapping failing, for n = 1, 2, ... until none
 * is left to fail.
 *
 * The linker redirects the library's calls to the functions below (--wrap, see Makefile); calls
 * inside other libraries stay as they are: jansson 2.14 does not survive being out of memory. What
 * must hold each time: an error comes back with a text, nothing stays open, nothing leaks (the
 * sanitizer's build of this program sees that), and the next run without a fault succeeds.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../engine/base/json.h"
#include "../../engine/base/util.h"
#include "../../engine/checkpoint/checkpoint.h"
#include "../../engine/text/prompt.h"
#include "../check.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
ssize_t __real_read(int fd, void *buffer, size_t size);
int __real_open64(const char *path, int flags, ...);
void *__real_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
ssize_t __wrap_read(int fd, void *buffer, size_t size);
int __wrap_open64(const char *path, int flags, ...);
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);

enum kind { ALLOCATION, READ, OPEN, MAP, KINDS };

static const char *const kind_names[KINDS] = {"allocation", "read", "opening", "mapping"};
static const int kind_errors[KINDS] = {-ENOMEM, -EIO, -EMFILE, -ENOMEM};

/* Calls of the armed kind until the one that fails; 0: none fails. */
static atomic_int armed = KINDS;
static atomic_llong countdown;

static bool fails(int kind)
{
    return armed == kind && countdown > 0 && atomic_fetch_sub(&countdown, 1) == 1;
}

void *__wrap_malloc(size_t size)
{
    return fails(ALLOCATION) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails(ALLOCATION) ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return fails(ALLOCATION) ? NULL : __real_realloc(p, size);
}

ssize_t __wrap_read(int fd, void *buffer, size_t size)
{
    errno = EIO;
    return fails(READ) ? -1 : __real_read(fd, buffer, size);
}

int __wrap_open64(const char *path, int flags, ...)
{
    errno = EMFILE; /* nothing here creates files: no mode follows */
    return fails(OPEN) ? -1 : __real_open64(path, flags);
}

void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    errno = ENOMEM;
    return fails(MAP) ? MAP_FAILED : __real_mmap64(at, size, protection, flags, fd, offset);
}

/* Operations. Each cleans up after itself and returns 0 or the error. */

static int open_checkpoint(const char *path, hyv_log *log)
{
    hyv_checkpoint *c;
    const int err = hyv_checkpoint_open(&c, path, log);
    if (err)
        CHECK(c == NULL);
    hyv_checkpoint_close(&c);
    return err;
}

static int open_tokenizer(const char *folder, hyv_log *log)
{
    hyv_bpe *bpe;
    const int err = hyv_bpe_open(&bpe, folder, log);
    if (err)
        CHECK(bpe == NULL);
    hyv_bpe_close(&bpe);
    return err;
}

static int load_json(const char *path, hyv_log *log)
{
    hyv_json doc;
    const int err = hyv_json_load(&doc, path, 1 << 20, log);
    int64_t layers;
    if (!err) /* a wrong member, so that its message is made, too */
        CHECK(hyv_json_int(&doc, NULL, "_class_name", 0, 1, &layers) == -EBADMSG);
    if (err)
        CHECK(doc.root == NULL);
    hyv_json_close(&doc);
    return err;
}

static hyv_bpe *llm, *clip;

static int encode_prompt(const char *prompt, hyv_log *log)
{
    hyv_prompt_tokens out;
    return hyv_prompt_encode(&out, llm, clip, prompt, HYV_TEMPLATE_VIDEO, log);
}

struct operation {
    const char *name;
    int (*run)(const char *argument, hyv_log *log);
    const char *argument;
    bool may_succeed; /* a fault that only shortens a message */
};

#define GOLDEN "tests/golden/"

static const struct operation operations[] = {
    {"a checkpoint", open_checkpoint, GOLDEN "t2v/transformer", false},
    {"a PyTorch file", open_checkpoint, GOLDEN "pt/views.pt", false},
    {"Tencent's fp8 and its map", open_checkpoint, GOLDEN "names/mp_rank_00_model_states_fp8.pt",
     false},
    {"a GGUF file", open_checkpoint, GOLDEN "names/hunyuan-video-t2v-mixed.gguf", false},
    {"a sharded checkpoint", open_checkpoint, GOLDEN "i2v/transformer", false},
    {"a GGUF file", open_checkpoint, GOLDEN "names/hunyuan-video-t2v-mixed.gguf", false},
    {"the language model's tokenizer", open_tokenizer, GOLDEN "t2v/tokenizer", false},
    {"CLIP's tokenizer, two files", open_tokenizer, GOLDEN "t2v/tokenizer_2", false},
    {"CLIP's tokenizer, one file", open_tokenizer, GOLDEN "i2v/tokenizer_2", false},
    {"a configuration", load_json, GOLDEN "t2v/transformer/config.json", true},
    {"a prompt", encode_prompt, "A caf\xc3\xa9, \xe4\xb8\x80\xe5\x8f\xaa\xe5\xb0\x8f\xe7\x8b\x97!",
     false},
};

/* One run with fault n of a kind; true if the fault was reached. */
static bool run_with_fault(const struct operation *op, int kind, long long n)
{
    hyv_log log = {0};
    countdown = n;
    armed = kind;
    const int err = op->run(op->argument, &log);
    armed = KINDS;
    const bool reached = countdown == 0;
    if (!reached) {
        CHECK_MSG(err == 0, "%s without a fault: %d: %s", op->name, err, log.error);
        return false;
    }
    CHECK_MSG(err == kind_errors[kind] || (op->may_succeed && err == 0),
              "%s, %s %lld fails: %d instead of %d: %s", op->name, kind_names[kind], n, err,
              kind_errors[kind], log.error);
    CHECK_MSG(err == 0 || log.error[0], "%s, %s %lld fails: no message", op->name, kind_names[kind],
              n);
    return true;
}

int main(void)
{
    hyv_log log = {0};
    CHECK(hyv_bpe_open(&llm, GOLDEN "t2v/tokenizer", &log) == 0);
    CHECK(hyv_bpe_open(&clip, GOLDEN "t2v/tokenizer_2", &log) == 0);
    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]) && llm && clip; i++) {
        long long faults[KINDS];
        for (int kind = 0; kind < KINDS; kind++) {
            /* all of the first few hundred, then ever fewer: a vocabulary allocates per token */
            long long n = 1;
            while (run_with_fault(&operations[i], kind, n))
                n += n < 300 ? 1 : n / 20;
            faults[kind] = n - 1;
        }
        CHECK_MSG(faults[ALLOCATION] > 0, "%s: no allocation was seen: is --wrap given?",
                  operations[i].name);
    }
    hyv_bpe_close(&llm);
    hyv_bpe_close(&clip);
    return check_done();
}
