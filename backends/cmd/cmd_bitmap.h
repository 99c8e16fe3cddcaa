#ifndef BACKENDS_CMD_CMD_BITMAP_H
#define BACKENDS_CMD_CMD_BITMAP_H

#include "backends/cmd/cmd.h"

/* What the bitmap commands share. Bit 0 is the highest bit of the first byte. */

/* Parses a bit offset; `#n` means n * bits if hash. False: answered. */
bool bitmap_offset(struct cmd_ctx *c, struct span s, bool hash, unsigned bits, uint64_t *out);
/* The string at key, made long enough to hold bit `last` (new bytes are 0), to be written. NULL:
 * answered. *grown: it is new or longer. */
char *bitmap_open(struct cmd_ctx *c, struct span key, uint64_t last, bool *grown);

void setbit_command(struct cmd_ctx *c);
void getbit_command(struct cmd_ctx *c);
void bitcount_command(struct cmd_ctx *c);
void bitpos_command(struct cmd_ctx *c);
void bitop_command(struct cmd_ctx *c);
void bitfield_command(struct cmd_ctx *c);
void bitfield_ro_command(struct cmd_ctx *c);

#endif
