/*
 * settings.h: settings of a recommender by the name that the config knows them by, as texts.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_SETTINGS_H
#define IDREC_MODELS_RECOMMENDERS_SETTINGS_H

#include "models/recommenders/recommender.h"

/* Whether a fit of `model` depends on the setting; false for a name that is none. */
bool recommender_reads_setting(const char *model, const char *name);
/* Whether the setting says how added rows are used, so that it changes nothing where there are none. */
bool recommender_setting_is_of_added_rows(const char *name);
/* The names of all settings, in the order of the config; NULL at and after the last. */
const char *recommender_setting_name(int place);

/* What `{model: MODEL}` among `recommenders:` means. */
bool recommender_settings_default(struct recommender_settings *settings, const char *model,
                                  struct error *error);

/* Of the first of that model among `recommenders:`, else the usual ones. */
bool recommender_settings_find(struct recommender_settings *settings, const struct config *config,
                               const char *model, struct error *error);

/* Sets one; an unknown name or a text of another kind is an error. Ranges are the schema's affair. */
bool recommender_setting_put(struct recommender_settings *settings, const char *name, const char *text,
                             struct error *error);
/* Its value; a number has as many digits as are read back as the same number. malloc'ed; NULL for a name that is
 * none. */
char *recommender_setting_text(const struct recommender_settings *settings, const char *name);

#endif
