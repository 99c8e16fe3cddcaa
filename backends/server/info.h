#ifndef BACKENDS_SERVER_INFO_H
#define BACKENDS_SERVER_INFO_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/server/server.h"
#include "common/buf.h"

/* INFO's text. The writer below guards the contract of CLIENTS 3.3: every key once, CRLF, and no
 * key of ours that a reader who searches for a substring could take for a standard one. */

struct info_out {
    struct buf text;
    /* which sections: bits of info_standard; own: the daemon's too; names: asked for by name
     * (borrows) */
    uint32_t standard;
    bool own;
    const struct span *names;
    int name_count;
    bool in_own; /* info_section was called: keys are checked */
};

struct info_server { /* sums of what the server layer itself counts */
    uint64_t connected, internal, paused, commands, connections, rejected, errors;
    uint64_t bytes_in, bytes_out, max_in, max_out, clients_memory;
    uint64_t denied_auth, denied_cmd, denied_key;
    double ops, in_rate, out_rate;
    uint64_t longest_turn_ns;             /* of any worker's loop */
    struct cmd_counters *commands_by_row; /* cmdset_count of them; hist is an own sum or NULL */
    struct info_error {
        char word[ERRORSTAT_WORD];
        uint64_t count;
    } errors_by_word[ERRORSTAT_MAX];
    unsigned error_words;
};

/* What `INFO a b c` asks for. No names: the default sections. */
void info_select(struct info_out *o, const struct span *names, int n);
bool info_key_is_safe(const char *key); /* false: a reader could take it for a standard key */

/* Adds this worker's numbers (ops->info_add included). */
struct info_sum *info_sum_new(void);
void info_sum_free(struct info_sum *sum);
void info_collect(struct worker *w, struct info_sum *sum);
/* Appends the text of everything selected. */
void info_write(struct worker *w, const struct info_sum *sum, struct info_out *o);

/* "1.73M", as used_memory_human. */
void info_human(uint64_t bytes, char out[32]);

#endif
