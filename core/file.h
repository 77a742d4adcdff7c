/* file.h: paths, folders, and text files that appear whole or not at all. */
#ifndef IDREC_CORE_FILE_H
#define IDREC_CORE_FILE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* printf into a malloc'ed path. Never NULL: aborts the program only when there is no memory for a few bytes.
 */
char *path_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *path_format_list(const char *format, va_list arguments) __attribute__((format(printf, 1, 0)));
bool path_exists(const char *path);
/* mkdir -p. */
bool folder_create(const char *path, struct error *error);
/* rm -r; a missing path is fine. */
bool path_remove(const char *path, struct error *error);

/* Writes to a temporary name in the same folder, flushes to disk and renames. */
bool file_write(const char *path, const void *bytes, size_t length, struct error *error);
/* Reads all of it; *bytes is malloc'ed and has a NUL after its end. */
bool file_read(const char *path, char **bytes, size_t *length, struct error *error);

/* 128-bit XXH3 of a file's bytes, as 32 hexadecimal digits. */
bool file_hash(const char *path, char digits[33], struct error *error);

/* Seconds on a monotonic clock; bytes of this process's peak resident memory. */
double clock_seconds(void);
int64_t peak_memory_bytes(void);
/* Bytes of the host's memory that can still be used, by this process's control group too; INT64_MAX: not known. */
int64_t available_memory_bytes(void);

#endif
