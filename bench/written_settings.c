#include "bench/written_settings.h"

#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/file.h"

bool read_written_settings(struct recommender_settings *settings, int count, char **values,
                           struct error *error)
{
    char *text = path_format("recommenders:\n  -");
    for (int place = 0; place < count; place++) {
        const int name = (int)strcspn(values[place], "=");
        char *longer = path_format("%s %.*s: %s\n   ", text, name, values[place],
                                   values[place][name] ? values[place] + name + 1 : "");
        free(text);
        text = longer;
    }
    struct config *config = NULL;
    const bool done = config_parse(&config, "settings", text, strlen(text), error) &&
                      recommender_settings_read(settings, config, 0, error);
    config_free(config);
    free(text);
    return done;
}
