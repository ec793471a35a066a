/* Memory figures from /proc/meminfo, /proc/self/statm and the control group (version 2 and 1).
 *
 * Every figure is optional: a file that is missing or odd counts as unknown. Knows no models.
 */
#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/util.h"

enum { PROC_FILE_MAX = 1 << 16 };

/* The number behind `key` in a file, or its first number if key is ""; false if there is none. */
static bool read_number(const char *path, const char *key, uint64_t *value)
{
    char *text = NULL;
    size_t size = 0;
    if (hyv_file_read(&text, &size, path, PROC_FILE_MAX) < 0)
        return false;
    const char *at = strstr(text, key);
    char *end = NULL;
    bool ok = at != NULL;
    if (ok) {
        const char *digits = at + strlen(key);
        *value = strtoull(digits, &end, 10);
        ok = end != digits;
    }
    hyv_free_host(text);
    return ok;
}

/* Room that a control group leaves: limit minus what is used beside reclaimable page cache. */
static bool group_room(const char *limit_path, const char *usage_path, const char *stat_path,
                       uint64_t *room)
{
    uint64_t limit = 0, usage = 0, cache = 0;
    if (!read_number(limit_path, "", &limit) || !read_number(usage_path, "", &usage))
        return false;
    if (limit > (uint64_t)1 << 60)
        return false;
    read_number(stat_path, "\ninactive_file ", &cache);
    usage -= cache < usage ? cache : usage;
    *room = usage < limit ? limit - usage : 0;
    return true;
}

uint64_t hyv_memory_available(void)
{
    uint64_t available = 0, room = 0;
    if (read_number("/proc/meminfo", "MemAvailable:", &available))
        available *= 1024;
    if (group_room("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current",
                   "/sys/fs/cgroup/memory.stat", &room) ||
        group_room("/sys/fs/cgroup/memory/memory.limit_in_bytes",
                   "/sys/fs/cgroup/memory/memory.usage_in_bytes",
                   "/sys/fs/cgroup/memory/memory.stat", &room))
        available = available && available < room ? available : room;
    return available;
}

uint64_t hyv_memory_resident(void)
{
    char *text = NULL;
    size_t size = 0;
    if (hyv_file_read(&text, &size, "/proc/self/statm", PROC_FILE_MAX) < 0)
        return 0;
    const char *second = strchr(text, ' ');
    const uint64_t pages = second ? strtoull(second, NULL, 10) : 0;
    hyv_free_host(text);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

void hyv_memory_text(char *text, unsigned long size, uint64_t bytes)
{
    const double mib = (double)bytes / (1024.0 * 1024.0);
    if (mib >= 1024.0)
        snprintf(text, size, "%.2f GiB", mib / 1024.0);
    else
        snprintf(text, size, "%.1f MiB", mib);
}
