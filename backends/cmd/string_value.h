#ifndef BACKENDS_CMD_STRING_VALUE_H
#define BACKENDS_CMD_STRING_VALUE_H

#include "backends/cmd/cmd.h"

/* What commands on strings share. */

/* The encoding Redis would choose for a value that a client sends: int for what is exactly a 64-bit
 * integer, embstr up to 44 bytes, raw above. string_enc_text never says int: for values a command
 * computed as text. */
enum str_enc string_enc(struct span value);
enum str_enc string_enc_text(struct span value);

/* Answers Redis' error and returns false if a string of have + more bytes would be longer than
 * proto-max-bulk-len. */
bool string_length_ok(struct cmd_ctx *c, uint64_t have, uint64_t more);

/* Writes a value as SET does: no expiry, whatever was there is replaced. e may be NULL. */
struct entry *string_set(struct cmd_ctx *c, struct entry *e, struct span key, struct span value);

/* An expiry given as text, relative to now_ms or absolute, as absolute milliseconds; answers
 * "invalid expire time in 'x' command" or "value is not an integer..." and returns false. */
struct expire_arg {
    struct span text;
    bool seconds, absolute;
};
bool string_expire_ms(struct cmd_ctx *c, const struct expire_arg *a, uint64_t *out);

/* Writes the current value or null, as GET; false: wrong type, an error was written. *e: the entry
 * or NULL. */
bool string_reply(struct cmd_ctx *c, struct entry **e);

#endif
