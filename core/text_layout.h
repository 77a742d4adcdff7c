/* text_layout.h: which format a text of interactions is in, and in which fields of a line the values
 * stand. */
#ifndef IDREC_CORE_TEXT_LAYOUT_H
#define IDREC_CORE_TEXT_LAYOUT_H

#include "core/readers.h"
#include "core/text_source.h"

enum text_separator { SEPARATOR_TAB, SEPARATOR_COMMA, SEPARATOR_DOUBLE_COLON, SEPARATOR_BLANKS };

struct text_layout {
    enum text_separator separator;
    bool lists;                   /* a line is `user item item ...`; otherwise it is one interaction */
    bool colon;                   /* lists: `user:item item ...` */
    bool header;                  /* the first line is not data */
    int fields;                   /* of a line that is one interaction */
    int user, item, rating, time; /* fields from 0; -1: none */
    char description[128];        /* for people: "recbole (user_id, item_id, rating, timestamp)" */
};

/* Takes settings->format at its word, or finds out (auto): an error when the first lines allow two
 * readings. */
bool text_layout_find(struct text_layout *layout, const struct text_source *source,
                      const struct reader_settings *settings, struct error *error);

#define FIELDS_MAX 64
struct text_field {
    const char *text;
    size_t length;
};
/* Splits line .. end (no line end inside). Returns the number of fields, FIELDS_MAX + 1 when there are more,
 * -1 when a quoted field is not closed or holds a quote. Blanks: runs of spaces and tabs separate. */
int split_fields(struct text_field fields[FIELDS_MAX], const char *line, const char *end,
                 enum text_separator separator);
/* The end of the line at `line`, without its line end; *next is the start of the one after. */
const char *line_end(const char *line, const char *end, const char **next);

#endif
