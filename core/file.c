#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/hash.h"

char *path_format_list(const char *format, va_list arguments)
{
    char *path = NULL;
    if (vasprintf(&path, format, arguments) < 0)
        abort();
    return path;
}

char *path_format(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *path = path_format_list(format, arguments);
    va_end(arguments);
    return path;
}

bool path_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool folder_create(const char *path, struct error *error)
{
    char *prefix = path_format("%s", path);
    bool done = true;
    for (char *end = prefix + 1; done && end[-1]; end++) {
        if (*end != '/' && *end != '\0')
            continue;
        const char kept = *end;
        *end = '\0';
        struct stat status;
        if (mkdir(prefix, 0777) != 0 && errno != EEXIST)
            done = error_system(error, prefix, "cannot create this folder",
                                "choose a folder that can be written");
        else if (stat(prefix, &status) != 0 || !S_ISDIR(status.st_mode))
            done = error_at(error, ERROR_RUN, prefix, 0, "is not a folder; choose another place");
        *end = kept;
    }
    free(prefix);
    return done;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

bool path_remove(const char *path, struct error *error)
{
    struct stat status;
    if (lstat(path, &status) != 0 && errno == ENOENT)
        return true;
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0)
        return error_system(error, path, "cannot remove this", NULL);
    return true;
}

static bool write_all(int descriptor, const char *bytes, size_t length)
{
    while (length > 0) {
        const ssize_t written = write(descriptor, bytes, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        bytes += written;
        length -= (size_t)written;
    }
    return true;
}

bool file_write(const char *path, const void *bytes, size_t length, struct error *error)
{
    char *temporary = path_format("%s.tmp", path);
    bool done = false;
    int descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (descriptor < 0) {
        error_system(error, path, "cannot write this file", "choose a folder that can be written");
    } else {
        const bool flushed = write_all(descriptor, bytes, length) && fsync(descriptor) == 0;
        const int reason = errno;
        const bool closed = close(descriptor) == 0;
        if (!flushed)
            errno = reason;
        done = flushed && closed && rename(temporary, path) == 0;
        if (!done) {
            error_system(error, path, "cannot write this file", "free disk space or choose another folder");
            unlink(temporary);
        }
    }
    free(temporary);
    return done;
}

/* Reads from a descriptor until its end, so that pipes and files of /proc work too. */
static bool read_all(int descriptor, const char *path, char **bytes, size_t *length, struct error *error)
{
    struct stat status;
    if (fstat(descriptor, &status) != 0)
        return error_system(error, path, "cannot read this file", NULL);
    if (S_ISDIR(status.st_mode))
        return error_at(error, ERROR_RUN, path, 0, "is a folder; a file is expected");
    size_t capacity = (status.st_size > 0 ? (size_t)status.st_size : 4096) + 1, used = 0;
    char *buffer = malloc(capacity);
    while (buffer) {
        if (used + 1 == capacity) {
            char *grown = realloc(buffer, capacity *= 2);
            if (!grown)
                break;
            buffer = grown;
        }
        const ssize_t count = read(descriptor, buffer + used, capacity - used - 1);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0) {
            error_system(error, path, "cannot read this file", NULL);
            free(buffer);
            return false;
        }
        used += (size_t)count;
        if (count == 0) {
            buffer[used] = '\0';
            *bytes = buffer;
            *length = used;
            return true;
        }
    }
    free(buffer);
    return error_memory(error, path, capacity, NULL);
}

bool file_read(const char *path, char **bytes, size_t *length, struct error *error)
{
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return error_system(error, path, "cannot open this file", NULL);
    const bool done = read_all(descriptor, path, bytes, length, error);
    close(descriptor);
    return done;
}

bool file_hash(const char *path, char digits[33], struct error *error)
{
    FILE *stream = fopen(path, "rb");
    if (!stream)
        return error_system(error, path, "cannot open this file", NULL);
    XXH3_state_t *state = XXH3_createState();
    const size_t capacity = 1 << 18;
    char *buffer = malloc(capacity);
    bool done = false;
    if (state && buffer) {
        XXH3_128bits_reset(state);
        size_t count;
        while ((count = fread(buffer, 1, capacity, stream)) > 0)
            XXH3_128bits_update(state, buffer, count);
        hash_digits(digits, XXH3_128bits_digest(state));
        done = !ferror(stream) || error_system(error, path, "cannot read this file", NULL);
    } else {
        error_memory(error, "a buffer for hashing", capacity, NULL);
    }
    free(buffer);
    XXH3_freeState(state);
    fclose(stream);
    return done;
}

double clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The first number after `key` in a file of lines, or -1. */
static int64_t number_in_file(const char *path, const char *key)
{
    FILE *stream = fopen(path, "r");
    if (!stream)
        return -1;
    char line[256];
    const size_t length = strlen(key);
    long long number = -1;
    while (fgets(line, sizeof line, stream))
        if (strncmp(line, key, length) == 0 && sscanf(line + length, "%lld", &number) == 1)
            break;
    fclose(stream);
    return (int64_t)number;
}

int64_t peak_memory_bytes(void)
{
    const int64_t kibibytes = number_in_file("/proc/self/status", "VmHWM:");
    return kibibytes > 0 ? kibibytes * 1024 : 0;
}

int64_t available_memory_bytes(void)
{
    const int64_t kibibytes = number_in_file("/proc/meminfo", "MemAvailable:");
    const int64_t limit = number_in_file("/sys/fs/cgroup/memory.max", "");
    const int64_t used = number_in_file("/sys/fs/cgroup/memory.current", "");
    const int64_t cache = number_in_file("/sys/fs/cgroup/memory.stat", "inactive_file ");
    const int64_t available = kibibytes > 0 ? kibibytes * 1024 : INT64_MAX;
    /* What is used counts cached files, which the kernel gives up when a group needs the memory. */
    const int64_t left = limit - used + (cache > 0 ? cache : 0);
    return limit >= 0 && used >= 0 && left < available ? left : available;
}
