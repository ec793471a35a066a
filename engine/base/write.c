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

/* As open would make it: temporary files are made for their owner alone. */
static void set_mode(int fd, const char *path)
{
    struct stat old;
    fchmod(fd, stat(path, &old) == 0 ? old.st_mode & 0777 : S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH);
}

/* Asks for the room that the file will take. Not every file system can; that is no failure. */
static int reserve(int fd, uint64_t size)
{
    if (size == 0 || size > INT64_MAX || fallocate(fd, 0, 0, (off_t)size) == 0)
        return 0;
    return errno == ENOSPC || errno == EFBIG || errno == EDQUOT ? -errno : 0;
}

static void forget(hyv_output *o)
{
    hyv_free_host(o->path);
    hyv_free_host(o->partial);
    *o = (hyv_output){.fd = -1};
}

int hyv_output_open(hyv_output *o, const char *path, uint64_t size)
{
    hyv_string name = {0};
    hyv_string_append(&name, "%s.XXXXXX", path);
    *o = (hyv_output){.fd = -1, .path = hyv_strdup(path), .partial = name.text};
    int err = !o->path || name.failed ? -ENOMEM : 0;
    if (!err && (o->fd = mkstemp(o->partial)) < 0)
        err = -errno;
    if (err) {
        forget(o);
        return err;
    }
    set_mode(o->fd, path);
    err = reserve(o->fd, size);
    return err ? hyv_output_close(o, err) : 0;
}

int hyv_output_write(hyv_output *o, const void *data, size_t size)
{
    return write_all(o->fd, data, size);
}

int hyv_output_close(hyv_output *o, int err)
{
    if (o->fd < 0)
        return err;
    if (!err && fsync(o->fd) != 0)
        err = -errno;
    if (close(o->fd) != 0 && !err)
        err = -errno;
    if (!err && rename(o->partial, o->path) != 0)
        err = -errno;
    if (err)
        unlink(o->partial);
    else
        sync_folder(o->path);
    forget(o);
    return err;
}

int hyv_file_write(const char *path, const hyv_chunk *parts, int count)
{
    hyv_output o;
    int err = hyv_output_open(&o, path, 0);
    if (err)
        return err;
    for (int i = 0; !err && i < count; i++)
        err = hyv_output_write(&o, parts[i].data, parts[i].size);
    return hyv_output_close(&o, err);
}

int hyv_folder_rename(const char *from, const char *to)
{
    if (rename(from, to) != 0)
        return -errno;
    sync_folder(to);
    return 0;
}

int hyv_file_copy(const char *to, const char *from, size_t max)
{
    char *text;
    size_t size;
    int err = hyv_file_read(&text, &size, from, max);
    if (err < 0)
        return err;
    err = hyv_file_write(to, &(hyv_chunk){text, size}, 1);
    hyv_free_host(text);
    return err;
}
