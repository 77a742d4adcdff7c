/* support.h: cmocka with the headers that it needs first, and set-up that fails the test with the error's
 * message. */
#ifndef IDREC_TESTS_SUPPORT_H
#define IDREC_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/backend.h"
#include "core/error.h"

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

#endif
