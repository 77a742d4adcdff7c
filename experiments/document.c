#include "experiments/document.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/document_latex.h"

/* Dark on white, for a phone, a screen and paper. Tables scroll in a box of their own, whose shadows tell that there is more,
 * and their first column stays. */
static const char style[] =
    "html{-webkit-text-size-adjust:100%}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:90rem;margin:0 auto;padding:1rem;color:#1a1a1a;"
    "background:#fff;overflow-wrap:break-word}"
    "h1{font-size:1.6rem;line-height:1.2;margin:.5rem 0 1rem}"
    "h2{font-size:1.25rem;margin:2.25rem 0 .75rem;border-bottom:1px solid #bbb}"
    "h3{font-size:1.05rem;margin:1.5rem 0 .5rem}"
    "p,ul.list{max-width:48rem}a{color:#1f5fa8}nav{border:1px solid #ddd;border-radius:4px;padding:.5rem "
    ".75rem;font-size:.95rem}"
    "nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1.1rem;list-style:none;margin:0;padding:0}"
    "nav a{display:inline-block;padding:.2rem 0}"
    ".wide{overflow-x:auto;margin:.75rem 0;background:linear-gradient(90deg,#fff 2rem,#fff0),"
    "linear-gradient(270deg,#fff 2rem,#fff0) 100% 0,linear-gradient(90deg,#0003,#0000),"
    "linear-gradient(270deg,#0003,#0000) 100% 0;background-repeat:no-repeat;"
    "background-size:3rem 100%,3rem 100%,.7rem 100%,.7rem "
    "100%;background-attachment:local,local,scroll,scroll}"
    "table{border-collapse:collapse;font-size:.9rem}"
    "th,td{padding:.3rem .6rem;border-bottom:1px solid "
    "#ddd;text-align:left;vertical-align:top;white-space:nowrap}"
    "th{border-bottom:2px solid #888;vertical-align:bottom}"
    "td.number,th.number{text-align:right;font-variant-numeric:tabular-nums}"
    "td.text{white-space:normal;min-width:15rem}"
    "th:first-child,td:first-child{position:sticky;left:0;background:#fff;border-right:1px solid "
    "#ddd;padding-left:0;white-space:normal;overflow-wrap:break-word;min-width:11rem;max-width:26rem}"
    "ul.list{margin:.25rem 0 .75rem;padding-left:1.25rem}"
    "details{margin:.75rem 0}summary{cursor:pointer;color:#1f5fa8;padding:.3rem 0}"
    "figure{margin:1rem 0}figure svg{width:100%;max-width:36rem;height:auto;display:block}"
    "figcaption{font-size:.9em;color:#444}"
    "@media(max-width:40rem){body{padding:.75rem}th,td{padding:.3rem .45rem}"
    "th:first-child,td:first-child{max-width:36vw;min-width:7rem;white-space:normal;overflow-wrap:break-word}"
    "}"
    "@media screen and (min-width:40rem){th:not(:first-child) wbr{display:none}}"
    "@media(min-width:52rem),print{figure{display:inline-block;width:48%;margin:1rem 1.5% 1rem "
    "0;vertical-align:top}}"
    "@media print{@page{size:A4;margin:14mm "
    "12mm}body{max-width:none;padding:0;font-size:10pt}nav{display:none}"
    "h2,h3,summary{break-after:avoid}figure{break-inside:avoid}"
    ".wide{overflow:visible;background:none}table{font-size:7pt;max-width:100%;break-inside:avoid}"
    "th,td{white-space:normal;padding:.15rem .35rem}td.number{white-space:nowrap}"
    "th{overflow-wrap:break-word}td.text{min-width:0}p:has(+ul),p:has(+.wide){break-after:avoid}"
    "th:first-child,td:first-child{position:static;border-right:0}"
    "tr{break-inside:avoid}thead{display:table-header-group}summary{list-style:none}"
    "details::details-content{content-visibility:visible;display:block;height:auto}}";

/* For browsers whose style cannot open what is folded when the page is printed. */
static const char script[] =
    "addEventListener('beforeprint',()=>document.querySelectorAll('details').forEach(d=>d.open=true))";

/* Sections of a page, listed at its head. */
struct document_contents {
    FILE *stream;
    size_t place; /* in the page: after the title */
    int count;
    char section[64]; /* anchor of the last heading of the second level */
};

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

