#include "experiments/filter_settings.h"

#include <stdio.h>
#include <string.h>

static bool complain_about_filter(const struct config *config, int index, struct error *error,
                                  const char *what)
{
    char path[64];
    snprintf(path, sizeof path, "augment.filters[%d].name", index);
    return config_complain(config, path, error, "%s", what);
}

static bool read_filter(struct filter *filter, const struct config *config, int index, struct error *error)
{
    *filter = (struct filter){
        .kind = filter_from_name(config_string(config, "augment.filters[%d].name", index)),
        .minimum_log_probability =
            config_number(config, "augment.filters[%d].minimum_log_probability", index),
        .minimum_votes = config_integer(config, "augment.filters[%d].minimum_votes", index),
        .maximum = config_integer(config, "augment.filters[%d].maximum", index),
        .quantile = config_number(config, "augment.filters[%d].quantile", index),
    };
    const char *method = config_string(config, "generate.method");
    const bool lists = strcmp(method, "sampling") == 0 || strcmp(method, "beam_lists") == 0;
    if (filter->kind == FILTER_INCOMPLETE_TAIL &&
        (!lists || config_boolean(config, "generate.constrained") ||
         strcmp(config_string(config, "language_model.vocabulary"), "text") != 0))
        return complain_about_filter(
            config, index, error,
            "incomplete_tail needs text that is written freely (language_model.vocabulary: text, "
            "generate.method: sampling or beam_lists, generate.constrained: false): elsewhere no "
            "item is cut off; take the filter out");
    return true;
}

/* Without these three a training set could hold rows that are no interactions, or one twice. */
static bool check_filters(const struct filter *filters, int count, const struct config *config,
                          struct error *error)
{
    static const enum filter_kind required[] = {FILTER_CATALOGUE, FILTER_SEEN, FILTER_DUPLICATE};
    if (count == 0 || filters[0].kind != FILTER_CATALOGUE)
        return config_complain(config, "augment.filters", error, "the first filter must be catalogue");
    for (size_t i = 0; i < sizeof required / sizeof *required; i++) {
        int place = 0;
        while (place < count && filters[place].kind != required[i])
            place++;
        if (place == count)
            return config_complain(config, "augment.filters", error,
                                   "catalogue, seen and duplicate must be in the list; add %s",
                                   filter_name(required[i]));
    }
    return true;
}

bool filter_settings_read(struct filter filters[FILTERS_MAXIMUM], int *count, const struct config *config,
                          struct error *error)
{
    int64_t length = config_length(config, "augment.filters");
    if (length > FILTERS_MAXIMUM)
        return config_complain(config, "augment.filters", error, "at most %d filters", FILTERS_MAXIMUM);
    *count = (int)length;
    for (int i = 0; i < *count; i++)
        if (!read_filter(&filters[i], config, i, error))
            return false;
    return check_filters(filters, *count, config, error);
}
