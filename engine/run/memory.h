/* What the machine and its control group have to give, and what this process holds. Linux's /proc;
 * elsewhere nothing is known.
 *
 * Knows no models.
 */
#ifndef HYV_RUN_MEMORY_H
#define HYV_RUN_MEMORY_H

#include <stdint.h>

/* Bytes that could still be allocated without swapping: the least of MemAvailable and what the
 * process's control groups leave. 0: unknown. root: "", or a folder that stands for "/" in tests.
 */
uint64_t hyv_memory_available(const char *root);

/* Resident bytes of this process now. 0: unknown. */
uint64_t hyv_memory_resident(void);

/* "1.5 GiB" into text[size]. */
void hyv_memory_text(char *text, unsigned long size, uint64_t bytes);

#endif
