#include "experiments/language_length.h"

#include <stdlib.h>
#include <string.h>

#include "models/language/checkpoint_config.h"

static int64_t longest_item(const struct item_tokens *tokens)
{
    const struct token_rows *const forms[] = {&tokens->first, &tokens->next};
    int64_t longest = 0;
    for (int form = 0; form < 2; form++)
        for (int64_t item = 0; item < forms[form]->count; item++)
            if (token_row_length(forms[form], item) > longest)
                longest = token_row_length(forms[form], item);
    return longest;
}

int64_t language_tokens_after(const struct config *config, const struct prompt_layout *layout)
{
    const char *method = config_string(config, "generate.method");
    const int64_t limit = config_integer(config, "generate.max_tokens"), item = longest_item(&layout->answer);
    const int64_t all = config_integer(config, "generate.max_items") * item + 1;
    const bool limited = limit > 0 && (limit < all || !config_boolean(config, "generate.constrained"));
    if (strcmp(method, "ranking") == 0 || strcmp(method, "beam") == 0)
        return item + 1;
    return (limited ? limit : all) + (strcmp(method, "beam_lists") == 0);
}

bool language_length_check(const struct config *config, const struct prompt_settings *prompt,
                           struct error *error)
{
    struct transformer_settings settings;
    char *folder = config_file_path(config, "language_model.checkpoint");
    if (!folder)
        return true;
    const bool read = checkpoint_config_read(&settings, folder, error);
    free(folder);
    if (!read)
        return false;
    const int64_t longest = settings.sequence_maximum, after = language_tokens_after(config, prompt->layout);
    return longest == 0 || prompt->length_maximum + after <= longest ||
           config_complain(
               config, "prompts.length", error,
               "prompts of up to %lld tokens and up to %lld generated behind them are more than the "
               "%lld that the checkpoint was made for; lower it, or generate.max_tokens",
               (long long)prompt->length_maximum, (long long)after, (long long)longest);
}
