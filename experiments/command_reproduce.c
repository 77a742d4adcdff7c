#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/command.h"
#include "experiments/reproduction.h"

enum { OPTION_LIST, OPTION_MARKDOWN, OPTION_JSON };

/* The words apart: files of recipes, and overrides of all of them. */
struct request {
    int file_count, override_count;
    char *files[WORDS_MAXIMUM], *overrides[WORDS_MAXIMUM];
};

static struct request sort_words(const struct invocation *invocation)
{
    struct request request = {0};
    for (int i = 0; i < invocation->word_count; i++) {
        char *word = invocation->words[i];
        if (strchr(word, '=') && !path_exists(word))
            request.overrides[request.override_count++] = word;
        else
            request.files[request.file_count++] = word;
    }
    return request;
}

static bool print(const struct invocation *invocation, const json_t *records,
                  void (*print_tables)(const json_t *records, const struct document *document),
                  struct error *error)
{
    if (invocation->option[OPTION_JSON]) {
        json_dumpf(records, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
        putchar('\n');
        return true;
    }
    bool incomplete = false;
    const struct document document = {.stream = stdout,
                                      .format = invocation->option[OPTION_MARKDOWN] ? DOCUMENT_MARKDOWN
                                                                                    : DOCUMENT_TEXT,
                                      .incomplete = &incomplete};
    print_tables(records, &document);
    return !incomplete || error_memory(error, "the table of recipes", 0, NULL);
}

static bool list(const struct invocation *invocation, const struct request *request, struct error *error)
{
    if (request->override_count > 0)
        return error_set(error, ERROR_USAGE, "%.100s: --list takes files and folders only",
                         request->overrides[0]);
    json_t *records = json_array();
    bool done = request->file_count > 0 || recipes_list(records, "configs/recommenders", error);
    for (int i = 0; done && i < request->file_count; i++)
        done = recipes_list(records, request->files[i], error);
    done = done && print(invocation, records, recipes_print, error);
    json_decref(records);
    return done;
}

/* Several files are mostly a pattern's, in which a configuration without figures may lie among the recipes. */
static bool skip_others(struct request *request, struct error *error)
{
    int kept = 0;
    for (int i = 0; request->file_count > 1 && i < request->file_count; i++) {
        bool has_figures;
        if (!reproduction_has_figures(&has_figures, request->files[i], error))
            return false;
        if (has_figures)
            request->files[kept++] = request->files[i];
        else
            fprintf(stderr, "%s: skipped, there is no figure to compare with\n", request->files[i]);
    }
    if (request->file_count > 1 && kept == 0)
        return error_set(error, ERROR_USAGE,
                         "none of the files has a section `recipe` with figures; see docs/reproduction.md");
    request->file_count = request->file_count > 1 ? kept : request->file_count;
    return true;
}

/* Everything that can be refused is, before the first recipe runs for hours. */
static bool check_all(const struct request *request, struct error *error)
{
    char *folders[WORDS_MAXIMUM] = {NULL};
    bool done = true;
    for (int i = 0; done && i < request->file_count; i++) {
        done = reproduction_check(&folders[i], request->files[i], request->override_count, request->overrides,
                                  error);
        for (int before = 0; done && before < i; before++)
            if (strcmp(folders[before], folders[i]) == 0)
                done = error_set(error, ERROR_USAGE,
                                 "%s and %s would run in the same folder, %s; give them different names, or "
                                 "run one at a time",
                                 request->files[before], request->files[i], folders[i]);
    }
    for (int i = 0; i < request->file_count; i++)
        free(folders[i]);
    return done;
}

/* What was reached before a failure is printed all the same. */
static bool run_all(const struct invocation *invocation, const struct request *request, struct error *error)
{
    json_t *records = json_array();
    bool done = true;
    for (int i = 0; done && i < request->file_count; i++) {
        json_t *record;
        done =
            reproduction_run(&record, request->files[i], request->override_count, request->overrides, error);
        if (done)
            json_array_append_new(records, record);
    }
    const bool printed = print(invocation, records, reproduction_print, error);
    const int missed = reproduction_missed(records);
    json_decref(records);
    if (done && missed > 0)
        return error_set(error, ERROR_RUN,
                         "%d of the published figures missed by more than the tolerance; see the table above",
                         missed);
    return done && printed;
}

bool command_reproduce(const struct invocation *invocation, struct error *error)
{
    struct request request = sort_words(invocation);
    if (invocation->option[OPTION_LIST])
        return list(invocation, &request, error);
    if (request.file_count == 0)
        return error_set(error, ERROR_USAGE,
                         "usage: idrec reproduce RECIPE ... [key.path=value ...]; `idrec reproduce --list` "
                         "tells what recipes there are");
    return skip_others(&request, error) && check_all(&request, error) && run_all(invocation, &request, error);
}
