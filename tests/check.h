/* The little that our test programs share: checks that count, random numbers, one closing line.
 *
 * A test program calls CHECK for everything it claims and ends with `return check_done();`. A
 * failed check prints file, line and the expression (or the message) and the program goes on.
 * CHECK_SKIP names what this machine cannot test.
 */
#ifndef HYV_TESTS_CHECK_H
#define HYV_TESTS_CHECK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

bool check_report(bool ok, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void check_skip(const char *name);

#define CHECK(condition)          check_report((condition), __FILE__, __LINE__, "%s", #condition)
#define CHECK_MSG(condition, ...) check_report((condition), __FILE__, __LINE__, __VA_ARGS__)

/* Prints `N passed, N failed[, N skipped]`; the program's exit status. */
int check_done(void);

/* xorshift64*: the same numbers everywhere for the same seed. */
typedef struct check_random {
    uint64_t state;
} check_random;
uint64_t check_random_bits(check_random *r);
int64_t check_random_int(check_random *r, int64_t low, int64_t high); /* both included */
float check_random_float(check_random *r);                            /* -1 to 1 */
float check_random_normal(check_random *r);

#endif
