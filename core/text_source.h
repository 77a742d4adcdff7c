/* text_source.h: the whole text of a file as one block of memory, unpacked when it is gzip'ed. */
#ifndef IDREC_CORE_TEXT_SOURCE_H
#define IDREC_CORE_TEXT_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

struct text_source {
    const char *path; /* not owned */
    const char *text; /* without a byte order mark and without white space at the end; not NUL-ended */
    size_t length;    /* bytes of text */
    void *memory;     /* what text lies in: malloc'ed, or a mapping of `mapped` bytes */
    size_t mapped;
};

/* Plain files are mapped, gzip'ed ones (told by their first bytes, not by their name) are unpacked. */
bool text_source_open(struct text_source *source, const char *path, struct error *error);
/* The same over bytes that stay the caller's; `name` stands for the path in messages. */
bool text_source_from_memory(struct text_source *source, const char *name, const void *bytes, size_t length,
                             struct error *error);
void text_source_close(struct text_source *source);

/* The number, from 1, of the line that `position` lies in. */
long text_source_line(const struct text_source *source, const char *position);

#endif
