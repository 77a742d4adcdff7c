#include "core/event_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"

enum {
    EVENT_BYTES = 512,
    TAG_BYTES = 256,
    WIRE_VARINT = 0,
    WIRE_64_BIT = 1,
    WIRE_BYTES = 2,
    WIRE_32_BIT = 5
};

uint32_t crc32c(const void *bytes, size_t length)
{
    uint32_t remainder = UINT32_MAX;
    for (size_t i = 0; i < length; i++) {
        remainder ^= ((const unsigned char *)bytes)[i];
        for (int bit = 0; bit < 8; bit++)
            remainder = remainder >> 1 ^ (remainder & 1 ? 0x82f63b78U : 0);
    }
    return ~remainder;
}

/* ---- records ------------------------------------------------------------------------------------------- */

/* A message on its way, or a part of one. */
struct message {
    size_t length;
    unsigned char bytes[EVENT_BYTES];
};

static void put_fixed(struct message *message, uint64_t value, int count)
{
    for (int i = 0; i < count; i++)
        message->bytes[message->length++] = (unsigned char)(value >> 8 * i);
}

static void put_varint(struct message *message, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        message->bytes[message->length++] = (unsigned char)(value | 0x80);
    message->bytes[message->length++] = (unsigned char)value;
}

static void put_key(struct message *message, unsigned field, unsigned wire_type)
{
    put_varint(message, field << 3 | wire_type);
}

static void put_double(struct message *message, unsigned field, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(message, field, WIRE_64_BIT);
    put_fixed(message, bits, 8);
}

static void put_float(struct message *message, unsigned field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(message, field, WIRE_32_BIT);
    put_fixed(message, bits, 4);
}

static void put_bytes(struct message *message, unsigned field, const void *bytes, size_t length)
{
    put_key(message, field, WIRE_BYTES);
    put_varint(message, length);
    memcpy(message->bytes + message->length, bytes, length);
    message->length += length;
}

static uint32_t masked_checksum(const struct message *message)
{
    const uint32_t checksum = crc32c(message->bytes, message->length);
    return (checksum >> 15 | checksum << 17) + 0xa282ead8U;
}

static void write_record(FILE *stream, const struct message *event)
{
    struct message frame = {0};
    put_fixed(&frame, event->length, 8);
    put_fixed(&frame, masked_checksum(&frame), 4);
    fwrite(frame.bytes, 1, frame.length, stream);
    fwrite(event->bytes, 1, event->length, stream);
    frame.length = 0;
    put_fixed(&frame, masked_checksum(event), 4);
    fwrite(frame.bytes, 1, frame.length, stream);
}

void event_write_version(FILE *stream, double wall_time)
{
    static const char version[] = "brain.Event:2";
    struct message event = {0};
    put_double(&event, 1, wall_time);
    put_bytes(&event, 3, version, strlen(version));
    write_record(stream, &event);
}

void event_write_scalar(FILE *stream, double wall_time, int64_t step, const char *tag, double value)
{
    struct message point = {0}, summary = {0}, event = {0};
    put_bytes(&point, 1, tag, strnlen(tag, TAG_BYTES));
    put_float(&point, 2, (float)value);
    put_bytes(&summary, 1, point.bytes, point.length);
    put_double(&event, 1, wall_time);
    put_key(&event, 2, WIRE_VARINT);
    put_varint(&event, (uint64_t)step);
    put_bytes(&event, 5, summary.bytes, summary.length);
    write_record(stream, &event);
}

/* ---- files --------------------------------------------------------------------------------------------- */

static bool append(int file, const char *path, const char *bytes, size_t length, struct error *error)
{
    while (length > 0) {
        const ssize_t written = write(file, bytes, length);
        if (written < 0)
            return error_system(error, path, "cannot append to this file", NULL);
        bytes += written;
        length -= (size_t)written;
    }
    return true;
}

/* Whether the path still names the file: another process may have replaced it. */
static bool is_still(int file, const char *path)
{
    struct stat opened, named;
    return fstat(file, &opened) == 0 && stat(path, &named) == 0 && opened.st_dev == named.st_dev &&
           opened.st_ino == named.st_ino;
}

/* The file is locked, so that two processes do not append the same. */
static bool update_locked(int file, const char *path, const char *bytes, size_t length, struct error *error)
{
    char *old = NULL;
    size_t old_length = 0;
    if (!file_read(path, &old, &old_length, error))
        return false;
    const bool begins_so =
        is_still(file, path) && old_length <= length && memcmp(old, bytes, old_length) == 0;
    free(old);
    return begins_so ? append(file, path, bytes + old_length, length - old_length, error)
                     : file_write(path, bytes, length, error);
}

bool event_file_update(const char *path, const void *bytes, size_t length, struct error *error)
{
    const int file = path_exists(path) ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
    if (file < 0)
        return file_write(path, bytes, length, error);
    const bool done = flock(file, LOCK_EX) == 0 ? update_locked(file, path, bytes, length, error)
                                                : error_system(error, path, "cannot lock this file", NULL);
    close(file);
    return done;
}
