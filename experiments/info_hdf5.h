/* info_hdf5.h: what an HDF5 file holds: its groups and data sets with types, shapes and attributes. */
#ifndef IDREC_EXPERIMENTS_INFO_HDF5_H
#define IDREC_EXPERIMENTS_INFO_HDF5_H

#include <jansson.h>

#include "core/error.h"

/* NULL on failure. */
json_t *describe_hdf5(const char *path, struct error *error);

#endif
