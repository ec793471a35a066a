/* In place of the compiler's header when the kernels are built for `make check-isa`: a processor
 * that says yes to every question, on a system that grants tiles.
 */
#ifndef HYV_TESTS_ISA_CPUID_H
#define HYV_TESTS_ISA_CPUID_H
#pragma GCC system_header /* its include_next is no standard C */

#include_next <cpuid.h>
#include <unistd.h>

static inline int isa_cpuid(unsigned leaf, unsigned subleaf, unsigned *a, unsigned *b, unsigned *c,
                            unsigned *d)
{
    (void)leaf, (void)subleaf;
    *a = *b = *c = *d = ~0u;
    return 1;
}

#define __get_cpuid(leaf, a, b, c, d)                isa_cpuid(leaf, 0, a, b, c, d)
#define __get_cpuid_count(leaf, subleaf, a, b, c, d) isa_cpuid(leaf, subleaf, a, b, c, d)
#define __builtin_cpu_supports(feature)              1
#define syscall(number, ...)                         0L

#endif
