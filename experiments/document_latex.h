/* document_latex.h: a table of a document as LaTeX. */
#ifndef IDREC_EXPERIMENTS_DOCUMENT_LATEX_H
#define IDREC_EXPERIMENTS_DOCUMENT_LATEX_H

#include "experiments/document.h"

/* A tabular with the rules of booktabs, for \input into a table; numbers stand to the right. */
void document_write_latex(FILE *stream, const struct table *table);

#endif
