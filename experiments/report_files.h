/* report_files.h: what a report leaves in the folder of a run or a study, where an older one must not pass for it. */
#ifndef IDREC_EXPERIMENTS_REPORT_FILES_H
#define IDREC_EXPERIMENTS_REPORT_FILES_H

#include "core/error.h"

/* Removes the drawings and scripts of folder/plots, and the tables of folder/tables; other files stay. */
bool report_files_remove_plots(const char *folder, struct error *error);
bool report_files_remove_tables(const char *folder, struct error *error);
/* Removes the results of a run, its report and its curves. What the stages before `evaluate` made stays. */
bool report_files_remove(const char *folder, struct error *error);

#endif
