/*
 * document.h: headings, paragraphs, tables and figures, written once and rendered as plain text, Markdown, a self-contained
 * HTML page, or LaTeX, of which only the tables that have a name are kept, each as tables/NAME.tex.
 */
#ifndef IDREC_EXPERIMENTS_DOCUMENT_H
#define IDREC_EXPERIMENTS_DOCUMENT_H

#include <stdbool.h>
#include <stdio.h>

#include "core/error.h"

enum document_format { DOCUMENT_TEXT, DOCUMENT_MARKDOWN, DOCUMENT_HTML, DOCUMENT_LATEX };

struct document_contents;
struct document {
    FILE *stream;
    enum document_format format;
    const char *folder; /* figures are named relative to it */
    bool *incomplete;   /* set where there was no memory for a table, or a file could not be written */
    struct document_contents *contents; /* NULL: the headings are not listed */
    struct error *error;                /* of files; needed for LaTeX */
};

/* Writes folder/name with `write`, which gets `subject`. LaTeX has no file of its own; `name` then says what it is. */
typedef void document_writer(const void *subject, const struct document *document);
bool document_save(const char *folder, const char *name, enum document_format format, document_writer *write,
                   const void *subject, struct error *error);

/* Text goes in as it is: what the format reserves is escaped. */
void document_begin(const struct document *document, const char *title);
void document_end(const struct document *document);
void document_heading(const struct document *document, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void document_paragraph(const struct document *document, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A list, whose items each have a name that stands out. */
void document_list_begin(const struct document *document);
void document_list_item(const struct document *document, const char *name, const char *text);
/* The same with a name that leads to a file, relative to the document's folder. */
void document_list_link(const struct document *document, const char *name, const char *file,
                        const char *text);
/* "report.html", or "report.md" from Markdown: reports lead to others of their format. */
const char *document_report_name(const struct document *document);
void document_list_end(const struct document *document);
/* What comes between both can be opened and closed by the reader, where the format has that. */
void document_fold_begin(const struct document *document, const char *summary);
void document_fold_end(const struct document *document);
/* The SVG at folder/file: linked from Markdown, inlined in HTML, left out of text and where it does not
 * exist. */
void document_figure(const struct document *document, const char *file, const char *caption);

/* Cells fill row after row; the first row is the head. */
struct table {
    const char *name; /* of its LaTeX file, without .tex; NULL: it has none */
    int columns, count, capacity;
    char **cells;
    bool incomplete; /* there was no memory for a cell */
};
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_cells(struct table *table, const char *const *texts, size_t count);
/* Writes the table and frees its cells. Columns of numbers stand to the right. */
void document_table(const struct document *document, struct table *table);
/* Whether most cells of a column below its head are numbers, such as "+1.5 %" or "[-0.2, 0.1]"; empty ones don't count. */
bool table_is_number_column(const struct table *table, int column);
void table_discard(struct table *table);
/* Whether there is nothing but the head. */
bool table_is_empty(const struct table *table);
/* The same as document_table(), but an empty table is left out. */
void document_table_if_any(const struct document *document, struct table *table);

#endif
