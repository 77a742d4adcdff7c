#include "core/error.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

static void set_message(struct error *error, enum error_kind kind, const char *prefix, const char *format,
                        va_list arguments)
{
    if (error->kind != ERROR_NONE)
        return;
    error->kind = kind;
    size_t used = (size_t)snprintf(error->message, sizeof error->message, "%s", prefix);
    if (used < sizeof error->message)
        vsnprintf(error->message + used, sizeof error->message - used, format, arguments);
    for (char *character = error->message; *character; character++)
        if (*character == '\n' || *character == '\r')
            *character = ' ';
}

bool error_set(struct error *error, enum error_kind kind, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    set_message(error, kind, "", format, arguments);
    va_end(arguments);
    return false;
}

bool error_at(struct error *error, enum error_kind kind, const char *file, long line, const char *format, ...)
{
    char prefix[1100];
    if (line > 0)
        snprintf(prefix, sizeof prefix, "%.1024s:%ld: ", file, line);
    else
        snprintf(prefix, sizeof prefix, "%.1024s: ", file);
    va_list arguments;
    va_start(arguments, format);
    set_message(error, kind, prefix, format, arguments);
    va_end(arguments);
    return false;
}

bool error_system(struct error *error, const char *file, const char *what, const char *advice)
{
    const char *reason = strerror(errno);
    if (advice)
        return error_at(error, ERROR_RUN, file, 0, "%s: %s; %s", what, reason, advice);
    return error_at(error, ERROR_RUN, file, 0, "%s: %s", what, reason);
}

bool error_memory(struct error *error, const char *what, size_t bytes, const char *advice)
{
    return error_set(error, ERROR_RUN, "out of memory: %s needs %.1f MiB; %s", what,
                     (double)bytes / (1024.0 * 1024.0), advice ? advice : "free memory or raise the limit");
}

void error_print(const struct error *error, FILE *stream)
{
    if (error->kind != ERROR_NONE)
        fprintf(stream, "idrec: %s\n", error->message);
}
