/*
 * checkpoint_keys.h: which keys of a Hugging Face config.json mean what here. A key is read by checkpoint_config.c, or
 * is harmless (it concerns training, saving, sampling or speed and leaves what the model computes as it is), or has to
 * be off or of a certain value. Any other key is refused by name and value unless it is off: it may ask for a
 * computation that is lacking here. Only checkpoint_config.c includes this.
 */
#ifndef IDREC_MODELS_LANGUAGE_CHECKPOINT_KEYS_H
#define IDREC_MODELS_LANGUAGE_CHECKPOINT_KEYS_H

#include "models/language/checkpoint_document.h"

/* Of the whole config.json. */
bool checkpoint_keys_check(const struct document *document, struct error *error);
/* Of its object `name`, "rope_scaling" or "rope_parameters". */
bool checkpoint_rope_keys_check(const struct document *document, const char *name, const json_t *object,
                                struct error *error);
/* Sets *error to "'NAME' is VALUE" and the advice; false. */
bool checkpoint_key_refuse(const struct document *document, const char *name, const json_t *value,
                           const char *advice, struct error *error);

#endif
