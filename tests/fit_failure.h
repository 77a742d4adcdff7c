/* fit_failure.h: a fit that is refused, or fails, says why. */
#ifndef IDREC_TESTS_FIT_FAILURE_H
#define IDREC_TESTS_FIT_FAILURE_H

#include <string.h>

#include "models/recommenders/recommender.h"
#include "tests/support.h"

static inline void expect_failure_on(struct backend *backend, const struct recommender_settings *settings,
                                     const struct training_set *data, const char *expected)
{
    struct error error = ERROR_INITIALIZER;
    struct recommender *recommender;
    struct fit_report report;
    const struct fit_watch nothing = {0};
    assert_false(
        recommender_fit(&recommender, backend, settings, data, &nothing, 7, NULL, NULL, &report, &error));
    assert_null(recommender);
    if (!strstr(error.message, expected))
        fail_msg("'%s' does not say '%s'", error.message, expected);
}

static inline void expect_failure(const struct recommender_settings *settings,
                                  const struct training_set *data, const char *expected)
{
    struct backend *backend = open_backend(1);
    expect_failure_on(backend, settings, data, expected);
    backend_close(backend);
}

#endif
