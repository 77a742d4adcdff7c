/*
 * table_columns.h: the columns of the CSV tables of a run and of a study, in their order (csv_write_records); those of a study
 * have a trial's name as well.
 */
#ifndef IDREC_EXPERIMENTS_TABLE_COLUMNS_H
#define IDREC_EXPERIMENTS_TABLE_COLUMNS_H

extern const char *const table_run_columns[],
    *const table_comparison_columns[], *const table_selection_columns[], *const table_cost_columns[],
                                                                             *const table_trial_columns[];

#endif
