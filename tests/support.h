/* support.h: cmocka with the headers that it needs first, set-up that fails the test with the error's message, and a
 * folder for a test. */
#ifndef IDREC_TESTS_SUPPORT_H
#define IDREC_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/backend.h"
#include "core/error.h"
#include "core/file.h"

/* Fails the test when something that reports errors has not been done. */
static inline void require(bool done, const struct error *error)
{
    if (!done)
        fail_msg("%s", error->message);
}

static inline struct backend *open_backend(int threads)
{
    struct error error = ERROR_INITIALIZER;
    struct backend *backend = backend_open("cpu", threads, &error);
    require(backend != NULL, &error);
    return backend;
}

/* Set-up and tear-down of a test: *state is the path of a folder of its own, malloc'ed. */
static inline int temporary_folder_make(void **state)
{
    *state = mkdtemp(path_format("/tmp/idrec-test-XXXXXX"));
    return *state ? 0 : -1;
}

static inline int temporary_folder_remove(void **state)
{
    struct error error = ERROR_INITIALIZER;
    const bool done = path_remove((const char *)*state, &error);
    free(*state);
    return done ? 0 : -1;
}

#endif
