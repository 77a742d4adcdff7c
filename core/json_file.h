/* json_file.h: JSON files that appear whole or not at all, and numbers that JSON has no word for. */
#ifndef IDREC_CORE_JSON_FILE_H
#define IDREC_CORE_JSON_FILE_H

#include <jansson.h>

#include "core/error.h"

/* Indented, with all digits of its numbers, which read back as they were. `value` NULL: there was no memory for it. */
bool json_file_write(const char *path, const json_t *value, struct error *error);

/* null for what is no finite number. */
json_t *json_number_or_null(double value);

#endif
