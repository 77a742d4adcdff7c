#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json_file.h"
#include "experiments/command.h"
#include "experiments/score.h"
#include "models/language/tokenizer.h"

enum { OPTION_TOKENS, OPTION_TEXT, OPTION_ADAPTER, OPTION_TOP, OPTION_JSON, OPTION_DEVICE };

/* ---- the tokens --------------------------------------------------------------------------------------- */

/* "1,2,3" */
static bool parse_tokens(struct token_list *tokens, const char *text, struct error *error)
{
    tokens->token = malloc((strlen(text) + 1) * sizeof *tokens->token);
    if (!tokens->token)
        return error_memory(error, "the tokens", strlen(text) * sizeof *tokens->token, NULL);
    for (const char *place = text;;) {
        char *end;
        errno = 0;
        const long long token = strtoll(place, &end, 10);
        if (end == place || errno != 0 || token < 0 || token > INT32_MAX || (*end != ',' && *end != '\0'))
            return error_set(
                error, ERROR_USAGE,
                "--tokens: '%.40s' does not begin with a token; numbers from 0 on, with commas between "
                "them, are expected",
                place);
        tokens->token[tokens->count++] = (int32_t)token;
        if (*end == '\0')
            return true;
        place = end + 1;
    }
}

static bool encode_text(struct token_list *tokens, const struct tokenizer *tokenizer, const char *text,
                        const char *path, struct error *error)
{
    const struct encoding_options options = {.special = true};
    if (!tokenizer)
        return error_set(error, ERROR_USAGE,
                         "--text: %.800s has no tokenizer.json beside its model; give --tokens=1,2,3", path);
    if (!tokenizer_encode(tokenizer, text, strlen(text), options, tokens, error))
        return false;
    return tokens->count > 0 ||
           error_set(error, ERROR_USAGE, "--text: the text has no tokens; give a longer one");
}

/* ---- what is printed ---------------------------------------------------------------------------------- */

/* A token as its tokenizer writes it, NULL without one. */
static const char *name_of(const struct tokenizer *tokenizer, int32_t token)
{
    return tokenizer ? tokenizer_token(tokenizer, token) : NULL;
}

static double total(const struct score *score)
{
    double sum = 0.0;
    for (int64_t index = 1; index < score->count; index++)
        sum += score->log_probability[index];
    return sum;
}

static bool print_json(const struct score *score, const struct language_folder *folder,
                       const struct tokenizer *tokenizer, struct error *error)
{
    json_t *tokens = json_array(), *logits = json_array();
    for (int64_t index = 0; index < score->count; index++) {
        json_t *token = json_pack("{s:i, s:o}", "token", score->token[index], "log_probability",
                                  json_number_or_null(score->log_probability[index]));
        if (tokenizer)
            json_object_set_new(token, "text", json_pack("s?", name_of(tokenizer, score->token[index])));
        json_array_append_new(tokens, token);
    }
    for (int64_t column = 0; column < score->classes; column++)
        json_array_append_new(logits, json_number_or_null((double)score->next_logits[column]));
    json_t *object =
        json_pack("{s:s, s:s?, s:o, s:o, s:o}", "base", folder->base, "adapter", folder->adapter, "tokens",
                  tokens, "log_probability", json_number_or_null(total(score)), "next_logits", logits);
    if (!object)
        return error_memory(error, "the scores", (size_t)score->classes * sizeof(json_t), NULL);
    json_dumpf(object, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(object);
    return true;
}

/* The token's number and, in quotes, its text. */
static void print_token(const struct tokenizer *tokenizer, int32_t token)
{
    const char *name = name_of(tokenizer, token);
    json_t *string = name ? json_string(name) : NULL;
    char *quoted = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    printf("%9d  %-24s", token, quoted ? quoted : "");
    free(quoted);
    json_decref(string);
}

static void print_tokens(const struct score *score, const struct tokenizer *tokenizer)
{
    printf("%8s %9s  %-24s %15s\n", "position", "token", tokenizer ? "text" : "", "log-probability");
    for (int64_t index = 0; index < score->count; index++) {
        printf("%8lld ", (long long)index);
        print_token(tokenizer, score->token[index]);
        if (index == 0)
            printf(" %15s\n", "-");
        else
            printf(" %15.4f\n", score->log_probability[index]);
    }
    if (score->count > 1)
        printf("all after the first: %.4f, perplexity %.4g\n", total(score),
               exp(-total(score) / (double)(score->count - 1)));
}

static bool print_table(const struct score *score, const struct tokenizer *tokenizer, int64_t top,
                        struct error *error)
{
    top = top < score->classes ? top : score->classes;
    int32_t *best = malloc((size_t)top * sizeof *best);
    if (!best)
        return error_memory(error, "the best tokens", (size_t)top * sizeof *best, "lower --top");
    score_best(score, best, top);
    print_tokens(score, tokenizer);
    printf("\n%8s %9s  %-24s %15s %9s\n", "next", "token", tokenizer ? "text" : "", "log-probability",
           "logit");
    for (int64_t place = 0; place < top; place++) {
        const double logit = (double)score->next_logits[best[place]];
        printf("%8lld ", (long long)place + 1);
        print_token(tokenizer, best[place]);
        printf(" %15.4f %9.4f\n", logit - score->next_log_sum, logit);
    }
    free(best);
    return true;
}

/* ---- the command -------------------------------------------------------------------------------------- */

static bool score_and_print(const struct invocation *invocation, const struct language_folder *folder,
                            const struct tokenizer *tokenizer, const struct token_list *tokens, int64_t top,
                            struct error *error)
{
    const char *device = invocation->option[OPTION_DEVICE];
    struct score score;
    struct backend *backend = backend_open(device ? device : "auto", 0, error);
    if (!backend)
        return false;
    const bool printed = score_tokens(&score, backend, folder, tokens->token, tokens->count, error) &&
                         (invocation->option[OPTION_JSON] ? print_json(&score, folder, tokenizer, error)
                                                          : print_table(&score, tokenizer, top, error));
    score_free(&score);
    backend_close(backend);
    return printed;
}

static bool with_tokenizer(const struct invocation *invocation, const struct language_folder *folder,
                           int64_t top, struct error *error)
{
    const char *const *option = invocation->option;
    struct tokenizer *tokenizer = NULL;
    struct token_list tokens = {.count = 0};
    const bool done = (!folder->tokenizer || tokenizer_load(&tokenizer, folder->tokenizer, error)) &&
                      (option[OPTION_TOKENS] ? parse_tokens(&tokens, option[OPTION_TOKENS], error)
                                             : encode_text(&tokens, tokenizer, option[OPTION_TEXT],
                                                           invocation->words[0], error)) &&
                      score_and_print(invocation, folder, tokenizer, &tokens, top, error);
    token_list_free(&tokens);
    tokenizer_free(tokenizer);
    return done;
}

bool command_score(const struct invocation *invocation, struct error *error)
{
    const char *const *option = invocation->option;
    struct language_folder folder;
    int64_t top = 10;
    if (!option[OPTION_TOKENS] == !option[OPTION_TEXT])
        return error_set(error, ERROR_USAGE,
                         "either --tokens=1,2,3 or --text='...' is needed; see `idrec score --help`");
    if (!option_integer(invocation, OPTION_TOP, 1, &top, error))
        return false;
    const bool done = language_folder_open(&folder, invocation->words[0], option[OPTION_ADAPTER], error) &&
                      with_tokenizer(invocation, &folder, top, error);
    language_folder_close(&folder);
    return done;
}
