#include "core/json_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"

bool json_file_write(const char *path, const json_t *value, struct error *error)
{
    char *text = value ? json_dumps(value, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) : NULL;
    const bool done = text ? file_write(path, text, strlen(text), error) : error_memory(error, path, 0, NULL);
    free(text);
    return done;
}

json_t *json_number_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}
