/* Memory: what is free as system and control groups say it, budgets from too small upwards, and
 * what `hyv plan` says against what `hyv generate` takes: peak resident memory within 5 %.
 *
 * Sanitizers multiply memory, so a sanitized build (QUICK in the environment) skips this by name.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../engine/hunyuanvideo.h"
#include "../../engine/run/memory.h"
#include "../check.h"
#include "../tiny.h"

#define HYV "build/hyv"

/* Runs hyv with its output going to `out`; its peak resident memory in MiB, negative if it failed.
 */
static double run(const char *command, const char *const size[3], const char *threads, int out)
{
    const char *const arguments[] = {HYV,         command,
                                     "-p",        "a cat",
                                     "--model",   "tests/golden/t2v",
                                     "--width",   size[0],
                                     "--height",  size[1],
                                     "--frames",  size[2],
                                     "--steps",   "2",
                                     "--seed",    "1",
                                     "--threads", threads,
                                     "-q",        strcmp(command, "plan") == 0 ? NULL : "-o",
                                     "-",         NULL};
    struct rusage usage;
    int status = 0;
    const pid_t child = fork();
    if (child == 0) {
        dup2(out, 1);
        execv(HYV, (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    if (wait4(child, &status, 0, &usage) != child || status != 0)
        return -1.0;
    return (double)usage.ru_maxrss / 1024.0;
}

/* The figure of the line "peak  N MiB, ...". */
static double planned(const char *const size[3], const char *threads)
{
    char text[4096] = "";
    int ends[2];
    if (!CHECK(pipe(ends) == 0) || !CHECK(run("plan", size, threads, ends[1]) > 0))
        return -1.0;
    close(ends[1]);
    const ssize_t n = read(ends[0], text, sizeof(text) - 1);
    close(ends[0]);
    const char *line = n > 0 ? strstr(text, "\npeak") : NULL;
    if (!CHECK(line != NULL))
        return -1.0;
    char *end = NULL;
    const double value = strtod(line + strlen("\npeak"), &end);
    return strncmp(end, " GiB", 4) == 0 ? value * 1024.0 : value;
}

/* ---- budgets --------------------------------------------------------------------------------- */

/* A transformer of which a few megabytes stream, over encoders and a VAE of no size. */
static const tiny_model wide = {.config = {.dit = {.in_channels = 4,
                                                   .out_channels = 4,
                                                   .heads = 4,
                                                   .head_dim = 32,
                                                   .width = 128,
                                                   .mlp_width = 512,
                                                   .double_blocks = 3,
                                                   .single_blocks = 7,
                                                   .refiner_blocks = 1,
                                                   .refiner_mlp_width = 512,
                                                   .text_width = 32,
                                                   .pooled_width = 16,
                                                   .patch = 2,
                                                   .rope_dims = {8, 12, 12},
                                                   .rope_theta = 256.0,
                                                   .guidance = true},
                                           .llama = {.width = 32,
                                                     .layers = 6,
                                                     .layers_used = 4,
                                                     .heads = 4,
                                                     .kv_heads = 2,
                                                     .head_dim = 8,
                                                     .mlp_width = 64,
                                                     .vocabulary = 896,
                                                     .eps = 1e-5,
                                                     .theta = 500000.0},
                                           .clip = {.width = 16,
                                                    .layers = 1,
                                                    .heads = 2,
                                                    .mlp_width = 32,
                                                    .vocabulary = 774,
                                                    .positions = 77,
                                                    .eps = 1e-5,
                                                    .activation = HYV_QUICK_GELU},
                                           .vae = {.blocks = 4,
                                                   .block_out_channels = {4, 4, 4, 4},
                                                   .layers_per_block = 1,
                                                   .norm_num_groups = 2,
                                                   .latent_channels = 4,
                                                   .out_channels = 3,
                                                   .spatial_compression = 8,
                                                   .temporal_compression = 4,
                                                   .mid_block_attention = true},
                                           .scaling_factor = 0.5,
                                           .shift = 7.0},
                                .storage = {TINY_F32, TINY_F32, TINY_F32, TINY_F32},
                                .shards = 2,
                                .seed = 5};

static char said[4096]; /* the library's last error */

static void keep_error(void *opaque, enum hyv_log_level level, const char *message)
{
    (void)opaque;
    if (level == HYV_LOG_ERROR)
        snprintf(said, sizeof(said), "%s", message);
}

/* All pixels of a video under a budget; NULL if it was refused. plan: what hyv_start said. */
static uint8_t *make_video(const char *folder, const char *memory, const char *cfg, hyv_video *plan)
{
    enum { SIDE = 32, FRAMES = 5, FRAME_BYTES = SIDE * SIDE * 3 };
    const char *const values[][2] = {{"model", folder}, {"prompt", "a cat"}, {"width", "32"},
                                     {"height", "32"},  {"frames", "5"},     {"steps", "3"},
                                     {"seed", "1"},     {"cfg", cfg},        {"memory", memory}};
    const hyv_callbacks callbacks = {.size = sizeof(callbacks), .log = keep_error};
    hyv_options *options = hyv_options_new();
    hyv_context *context = NULL;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        CHECK(hyv_options_set(options, values[i][0], values[i][1]) == 0);
    *plan = (hyv_video)HYV_INIT(hyv_video);
    int err = hyv_open(&context, options, &callbacks);
    CHECK_MSG(err >= 0, "%s", said);
    if (err >= 0)
        err = hyv_start(context, options, plan);
    uint8_t *pixels = err >= 0 ? malloc(FRAMES * FRAME_BYTES) : NULL;
    for (int i = 0; pixels && i < FRAMES; i++) {
        const hyv_image image = {.size = sizeof(image),
                                 .format = HYV_FORMAT_RGB24,
                                 .width = SIDE,
                                 .height = SIDE,
                                 .data = {pixels + i * FRAME_BYTES},
                                 .stride = {SIDE * 3}};
        CHECK_MSG(hyv_read(context, &image) == 1, "%s", said);
    }
    CHECK(pixels || err == -ENOMEM);
    hyv_close(&context);
    hyv_options_free(&options);
    return pixels;
}

/* From too little upwards: refused with the smallest that can do, and from there the same bytes. */
static void check_budgets(const char *folder, const char *cfg)
{
    hyv_video whole, part;
    uint8_t *want = make_video(folder, "auto", cfg, &whole);
    uint8_t *none = make_video(folder, "1M", cfg, &part);
    const char *number = strstr(said, "memory=");
    const int least = number ? atoi(number + strlen("memory=")) : 0;
    CHECK_MSG(want && !none && least > 1, "%s", said);
    CHECK(part.bytes > 0 && part.phase[HYV_PHASE_DENOISE].flops > 0); /* refused, but planned */
    free(none);
    int streamed = 0, more = least;
    for (uint64_t again = 1; again && want && more < least + 64; more++) {
        char memory[32];
        snprintf(memory, sizeof(memory), "%dM", more);
        uint8_t *got = make_video(folder, memory, cfg, &part);
        CHECK_MSG(got && memcmp(got, want, 5 * 32 * 32 * 3) == 0, "memory=%s: other bytes", memory);
        CHECK_MSG(part.bytes <= (uint64_t)more << 20, "memory=%s: %.2f MiB planned", memory,
                  (double)part.bytes / (1 << 20));
        again = part.step_disk_bytes;
        streamed += again > 0;
        free(got);
    }
    printf("cfg %s: from memory=%dM, streaming up to %dM\n", cfg, least, more - 2);
    CHECK(streamed >= 3 && whole.step_disk_bytes == 0);
    free(want);
}

static void test_budgets(void)
{
    char folder[64];
    if (!tiny_write(&wide, folder))
        return;
    check_budgets(folder, "1");
    check_budgets(folder, "3");
    tiny_remove(folder);
}

/* ---- what is free ---------------------------------------------------------------------------- */

static void put(const char *root, const char *path, const char *text)
{
    char full[256];
    snprintf(full, sizeof(full), "%s/%s", root, path);
    for (char *slash = full + strlen(root); (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        mkdir(full, 0700);
        *slash = '/';
    }
    FILE *f = fopen(full, "w");
    if (CHECK_MSG(f != NULL, "%s cannot be written", full)) {
        fputs(text, f);
        fclose(f);
    }
}

static void test_available(void)
{
    char root[] = "/tmp/hyv-memory-XXXXXX";
    const uint64_t mib = 1 << 20;
    if (!CHECK(mkdtemp(root) != NULL))
        return;
    CHECK(hyv_memory_available(root) == 0);
    put(root, "proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:    8388608 kB\n");
    CHECK(hyv_memory_available(root) == 8192 * mib);
    /* Version 2: limits of the group and of those above it; page cache makes way. */
    put(root, "proc/self/cgroup", "0::/user/job\n");
    put(root, "sys/fs/cgroup/user/job/memory.max", "max\n");
    put(root, "sys/fs/cgroup/user/job/memory.current", "1048576\n");
    CHECK(hyv_memory_available(root) == 8192 * mib);
    put(root, "sys/fs/cgroup/user/memory.max", "4294967296\n");
    put(root, "sys/fs/cgroup/user/memory.current", "3221225472\n");
    CHECK(hyv_memory_available(root) == 1024 * mib);
    put(root, "sys/fs/cgroup/user/memory.stat",
        "anon 1\ninactive_file 1073741824\nactive_file 536870912\n");
    CHECK(hyv_memory_available(root) == 2560 * mib);
    put(root, "sys/fs/cgroup/memory.max", "2147483648\n"); /* of a container's own tree */
    put(root, "sys/fs/cgroup/memory.current", "1073741824\n");
    CHECK(hyv_memory_available(root) == 1024 * mib);
    /* Version 1, where no limit is a number beyond all memory. */
    put(root, "proc/self/cgroup", "5:cpu,memory:/job\n3:cpuset:/\n0::/\n");
    put(root, "sys/fs/cgroup/memory/job/memory.limit_in_bytes", "536870912\n");
    put(root, "sys/fs/cgroup/memory/job/memory.usage_in_bytes", "268435456\n");
    CHECK(hyv_memory_available(root) == 256 * mib);
    put(root, "sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n");
    CHECK(hyv_memory_available(root) == 1024 * mib);
    tiny_remove(root);
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of the plans and the largest of the peaks of TURNS looks, all of which count. Both
 * contain pages that the system maps around those that were asked for, which differ by some 0.2
 * MiB; and a thread that other programs keep waiting may get no work, and touch no memory. */
static void look(const char *const size[3], const char *threads, int null, double *plan,
                 double *peak)
{
    enum { TURNS = 5 };
    double plans[TURNS];
    *peak = 0.0;
    for (int turn = 0; turn < TURNS; turn++) {
        plans[turn] = planned(size, threads);
        *peak = fmax(*peak, run("generate", size, threads, null));
    }
    qsort(plans, TURNS, sizeof(plans[0]), compare);
    *plan = plans[TURNS / 2];
}

int main(void)
{
    const char *const sizes[][3] = {
        {"64", "64", "9"}, {"128", "128", "17"}, {"256", "256", "5"}, {"96", "64", "65"}};
    test_available();
    if (getenv("QUICK")) {
        check_skip("memory budgets (sanitized build)");
        check_skip("memory plan (sanitized build)");
        return check_done();
    }
    test_budgets();
    const int null = open("/dev/null", O_WRONLY);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const char *threads = i % 2 ? "1" : "2";
        double plan, peak;
        look(sizes[i], threads, null, &plan, &peak);
        printf("%sx%s, %s frames, %s threads: planned %.1f MiB, measured %.1f MiB\n", sizes[i][0],
               sizes[i][1], sizes[i][2], threads, plan, peak);
        CHECK_MSG(plan > 0 && peak > 0 && fabs(plan - peak) <= 0.05 * peak,
                  "%sx%s, %s frames: planned %.1f MiB, measured %.1f MiB", sizes[i][0], sizes[i][1],
                  sizes[i][2], plan, peak);
    }
    close(null);
    return check_done();
}
