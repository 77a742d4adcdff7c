#include "experiments/document.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"

static const char style[] =
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 "
    "auto;padding:1rem;color:#1a1a1a;background:#fff}"
    "h1{font-size:1.6rem}h2{font-size:1.25rem;margin-top:2rem;border-bottom:1px solid "
    "#ccc}h3{font-size:1.05rem}"
    ".wide{overflow-x:auto}table{border-collapse:collapse;margin:.75rem 0;font-size:.9rem}"
    "th,td{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:left;white-space:nowrap}"
    "th{background:#f3f3f3}td.number{text-align:right;font-variant-numeric:tabular-nums}"
    "details{margin:.5rem 0}summary{cursor:pointer}"
    "figure{margin:1rem 0}svg{max-width:100%;height:auto}figcaption{font-size:.85rem;color:#555}"
    "@media print{body{max-width:none;font-size:11pt}h2{break-after:avoid}table,figure{break-inside:avoid}}";

static void write_html(FILE *stream, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '<')
            fputs("&lt;", stream);
        else if (*text == '>')
            fputs("&gt;", stream);
        else if (*text == '&')
            fputs("&amp;", stream);
        else
            fputc(*text, stream);
    }
}

static void write_markdown(FILE *stream, const char *text)
{
    for (; *text != '\0'; text++) {
        if (strchr("|<*`", *text) != NULL)
            fputc('\\', stream);
        fputc(*text, stream);
    }
}

static void write_text(const struct document *document, const char *text)
{
    if (document->format == DOCUMENT_HTML)
        write_html(document->stream, text);
    else if (document->format == DOCUMENT_MARKDOWN)
        write_markdown(document->stream, text);
    else
        fputs(text, document->stream);
}

static char *format_text(const char *format, va_list arguments)
{
    char *text = NULL;
    return vasprintf(&text, format, arguments) >= 0 ? text : path_format("(no memory)");
}