/* A name, which may be broken behind what joins its parts. */
static void write_html_name(FILE *stream, const char *text)
{
    while (*text != '\0') {
        const size_t length = strcspn(text, ",=_./-");
        char part[512];
        snprintf(part, sizeof part, "%.*s", (int)length + (text[length] != '\0'), text);
        write_html(stream, part);
        fputs(text[length] != '\0' ? "<wbr>" : "", stream);
        text += strlen(part) > 0 ? strlen(part) : 1;
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

void document_begin(const struct document *document, const char *title)
{
    if (document->format == DOCUMENT_HTML) {
        fprintf(document->stream,
                "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
        write_html(document->stream, title);
        fprintf(document->stream, "</title>\n<style>%s</style>\n<script>%s</script>\n</head>\n<body>\n",
                style, script);
    }
    document_heading(document, 1, "%s", title);
    if (document->contents != NULL && fflush(document->stream) == 0)
        document->contents->place = (size_t)ftell(document->stream);
}

void document_end(const struct document *document)
{
    if (document->format == DOCUMENT_HTML)
        fputs("</body>\n</html>\n", document->stream);
}

/* Letters and digits of the text, with '-' between them; that of the section before it below the second level. */
static void write_anchor(char anchor[160], const char *section, const char *text)
{
    int length = snprintf(anchor, 160, "%s", section);
    bool gap = length > 0;
    for (; *text != '\0' && length < 150; text++) {
        if (!isalnum((unsigned char)*text)) {
            gap = length > 0;
            continue;
        }
        if (gap)
            anchor[length++] = '-';
        anchor[length++] = (char)tolower((unsigned char)*text);
        gap = false;
    }
    anchor[length] = '\0';
}

static void write_html_heading(const struct document *document, int level, const char *text)
{
    struct document_contents *contents = document->contents;
    if (contents == NULL || level == 1) {
        fprintf(document->stream, "<h%d>", level);
    } else {
        char anchor[160];
        write_anchor(anchor, level > 2 ? contents->section : "", text);
        fprintf(document->stream, "<h%d id=\"%s\">", level, anchor);
        if (level == 2) {
            snprintf(contents->section, sizeof contents->section, "%.63s", anchor);
            fprintf(contents->stream, "<li><a href=\"#%s\">", anchor);
            write_html(contents->stream, text);
            fputs("</a></li>\n", contents->stream);
            contents->count++;
        }
    }
    write_html(document->stream, text);
    fprintf(document->stream, "</h%d>\n", level);
}

void document_heading(const struct document *document, int level, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = path_format_list(format, arguments);
    va_end(arguments);
    if (document->format == DOCUMENT_HTML) {
        write_html_heading(document, level, text);
    } else if (document->format != DOCUMENT_LATEX) {
        if (document->format == DOCUMENT_MARKDOWN)
            fprintf(document->stream, "%.*s ", level, "######");
        write_text(document, text);
        fputs("\n\n", document->stream);
    }
    free(text);
}

void document_paragraph(const struct document *document, const char *format, ...)
{
    va_list arguments;
    if (document->format == DOCUMENT_LATEX)
        return;
    va_start(arguments, format);
    char *text = path_format_list(format, arguments);
    va_end(arguments);
    bool html = document->format == DOCUMENT_HTML;
    fputs(html ? "<p>" : "", document->stream);
    write_text(document, text);
    fputs(html ? "</p>\n" : "\n\n", document->stream);
    free(text);
}

void document_list_begin(const struct document *document)
{
    if (document->format == DOCUMENT_HTML)
        fputs("<ul class=\"list\">\n", document->stream);
}

void document_list_item(const struct document *document, const char *name, const char *text)
{
    if (document->format == DOCUMENT_LATEX)
        return;
    const bool html = document->format == DOCUMENT_HTML, markdown = document->format == DOCUMENT_MARKDOWN;
    fputs(html ? "<li><b>" : markdown ? "- **" : "- ", document->stream);
    write_text(document, name);
    fputs(html ? "</b> " : markdown ? "** " : " ", document->stream);
    write_text(document, text);
    fputs(html ? "</li>\n" : "\n", document->stream);
}

/* What has a meaning of its own in an address, or in Markdown, goes by its number. */
static void write_address(FILE *stream, const char *file)
{
    for (; *file != '\0'; file++)
        if (isalnum((unsigned char)*file) || strchr("/._-=,+", *file) != NULL)
            fputc(*file, stream);
        else
            fprintf(stream, "%%%02X", (unsigned)(unsigned char)*file);
}

const char *document_report_name(const struct document *document)
{
    return document->format == DOCUMENT_MARKDOWN ? "report.md" : "report.html";
}

void document_list_link(const struct document *document, const char *name, const char *file, const char *text)
{
    if (document->format == DOCUMENT_LATEX)
        return;
    const bool html = document->format == DOCUMENT_HTML, markdown = document->format == DOCUMENT_MARKDOWN;
    if (!html && !markdown) {
        document_list_item(document, name, text);
        return;
    }
    fputs(html ? "<li><a href=\"" : "- [", document->stream);
    if (markdown) {
        for (const char *letter = name; *letter != '\0'; letter++)
            fprintf(document->stream, strchr("[]", *letter) != NULL ? "\\%c" : "%c", *letter);
        fputs("](", document->stream);
    }
    write_address(document->stream, file);
    fputs(html ? "\">" : ") ", document->stream);
    if (html) {
        write_html(document->stream, name);
        fputs("</a> ", document->stream);
    }
    write_text(document, text);
    fputs(html ? "</li>\n" : "\n", document->stream);
}

void document_list_end(const struct document *document)
{
    if (document->format != DOCUMENT_LATEX)
        fputs(document->format == DOCUMENT_HTML ? "</ul>\n" : "\n", document->stream);
}

void document_fold_begin(const struct document *document, const char *summary)
{
    if (document->format == DOCUMENT_LATEX)
        return;
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
    if (document->format == DOCUMENT_HTML || document->format == DOCUMENT_MARKDOWN)
        fputs("</details>\n\n", document->stream);
}

/* A drawing whose anchors, and references to them, begin with its name, so that several can stand in a page; without the
 * titles that a page shows under the pointer, which the key tells as well. */
static void write_drawing(FILE *stream, const char *drawing, const char *name)
{
    static const char title[] = "<title>", title_end[] = "</title>";
    static const char *const places[] = {" id='", " id=\"", "href='#", "href=\"#", "url(#"};
    enum { PLACES = sizeof places / sizeof *places };
    while (*drawing != '\0') {
        int i = 0;
        const char *end = strncmp(drawing, title, sizeof title - 1) == 0 ? strstr(drawing, title_end) : NULL;
        if (end != NULL) {
            drawing = end + sizeof title_end - 1;
            continue;
        }
        while (i < PLACES && strncmp(drawing, places[i], strlen(places[i])) != 0)
            i++;
        if (i == PLACES) {
            fputc(*drawing++, stream);
        } else {
            fprintf(stream, "%s%s-", places[i], name);
            drawing += strlen(places[i]);
        }
    }
}

void document_figure(const struct document *document, const char *file, const char *caption)
{
    char *path = path_format("%s/%s", document->folder, file), *svg = NULL;
    size_t length;
    struct error error = ERROR_INITIALIZER;
    bool readable = path_exists(path) && file_read(path, &svg, &length, &error);
    const char *drawing = readable ? strstr(svg, "<svg") : NULL;
    if (drawing != NULL && document->format == DOCUMENT_HTML) {
        const char *slash = strrchr(file, '/');
        char *name = path_format("%s", slash ? slash + 1 : file);
        name[strcspn(name, ".")] = '\0';
        fputs("<figure>\n", document->stream);
        write_drawing(document->stream, drawing, name);
        free(name);
        fputs("<figcaption>", document->stream);
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
    table->cells[table->count++] = path_format_list(format, arguments);
    va_end(arguments);
}

void table_cells(struct table *table, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        table_cell(table, "%s", texts[i]);
}

/* "12", "+1.5 %", "[-0.2, 0.1]", "< 0.001", "5 of 30": a number with few words. */
static bool is_number(const char *cell)
{
    enum { FEW_LETTERS = 8 };
    int letters = 0;
    for (const char *letter = cell; *letter != '\0'; letter++)
        letters += isalpha((unsigned char)*letter) != 0;
    return isdigit((unsigned char)cell[strspn(cell, "+-[< .")]) && letters <= FEW_LETTERS &&
           strchr(cell, ';') == NULL;
}

bool table_is_number_column(const struct table *table, int column)
{
    int numbers = 0, others = 0;
    for (int i = column + table->columns; i < table->count; i += table->columns) {
        const char *cell = table->cells[i];
        if (is_number(cell))
            numbers++;
        else if (strcmp(cell, " ") != 0 && strcmp(cell, "-") != 0)
            others++;
    }
    return numbers > others;
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
    bool right = table_is_number_column(table, column);
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
    enum { LONG_TEXT = 40 };
    const char *cell = table->cells[index], *tag = index < table->columns ? "th" : "td";
    const bool first = index % table->columns == 0, last = (index + 1) % table->columns == 0;
    const char *kind = table_is_number_column(table, index % table->columns) ? " class=\"number\""
                       : !first && text_width(cell) > LONG_TEXT              ? " class=\"text\""
                                                                             : "";
    fprintf(document->stream, "%s%s<%s%s>",
            index == 0                ? "<thead>"
            : index == table->columns ? "<tbody>"
                                      : "",
            first ? "<tr>" : "", tag, kind);
    (first || index < table->columns ? write_html_name : write_html)(document->stream, cell);
    fprintf(document->stream, "</%s>%s%s", tag, last ? "</tr>\n" : "",
            index + 1 == table->columns ? "</thead>\n"
            : index + 1 == table->count ? "</tbody>"
                                        : "");
}

void table_discard(struct table *table)
{
    for (int i = 0; i < table->count; i++)
        free(table->cells[i]);
    free(table->cells);
    *table = (struct table){.name = table->name, .columns = table->columns};
}

bool table_is_empty(const struct table *table)
{
    return table->count <= table->columns;
}

/* The name of a file is part of tables/NAME.tex. */
static void save_as_latex(const struct document *document, const struct table *table)
{
    char *text = NULL, *path = path_format("%s/tables/%s.tex", document->folder, table->name);
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    if (stream != NULL)
        document_write_latex(stream, table);
    if (stream == NULL || fclose(stream) != 0 || !file_write(path, text, length, document->error))
        *document->incomplete = true;
    free(text);
    free(path);
}

void document_table(const struct document *document, struct table *table)
{
    const bool html = document->format == DOCUMENT_HTML, latex = document->format == DOCUMENT_LATEX;
    if (table->incomplete)
        *document->incomplete = true;
    else if (latex && table->name != NULL)
        save_as_latex(document, table);
    fputs(html ? "<div class=\"wide\" tabindex=\"0\"><table>\n" : "", document->stream);
    for (int i = 0; !latex && i < table->count; i++) {
        if (html)
            write_cell_as_html(document, table, i);
        else if (document->format == DOCUMENT_MARKDOWN)
            write_cell_as_markdown(document, table, i);
        else
            write_cell_as_text(document, table, i);
    }
    fputs(html ? "</table></div>\n" : latex ? "" : "\n", document->stream);
    table_discard(table);
}

void document_table_if_any(const struct document *document, struct table *table)
{
    if (table_is_empty(table))
        table_discard(table);
    else
        document_table(document, table);
}

/* The page with the list of its sections behind the title, where there are several. */
static char *join_contents(const char *text, size_t *length, const struct document_contents *contents,
                           const char *list)
{
    enum { FEWEST = 4 };
    char *page = contents->count < FEWEST
                     ? path_format("%s", text)
                     : path_format("%.*s<nav aria-label=\"Contents\"><ul>\n%s</ul></nav>\n%s",
                                   (int)contents->place, text, list, text + contents->place);
    *length = strlen(page);
    return page;
}

/* The folder of the tables of LaTeX must be there. */
static bool create_tables(const char *folder, struct error *error)
{
    char *path = path_format("%s/tables", folder);
    const bool done = folder_create(path, error);
    free(path);
    return done;
}

bool document_save(const char *folder, const char *name, enum document_format format, document_writer *write,
                   const void *subject, struct error *error)
{
    char *text = NULL, *list = NULL, *path = path_format("%s/%s", folder, name);
    size_t length = 0, list_length = 0;
    bool incomplete = false;
    struct document_contents contents = {.stream = open_memstream(&list, &list_length)};
    struct document document = {.stream = open_memstream(&text, &length),
                                .format = format,
                                .folder = folder,
                                .incomplete = &incomplete,
                                .contents = &contents,
                                .error = error};
    bool done = document.stream != NULL && contents.stream != NULL &&
                (format != DOCUMENT_LATEX || create_tables(folder, error));
    if (done)
        write(subject, &document);
    done = (document.stream == NULL || fclose(document.stream) == 0) &&
           (contents.stream == NULL || fclose(contents.stream) == 0) && done && !incomplete;
    if (!done)
        error_memory(error, name, length, NULL);
    if (done && format != DOCUMENT_LATEX) {
        char *page = join_contents(text, &length, &contents, list);
        done = file_write(path, page, length, error);
        free(page);
    }
    free(path);
    free(list);
    free(text);
    return done;
}
