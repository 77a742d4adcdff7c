#define _DEFAULT_SOURCE
#include "core/text_source.h"

#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static bool is_gzip(const unsigned char *bytes, size_t length)
{
    return length >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
}

/* Sets text and length to what of the bytes is text. */
static bool set_text(struct text_source *source, const char *bytes, size_t length, struct error *error)
{
    if (length >= 2 && (memcmp(bytes, "\xff\xfe", 2) == 0 || memcmp(bytes, "\xfe\xff", 2) == 0))
        return error_at(error, ERROR_RUN, source->path, 1, "the text is UTF-16; convert it to UTF-8");
    if (length >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) {
        bytes += 3;
        length -= 3;
    }
    while (length > 0 && strchr(" \t\r\n", bytes[length - 1]) && bytes[length - 1])
        length--;
    source->text = bytes;
    source->length = length;
    return true;
}

static bool grow(char **text, size_t *capacity, const char *path, struct error *error)
{
    const size_t wanted = *capacity * 2;
    char *grown = realloc(*text, wanted);
    if (!grown)
        return error_memory(error, path, wanted, "unpack the file first: plain text is mapped, not loaded");
    *text = grown;
    *capacity = wanted;
    return true;
}

/* Unpacks every member of a gzip stream into *text, which the caller frees even after an error. */
static bool inflate_all(z_stream *stream, const unsigned char *bytes, size_t length, char **text,
                        size_t *text_length, const char *path, struct error *error)
{
    size_t capacity = length * 2 + 4096, consumed = 0, produced = 0;
    if (!grow(text, &capacity, path, error))
        return false;
    for (;;) {
        if (produced == capacity && !grow(text, &capacity, path, error))
            return false;
        const size_t input = length - consumed < INT_MAX ? length - consumed : INT_MAX;
        const size_t room = capacity - produced < INT_MAX ? capacity - produced : INT_MAX;
        stream->next_in = (unsigned char *)(uintptr_t)(bytes + consumed);
        stream->avail_in = (uInt)input;
        stream->next_out = (unsigned char *)*text + produced;
        stream->avail_out = (uInt)room;
        const int status = inflate(stream, Z_NO_FLUSH);
        consumed += input - stream->avail_in;
        produced += room - stream->avail_out;
        if (status == Z_STREAM_END) {
            *text_length = produced;
            if (!is_gzip(bytes + consumed, length - consumed))
                return true;
            inflateReset(stream);
        } else if (status == Z_BUF_ERROR || (status == Z_OK && consumed == length && stream->avail_out > 0)) {
            return error_at(error, ERROR_RUN, path, 0,
                            "the gzip stream ends too early; fetch the file again");
        } else if (status != Z_OK) {
            return error_at(error, ERROR_RUN, path, 0,
                            "the gzip stream is damaged (%s); fetch the file again",
                            stream->msg ? stream->msg : "no reason given");
        }
    }
}

static bool unpack(struct text_source *source, const unsigned char *bytes, size_t length, struct error *error)
{
    z_stream stream = {0};
    if (inflateInit2(&stream, 15 + 16) != Z_OK)
        return error_memory(error, "zlib's window", 1 << 16, NULL);
    char *text = NULL;
    size_t text_length = 0;
    bool done = inflate_all(&stream, bytes, length, &text, &text_length, source->path, error);
    inflateEnd(&stream);
    source->memory = text;
    return done && set_text(source, text, text_length, error);
}

bool text_source_from_memory(struct text_source *source, const char *name, const void *bytes, size_t length,
                             struct error *error)
{
    *source = (struct text_source){.path = name};
    const bool done = is_gzip(bytes, length) ? unpack(source, bytes, length, error)
                                             : set_text(source, bytes, length, error);
    if (!done)
        text_source_close(source);
    return done;
}

static bool map_file(int file, const char *path, void **memory, size_t *length, struct error *error)
{
    struct stat status;
    if (fstat(file, &status) != 0)
        return error_system(error, path, "cannot be read", NULL);
    if (!S_ISREG(status.st_mode))
        return error_at(error, ERROR_RUN, path, 0, "not a regular file; give the path of a data file");
    if (status.st_size == 0)
        return error_at(error, ERROR_RUN, path, 0, "the file is empty; it should hold interactions");
    *length = (size_t)status.st_size;
    *memory = mmap(NULL, *length, PROT_READ, MAP_PRIVATE, file, 0);
    if (*memory == MAP_FAILED)
        return error_system(error, path, "cannot be mapped", NULL);
    madvise(*memory, *length, MADV_WILLNEED);
    return true;
}

bool text_source_open(struct text_source *source, const char *path, struct error *error)
{
    *source = (struct text_source){.path = path};
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return error_system(error, path, "cannot be opened",
                            "check data.path (relative to the config that names it)");
    void *memory = NULL;
    size_t length = 0;
    const bool mapped = map_file(file, path, &memory, &length, error);
    close(file);
    if (!mapped)
        return false;
    if (!text_source_from_memory(source, path, memory, length, error) || source->memory) {
        munmap(memory, length);
        return error->kind == ERROR_NONE;
    }
    source->memory = memory;
    source->mapped = length;
    return true;
}

void text_source_close(struct text_source *source)
{
    if (source->mapped)
        munmap(source->memory, source->mapped);
    else
        free(source->memory);
    *source = (struct text_source){.path = source->path};
}

long text_source_line(const struct text_source *source, const char *position)
{
    long line = 1;
    for (const char *cursor = source->text; cursor < position; cursor++)
        line += *cursor == '\n';
    return line;
}
