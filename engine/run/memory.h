/* What the machine and its control group have to give, and what this process holds. Linux's /proc;
 * elsewhere nothing is known.
 *
 * Knows no models.
 */
#ifndef HYV_RUN_MEMORY_H
#define HYV_RUN_MEMORY_H

#include <stdint.h>

/* Bytes that could still be allocated without swapping: the smaller of MemAvailable and what the
 * control group leaves. 0: unknown. */
uint64_t hyv_memory_available(void);

/* Resident bytes of this process now. 0: unknown. */
uint64_t hyv_memory_resident(void);

/* "1.5 GiB" into text[size]. */
void hyv_memory_text(char *text, unsigned long size, uint64_t bytes);

#endif
