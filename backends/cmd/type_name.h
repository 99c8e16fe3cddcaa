#ifndef BACKENDS_CMD_TYPE_NAME_H
#define BACKENDS_CMD_TYPE_NAME_H

#include "backends/store/store.h"

/* "string", "list" ...: what TYPE answers. e must not be a tombstone. */
const char *cmd_type_name(const struct entry *e);

#endif