void document_begin(const struct document *document, const char *title)
{
    if (document->format == DOCUMENT_HTML) {
        fprintf(document->stream,
                "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
        write_html(document->stream, title);
        fprintf(document->stream, "</title>\n<style>%s</style>\n</head>\n<body>\n", style);
    }
    document_heading(document, 1, "%s", title);
}

void document_end(const struct document *document)
{
    if (document->format == DOCUMENT_HTML)
        fputs("</body>\n</html>\n", document->stream);
}

void document_heading(const struct document *document, int level, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = format_text(format, arguments);
    va_end(arguments);
    if (document->format == DOCUMENT_HTML)
        fprintf(document->stream, "<h%d>", level);
    else if (document->format == DOCUMENT_MARKDOWN)
        fprintf(document->stream, "%.*s ", level, "######");
    write_text(document, text);
    if (document->format == DOCUMENT_HTML)
        fprintf(document->stream, "</h%d>\n", level);
    else
        fputs("\n\n", document->stream);
    free(text);
}

void document_paragraph(const struct document *document, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = format_text(format, arguments);
    va_end(arguments);
    bool html = document->format == DOCUMENT_HTML;
    fputs(html ? "<p>" : "", document->stream);
    write_text(document, text);
    fputs(html ? "</p>\n" : "\n\n", document->stream);
    free(text);
}

void document_fold_begin(const struct document *document, const char *summary)
{
    if (document->format == DOCUMENT_TEXT) {
        document_paragraph(document, "%s", summary);
        return;
    }
    fputs("<details>\n<summary>", document->stream);
    write_html(document->stream, summary);
    fputs("</summary>\n\n", document->stream);
}

void document_fold_end(const struct document *document)
{
    if (document->format != DOCUMENT_TEXT)
        fputs("</details>\n\n", document->stream);
}

void document_figure(const struct document *document, const char *file, const char *caption)
{
    char *path = path_format("%s/%s", document->folder, file), *svg = NULL;
    size_t length;
    struct error error = ERROR_INITIALIZER;
    bool readable = path_exists(path) && file_read(path, &svg, &length, &error);
    const char *drawing = readable ? strstr(svg, "<svg") : NULL;
    if (drawing != NULL && document->format == DOCUMENT_HTML) {
        fprintf(document->stream, "<figure>\n%s<figcaption>", drawing);
        write_html(document->stream, caption);
        fputs("</figcaption>\n</figure>\n", document->stream);
    } else if (drawing != NULL && document->format == DOCUMENT_MARKDOWN) {
        fprintf(document->stream, "![%s](%s)\n\n", caption, file);
    }
    free(svg);
    free(path);
}

void table_cell(struct table *table, const char *format, ...)
{
    if (table->count == table->capacity && !table->incomplete) {
        int capacity = table->capacity > 0 ? 2 * table->capacity : 32;
        char **cells = realloc(table->cells, (size_t)capacity * sizeof *cells);
        table->incomplete = cells == NULL;
        table->cells = cells != NULL ? cells : table->cells;
        table->capacity = cells != NULL ? capacity : table->capacity;
    }
    if (table->incomplete)
        return;
    va_list arguments;
    va_start(arguments, format);
    table->cells[table->count++] = format_text(format, arguments);
    va_end(arguments);
}

static bool is_number(const char *cell)
{
    return isdigit((unsigned char)cell[cell[0] == '+' || cell[0] == '-' || cell[0] == '['] ? 1 : 0);
}

/* Characters, not bytes, of UTF-8. */
static int text_width(const char *text)
{
    int width = 0;
    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}

static int column_width(const struct table *table, int column)
{
    int width = 0;
    for (int i = column; i < table->count; i += table->columns)
        if (text_width(table->cells[i]) > width)
            width = text_width(table->cells[i]);
    return width;
}

static void write_cell_as_text(const struct document *document, const struct table *table, int index)
{
    const char *cell = table->cells[index];
    int column = index % table->columns, padding = column_width(table, column) - text_width(cell);
    bool right = index >= table->columns && is_number(cell);
    fprintf(document->stream, "%*s%s%*s%s", right ? padding : 0, "", cell, right ? 0 : padding, "",
            column + 1 == table->columns ? "\n" : "  ");
}

static void write_cell_as_markdown(const struct document *document, const struct table *table, int index)
{
    int column = index % table->columns;
    fputs(column == 0 ? "| " : "", document->stream);
    write_markdown(document->stream, table->cells[index]);
    fputs(column + 1 == table->columns ? " |\n" : " | ", document->stream);
    if (index + 1 != table->columns)
        return;
    for (int i = 0; i < table->columns; i++)
        fputs(i + 1 == table->columns ? "|---|\n" : "|---", document->stream);
}

static void write_cell_as_html(const struct document *document, const struct table *table, int index)
{
    bool head = index < table->columns;
    fputs(index % table->columns == 0 ? "<tr>" : "", document->stream);
    fputs(head                             ? "<th>"
          : is_number(table->cells[index]) ? "<td class=\"number\">"
                                           : "<td>",
          document->stream);
    write_html(document->stream, table->cells[index]);
    fputs(head ? "</th>" : "</td>", document->stream);
    fputs((index + 1) % table->columns == 0 ? "</tr>\n" : "", document->stream);
}

void document_table(const struct document *document, struct table *table)
{
    bool html = document->format == DOCUMENT_HTML;
    if (table->incomplete)
        *document->incomplete = true;
    fputs(html ? "<div class=\"wide\"><table>\n" : "", document->stream);
    for (int i = 0; i < table->count; i++) {
        if (html)
            write_cell_as_html(document, table, i);
        else if (document->format == DOCUMENT_MARKDOWN)
            write_cell_as_markdown(document, table, i);
        else
            write_cell_as_text(document, table, i);
    }
    fputs(html ? "</table></div>\n" : "\n", document->stream);
    for (int i = 0; i < table->count; i++)
        free(table->cells[i]);
    free(table->cells);
    *table = (struct table){.columns = table->columns};
}
