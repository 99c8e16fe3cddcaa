#ifndef BACKENDS_CMD_CMD_STREAM_H
#define BACKENDS_CMD_CMD_STREAM_H

#include "backends/cmd/cmd.h"
#include "backends/types/stream.h"

/* Handlers of the stream commands; the rows are in cmd_stream_rows.c. */
void xadd_command(struct cmd_ctx *c);
bool xadd_rewrite(struct cmd_ctx *c, struct effects *fx);
void xdel_command(struct cmd_ctx *c);
void xtrim_command(struct cmd_ctx *c);
bool xtrim_rewrite(struct cmd_ctx *c, struct effects *fx);
void xsetid_command(struct cmd_ctx *c);

/* cmd_stream_read.c */
void xlen_command(struct cmd_ctx *c);
void xrange_command(struct cmd_ctx *c);
void xrevrange_command(struct cmd_ctx *c);
void xread_command(struct cmd_ctx *c);
int xread_keys(const struct span *argv, int argc, int *idx, int max);
int xreadgroup_keys(const struct span *argv, int argc, int *idx, int max);
void xinfo_stream_command(struct cmd_ctx *c);
void xinfo_groups_command(struct cmd_ctx *c);
void xinfo_consumers_command(struct cmd_ctx *c);
void xinfo_help_command(struct cmd_ctx *c);
void xgroup_help_command(struct cmd_ctx *c);
void stream_groups_command(struct cmd_ctx *c); /* whatever needs consumer groups: a clear error */

/* ---- shared ---- */
/* Parses an id as Redis does ("ms", "ms-seq"; not strict: "-" and "+" too), or answers the error.
 * missing_seq: what "ms" alone means. any_seq not NULL: "ms-*" is allowed too and sets it. */
struct stream_id_options {
    uint64_t missing_seq;
    bool strict;
    bool *any_seq;
};
bool stream_parse_id(struct cmd_ctx *c, struct span s, struct stream_id_options o,
                     struct stream_id *id);
void stream_reply_id(struct cmd_ctx *c, struct stream_id id);

#endif
