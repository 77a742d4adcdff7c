#include "experiments/document_latex.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"

/* What LaTeX reserves, and what its fonts lack. */
static const char *const replacements[][2] = {{"\\", "\\textbackslash{}"},
                                              {"{", "\\{"},
                                              {"}", "\\}"},
                                              {"$", "\\$"},
                                              {"&", "\\&"},
                                              {"#", "\\#"},
                                              {"%", "\\%"},
                                              {"_", "\\_"},
                                              {"~", "\\textasciitilde{}"},
                                              {"^", "\\textasciicircum{}"},
                                              {"<", "$<$"},
                                              {">", "$>$"},
                                              {"|", "\\textbar{}"},
                                              {"\"", "''"},
                                              {"[", "{[}"},
                                              {"]", "{]}"},
                                              {"±", "$\\pm$"},
                                              {"↑", "$\\uparrow$"},
                                              {"↓", "$\\downarrow$"},
                                              {"→", "$\\to$"},
                                              {"−", "$-$"},
                                              {"×", "$\\times$"},
                                              {"≥", "$\\ge$"},
                                              {"≤", "$\\le$"},
                                              {"…", "\\dots{}"}};

/* A minus, not a hyphen: before a number that begins a word, or an interval. */
static bool is_minus(const char *before, const char *text)
{
    return *text == '-' && isdigit((unsigned char)text[1]) &&
           (before == text || strchr(" [(", text[-1]) != NULL);
}

static void write_cell(FILE *stream, const char *text)
{
    enum { COUNT = sizeof replacements / sizeof *replacements };
    const char *const begin = text;
    while (*text != '\0') {
        if (is_minus(begin, text)) {
            fputs("$-$", stream);
            text++;
            continue;
        }
        size_t i = 0;
        while (i < COUNT && strncmp(text, replacements[i][0], strlen(replacements[i][0])) != 0)
            i++;
        if (i < COUNT) {
            fputs(replacements[i][1], stream);
            text += strlen(replacements[i][0]);
        } else {
            fputc(*text++, stream);
        }
    }
}

/* Characters of UTF-8. */
static int count_characters(const char *text, size_t length)
{
    int count = 0;
    for (size_t i = 0; i < length; i++)
        count += ((unsigned char)text[i] & 0xC0) != 0x80;
    return count;
}

static int body_width(const struct table *table, int column)
{
    int longest = 0;
    for (int i = column + table->columns; i < table->count; i += table->columns) {
        const int width = count_characters(table->cells[i], strlen(table->cells[i]));
        longest = width > longest ? width : longest;
    }
    return longest;
}

/* Where a head that is wider than what stands below it is broken in two: behind its first words that are at least half of it;
 * 0: nowhere. */
static size_t head_break(const struct table *table, int column)
{
    const char *head = table->cells[column];
    const size_t length = strlen(head);
    if (count_characters(head, length) <= body_width(table, column))
        return 0;
    for (const char *space = strchr(head, ' '); space && space[1]; space = strchr(space + 1, ' '))
        if ((size_t)(space - head) * 2 >= length - 1 || !strchr(space + 1, ' '))
            return (size_t)(space - head);
    return 0;
}

static int column_width(const struct table *table, int column)
{
    const char *head = table->cells[column];
    const size_t length = strlen(head), broken = head_break(table, column);
    const int body = body_width(table, column), first = count_characters(head, broken > 0 ? broken : length),
              second = broken > 0 ? count_characters(head + broken + 1, length - broken - 1) : 0;
    const int widest = first > second ? first : second;
    return widest > body ? widest : body;
}

/* The letters of a table and the widths of columns whose text is broken into lines, that it fits the page of an article. */
struct layout {
    const char *size;
    int column, points; /* the column; -1: none, and its width */
};

/* The largest letters at which the table fits, by the width of their digits, signs among them; at the smallest the widest column of text gets
 * what the others leave. */
static struct layout choose_layout(const struct table *table)
{
    static const struct {
        const char *name;
        double digit; /* points */
    } sizes[] = {{"\\normalsize", 5.25}, {"\\small", 4.9}, {"\\footnotesize", 4.5}, {"\\scriptsize", 4.2}};
    enum { COUNT = sizeof sizes / sizeof *sizes, PAGE_WIDTH = 342, GAP = 6, NARROWEST = 40 };
    int sum = 0, widest = -1;
    size_t i = 0;
    for (int column = 0; column < table->columns; column++) {
        sum += column_width(table, column);
        if (!table_is_number_column(table, column) &&
            (widest < 0 || column_width(table, column) > column_width(table, widest)))
            widest = column;
    }
    const int room = PAGE_WIDTH - (table->columns - 1) * GAP;
    while (i + 1 < COUNT && sum * sizes[i].digit > room)
        i++;
    struct layout layout = {.size = sizes[i].name, .column = -1};
    if (sum * sizes[i].digit > room && widest >= 0) {
        layout.column = widest;
        layout.points = (int)(room - (sum - column_width(table, widest)) * sizes[i].digit);
        layout.points = layout.points > NARROWEST ? layout.points : NARROWEST;
    }
    return layout;
}

/* Text that may be broken behind what joins the parts of a name. */
static void write_broken(FILE *stream, const char *text)
{
    while (*text != '\0') {
        const size_t length = strcspn(text, ",=_./");
        char part[512];
        snprintf(part, sizeof part, "%.*s", (int)length + (text[length] != '\0'), text);
        write_cell(stream, part);
        fputs(text[length] != '\0' ? "\\allowbreak{}" : "", stream);
        text += strlen(part) > 0 ? strlen(part) : 1;
    }
}

static void write_head(FILE *stream, const struct table *table, int column)
{
    const char *head = table->cells[column];
    const size_t broken = head_break(table, column);
    if (broken == 0) {
        write_cell(stream, head);
        return;
    }
    char *first = path_format("%.*s", (int)broken, head);
    fprintf(stream, "\\shortstack[%c]{", table_is_number_column(table, column) ? 'r' : 'l');
    write_cell(stream, first);
    fputs("\\\\ ", stream);
    write_cell(stream, head + broken + 1);
    fputc('}', stream);
    free(first);
}

void document_write_latex(FILE *stream, const struct table *table)
{
    const struct layout layout = choose_layout(table);
    fprintf(stream, "%% needs \\usepackage{booktabs}\n\\begingroup%s\\setlength{\\tabcolsep}{3pt}%%\n",
            layout.size);
    fputs("\\begin{tabular}{@{}", stream);
    for (int column = 0; column < table->columns; column++)
        if (column == layout.column)
            fprintf(stream, "p{%dpt}", layout.points);
        else
            fputc(table_is_number_column(table, column) ? 'r' : 'l', stream);
    fputs("@{}}\n\\toprule\n", stream);
    for (int i = 0; i < table->count; i++) {
        const int column = i % table->columns;
        fputs(column == layout.column ? "{\\raggedright{}" : "", stream);
        if (i < table->columns)
            write_head(stream, table, column);
        else
            (column == layout.column ? write_broken : write_cell)(stream, table->cells[i]);
        fputs(column == layout.column ? "\\par}" : "", stream);
        fputs((i + 1) % table->columns != 0 ? " & " : " \\\\\n", stream);
        fputs(i + 1 == table->columns ? "\\midrule\n" : "", stream);
    }
    fputs("\\bottomrule\n\\end{tabular}%\n\\endgroup\n", stream);
}
