/* Memory figures from /proc/meminfo, /proc/self/statm and the control groups (versions 2 and 1, as
 * the kernel's admin guide describes them).
 *
 * Every figure is optional: a file that is missing or odd counts as unknown. Knows no models.
 */
#include "memory.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/util.h"

enum { PROC_FILE_MAX = 1 << 16 };

/* A file below `root`; false if there is none. *text is freed with hyv_free_host. */
static bool read_text(char **text, const char *root, const char *folder, const char *name)
{
    hyv_string path = {0};
    size_t size = 0;
    *text = NULL;
    hyv_string_append(&path, "%s%s/%s", root, folder, name);
    const bool there = !path.failed && hyv_file_read(text, &size, path.text, PROC_FILE_MAX) >= 0;
    hyv_string_free(&path);
    return there;
}

/* The number behind `key` in a text, or its first number if key is "". */
static bool find_number(const char *text, const char *key, uint64_t *value)
{
    const char *at = strstr(text, key);
    if (!at)
        return false;
    at += strlen(key);
    at += strspn(at, " ");
    if (*at < '0' || *at > '9')
        return false;
    *value = strtoull(at, NULL, 10);
    return true;
}

static bool read_number(const char *root, const char *folder, const char *name, uint64_t *value)
{
    char *text;
    const bool found =
        read_text(&text, root, folder, name) && find_number(text, "", value); /* not "max" */
    hyv_free_host(text);
    return found;
}

/* What names a version of control groups uses. */
typedef struct group_files {
    const char *mount, *limit, *usage;
} group_files;

static const group_files versions[2] = {
    {"/sys/fs/cgroup", "memory.max", "memory.current"},
    {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"}};

/* Room that one group leaves: its limit minus what is used beside page cache, which makes way. */
static void look_at_group(const char *root, const group_files *g, const char *folder,
                          uint64_t *room)
{
    uint64_t limit = 0, usage = 0, active = 0, inactive = 0;
    if (!read_number(root, folder, g->limit, &limit) ||
        !read_number(root, folder, g->usage, &usage) || limit > (uint64_t)1 << 60)
        return;
    char *stat;
    if (read_text(&stat, root, folder, "memory.stat")) {
        find_number(stat, "\nactive_file ", &active);
        find_number(stat, "\ninactive_file ", &inactive);
    }
    hyv_free_host(stat);
    usage -= active + inactive < usage ? active + inactive : usage;
    const uint64_t left = usage < limit ? limit - usage : 0;
    *room = left < *room ? left : *room;
}

/* The process's group and all above it, up to the root of what is mounted. */
static void look_at_groups(const char *root, const group_files *g, const char *path, size_t length,
                           uint64_t *room)
{
    hyv_string folder = {0};
    hyv_string_append(&folder, "%s", g->mount);
    hyv_string_append_bytes(&folder, path, length);
    for (char *slash; !folder.failed && folder.length > strlen(g->mount); *slash = '\0') {
        look_at_group(root, g, folder.text, room);
        slash = strrchr(folder.text, '/');
        folder.length = (size_t)(slash - folder.text);
    }
    hyv_string_free(&folder);
    look_at_group(root, g, g->mount, room);
}

uint64_t hyv_memory_available(const char *root)
{
    uint64_t available = 0, room = UINT64_MAX;
    char *info, *groups;
    if (read_text(&info, root, "/proc", "meminfo") &&
        find_number(info, "MemAvailable:", &available))
        available *= 1024;
    hyv_free_host(info);
    /* Lines are "0::/path" (version 2) and "4:cpu,memory:/path" (version 1). */
    const bool grouped = read_text(&groups, root, "/proc/self", "cgroup");
    for (const char *line = groups; grouped && line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
        if (!path || path[1] != '/')
            continue;
        const size_t length = strcspn(path + 1, "\n");
        const char *memory = strstr(names, "memory");
        if (path == names + 1)
            look_at_groups(root, &versions[0], path + 1, length, &room);
        else if (memory && memory < path)
            look_at_groups(root, &versions[1], path + 1, length, &room);
    }
    hyv_free_host(groups);
    look_at_group(root, &versions[0], versions[0].mount, &room);
    look_at_group(root, &versions[1], versions[1].mount, &room);
    return room == UINT64_MAX || (available && available < room) ? available : room ? room : 1;
}

uint64_t hyv_memory_resident(void)
{
    char *text = NULL;
    size_t size = 0;
#ifdef __GLIBC__
    malloc_trim(0); /* what the C library keeps for later would be counted twice */
#endif
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
