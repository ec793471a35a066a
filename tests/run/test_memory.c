/* What `hyv plan` says against what `hyv generate` takes: peak resident memory within 5 %, for
 * several sizes.
 *
 * Sanitizers multiply memory, so a sanitized build (QUICK in the environment) skips this by name.
 */
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../check.h"

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

int main(void)
{
    const char *const sizes[][3] = {
        {"64", "64", "9"}, {"128", "128", "17"}, {"256", "256", "5"}, {"96", "64", "65"}};
    if (getenv("QUICK")) {
        check_skip("memory plan (sanitized build)");
        return check_done();
    }
    const int null = open("/dev/null", O_WRONLY);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const char *threads = i % 2 ? "1" : "2";
        const double plan = planned(sizes[i], threads);
        const double peak = run("generate", sizes[i], threads, null);
        printf("%sx%s, %s frames, %s threads: planned %.1f MiB, measured %.1f MiB\n", sizes[i][0],
               sizes[i][1], sizes[i][2], threads, plan, peak);
        CHECK_MSG(plan > 0 && peak > 0 && fabs(plan - peak) <= 0.05 * peak,
                  "%sx%s, %s frames: planned %.1f MiB, measured %.1f MiB", sizes[i][0], sizes[i][1],
                  sizes[i][2], plan, peak);
    }
    close(null);
    return check_done();
}
