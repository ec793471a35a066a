/* Writes a file beside its place, syncs it, and renames it: see write.h. */
#include "write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util.h"

static int write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        const ssize_t n = write(fd, data, size);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            data += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

/* The rename is on the disk when the folder is; some file systems cannot, which is no failure. */
static void sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == path ? hyv_strdup("/")
                   : slash       ? hyv_strndup(path, (size_t)(slash - path))
                                 : hyv_strdup(".");
    const int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    hyv_free_host(folder);
}

static int fill(int fd, const hyv_chunk *parts, int count)
{
    int err = 0;
    for (int i = 0; err >= 0 && i < count; i++)
        err = write_all(fd, parts[i].data, parts[i].size);
    if (err >= 0 && fsync(fd) != 0)
        err = -errno;
    return err;
}

/* As open would make it: temporary files are made for their owner alone. */
static void set_mode(int fd, const char *path)
{
    struct stat old;
    fchmod(fd, stat(path, &old) == 0 ? old.st_mode & 0777 : S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH);
}

int hyv_file_write(const char *path, const hyv_chunk *parts, int count)
{
    hyv_string name = {0};
    hyv_string_append(&name, "%s.XXXXXX", path);
    if (name.failed)
        return -ENOMEM;
    const int fd = mkstemp(name.text);
    int err = fd < 0 ? -errno : 0;
    if (fd >= 0) {
        set_mode(fd, path);
        err = fill(fd, parts, count);
        if (close(fd) != 0 && err >= 0)
            err = -errno;
        if (err >= 0 && rename(name.text, path) != 0)
            err = -errno;
        if (err < 0)
            unlink(name.text);
        else
            sync_folder(path);
    }
    hyv_string_free(&name);
    return err;
}
