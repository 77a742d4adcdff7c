/*
 * error.h: the one way in which a function says that it could not do its work.
 *
 * A function that can fail returns bool (true: done) and takes a `struct error *` as its last parameter.
 * The first error set wins; later ones are ignored, so a caller may keep cleaning up with the same object.
 * Nothing below main() calls exit(). main() prints the error as one line,
 *     idrec: FILE:LINE: what is wrong; what to do
 * and ends with the exit status of its kind.
 */
#ifndef IDREC_CORE_ERROR_H
#define IDREC_CORE_ERROR_H

#include <stdbool.h>
#include <stdio.h>

enum error_kind {
    ERROR_NONE = 0,
    ERROR_RUN = 1,      /* the run failed */
    ERROR_USAGE = 2,    /* bad usage, bad configuration */
    ERROR_DIVERGED = 3, /* no model comes of these settings: a loss is not a number, say; exit status 1 */
    ERROR_PUT_ASIDE =
        76, /* all that is left to do is under way in other processes: to be begun again later */
    ERROR_INTERRUPTED = 130 /* SIGINT or SIGTERM arrived; the state is saved */
};

struct error {
    enum error_kind kind;
    char message[2048]; /* "FILE:LINE: what is wrong; what to do", without the program's name */
};

/* The value that every `struct error` starts from. */
#define ERROR_INITIALIZER ((struct error){.kind = ERROR_NONE, .message = ""})

/* Records an error that belongs to no place in a file. Always returns false, so that a caller can
 * write `return error_set(error, ERROR_RUN, "...")`. */
bool error_set(struct error *error, enum error_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for an error at a line of an input file; line 0 leaves the line out. */
bool error_at(struct error *error, enum error_kind kind, const char *file, long line, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* An error of the operating system: appends ": " and the text of errno. `advice` may be NULL. */
bool error_system(struct error *error, const char *file, const char *what, const char *advice);

/* Out of memory: names what was to be allocated, its size, and the setting to lower. */
bool error_memory(struct error *error, const char *what, size_t bytes, const char *advice);

/* Prints "idrec: MESSAGE\n". Prints nothing when no error is set. */
void error_print(const struct error *error, FILE *stream);

#endif
