/*
 * event_file.h: the files that TensorBoard reads, events.out.tfevents.*: records of TensorFlow's TFRecord format
 *   u64 length, u32 masked CRC-32C of the length, bytes, u32 masked CRC-32C of the bytes; little-endian
 * each a message Event of tensorflow/core/util/event.proto in the wire format of protocol buffers, with
 *   wall_time (1, double), step (2, int64), file_version (3, string) or summary (5, Summary), where a
 *   Summary has values (1) of tag (1, string) and simple_value (2, float).
 * The mask of a checksum is a rotation and a sum (tensorflow/core/lib/hash/crc32c.h). CRC-32C: RFC 3720, appendix B.4.
 */
#ifndef IDREC_CORE_EVENT_FILE_H
#define IDREC_CORE_EVENT_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/error.h"

/* CRC-32C (Castagnoli), not masked. */
uint32_t crc32c(const void *bytes, size_t length);

/* The event that a file begins with. Times are seconds since 1970. */
void event_write_version(FILE *stream, double wall_time);
/* One value of the curve `tag`, rounded to f32. step >= 0. */
void event_write_scalar(FILE *stream, double wall_time, int64_t step, const char *tag, double value);

/* Makes the file hold these bytes. Where it holds the first of them the others are appended, so that a program that reads
 * it meanwhile goes on; else it is replaced. */
bool event_file_update(const char *path, const void *bytes, size_t length, struct error *error);

#endif
