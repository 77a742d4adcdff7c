#include "experiments/document_latex.h"

#include <string.h>

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

static void write_cell(FILE *stream, const char *text)
{
    enum { COUNT = sizeof replacements / sizeof *replacements };
    while (*text != '\0') {
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

void document_write_latex(FILE *stream, const struct table *table)
{
    fputs("% needs \\usepackage{booktabs}\n\\begin{tabular}{@{}", stream);
    for (int column = 0; column < table->columns; column++)
        fputc(table_is_number_column(table, column) ? 'r' : 'l', stream);
    fputs("@{}}\n\\toprule\n", stream);
    for (int i = 0; i < table->count; i++) {
        write_cell(stream, table->cells[i]);
        fputs((i + 1) % table->columns != 0 ? " & " : " \\\\\n", stream);
        fputs(i + 1 == table->columns ? "\\midrule\n" : "", stream);
    }
    fputs("\\bottomrule\n\\end{tabular}\n", stream);
}
