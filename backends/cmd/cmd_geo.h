#ifndef BACKENDS_CMD_CMD_GEO_H
#define BACKENDS_CMD_CMD_GEO_H

#include "backends/cmd/cmd.h"
#include "backends/types/geohash.h"

/* What the geo commands share. */

/* Parses "longitude latitude" at argument i. False: answered. */
bool geo_parse_point(struct cmd_ctx *c, int i, struct geo_point *p);
/* Parses a unit (m, km, ft, mi) into metres. False: answered. */
bool geo_parse_unit(struct cmd_ctx *c, struct span s, double *metres);
void geo_reply_point(struct cmd_ctx *c, struct geo_point p);
void geo_reply_distance(struct cmd_ctx *c, double distance);

/* Keys of GEORADIUS and GEORADIUSBYMEMBER: the source, and the target if there is a STORE. */
int georadius_keys(const struct span *argv, int argc, int *idx, int max);

bool geoadd_rewrite(struct cmd_ctx *c, struct effects *fx);

void geoadd_command(struct cmd_ctx *c);
void geodist_command(struct cmd_ctx *c);
void geohash_command(struct cmd_ctx *c);
void geopos_command(struct cmd_ctx *c);
void georadius_command(struct cmd_ctx *c);
void georadius_ro_command(struct cmd_ctx *c);
void georadiusbymember_command(struct cmd_ctx *c);
void georadiusbymember_ro_command(struct cmd_ctx *c);
void geosearch_command(struct cmd_ctx *c);
void geosearchstore_command(struct cmd_ctx *c);

#endif
