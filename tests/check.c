#include "check.h"

#include <math.h>
#include <stdarg.h>

static int passed, failed, skipped;

bool check_report(bool ok, const char *file, int line, const char *format, ...)
{
    if (ok) {
        passed++;
        return true;
    }
    failed++;
    va_list args;
    va_start(args, format);
    printf("FAIL %s:%d: ", file, line);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    return false;
}

void check_skip(const char *name)
{
    skipped++;
    printf("SKIP %s\n", name);
}

int check_done(void)
{
    printf("%d passed, %d failed", passed, failed);
    if (skipped)
        printf(", %d skipped", skipped);
    printf("\n");
    return failed ? 1 : 0;
}

uint64_t check_random_bits(check_random *r)
{
    if (r->state == 0)
        r->state = 0x9e3779b97f4a7c15u;
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * 0x2545f4914f6cdd1du;
}

int64_t check_random_int(check_random *r, int64_t low, int64_t high)
{
    return low + (int64_t)(check_random_bits(r) % (uint64_t)(high - low + 1));
}

float check_random_float(check_random *r)
{
    return (float)((double)(check_random_bits(r) >> 11) * (2.0 / 9007199254740992.0) - 1.0);
}

float check_random_normal(check_random *r)
{
    const double u = ((double)(check_random_bits(r) >> 11) + 1.0) * (1.0 / 9007199254740993.0);
    const double v = (double)(check_random_bits(r) >> 11) * (1.0 / 9007199254740992.0);
    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}
