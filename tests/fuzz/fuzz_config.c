/* Any text is either refused as bad usage or read, written and read again as the same configuration. */
#include <stdlib.h>
#include <string.h>

#include "core/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct config *parse(const char *text, size_t length)
{
    struct error error = ERROR_INITIALIZER;
    struct config *config = NULL;
    const bool done = config_parse(&config, "fuzz.yaml", text, length, &error);
    if (done != (config != NULL) || (!done && error.kind != ERROR_USAGE) || strchr(error.message, '\n'))
        abort();
    return config;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config *config = parse((const char *)data, size);
    if (!config)
        return 0;
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    if (!stream || !config_write(config, NULL, stream))
        abort();
    fclose(stream);
    struct config *again = parse(text, length);
    if (!again)
        abort();
    static const char *const sections[] = {"name",    "seed",         "data",       "language_model",
                                           "prompts", "pretrain",     "finetune",   "generate",
                                           "augment", "recommenders", "experiment", "evaluate"};
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        char *first = config_canonical(config, sections[i]), *second = config_canonical(again, sections[i]);
        if (strcmp(first, second) != 0)
            abort();
        free(first);
        free(second);
    }
    free(text);
    config_free(config);
    config_free(again);
    return 0;
}
