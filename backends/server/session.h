#ifndef BACKENDS_SERVER_SESSION_H
#define BACKENDS_SERVER_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/cmd/cmd.h"
#include "backends/server/stats.h"
#include "common/conn.h"
#include "common/resp.h"
#include "common/slot.h"
#include "common/span.h"

/* One client of a daemon: its connection and what the connection and server commands know of it.
 *
 * A daemon's on_batch (server.h) feeds each request through session_admit, which answers
 *
 *   - ADMIT_DISPATCH: run or forward the command by its row (a.cmd); arity, authentication and ACL
 *     are checked.
 *   - ADMIT_LOCAL: call session_command(s, &a, argv, argc, out, token): a CMD_SESSION row, or a
 *     refusal.
 *   - ADMIT_WAIT: stop; return from on_batch the number of requests taken so far, this one not
 *     included. The session layer calls conn_resume when it is time.
 *
 * Where `out` is, is the daemon's business: the connection's own output if nothing older is open, a
 * buffer of the request's slot otherwise. Nothing here writes to conn.out by itself.
 *
 * Thread: all of it belongs to the session's worker. */

struct worker;
struct acl_user;

#define SESSION_DB_MAX DB_COUNT

enum reply_mode { REPLY_ON, REPLY_OFF, REPLY_SKIP_NEXT };

struct session {
    struct conn c; /* first: a struct conn * of ours is a struct session * */
    uint64_t id;   /* CLIENT ID: never given again in this process, unique over the workers */
    struct worker *w;
    const struct acl_user *user; /* of the worker's present user set; shares */
    uint8_t db;                  /* SELECT */
    uint8_t reply_mode;          /* enum reply_mode */
    bool authenticated;
    bool quit;     /* no further request is taken (ADMIT_WAIT); see session_flushed */
    bool held;     /* a LATER reply of a daemon without on_reply is awaited */
    bool parked;   /* waits for the end of CLIENT PAUSE */
    bool no_evict; /* CLIENT NO-EVICT */
    bool readonly; /* READONLY was said */
    /* A link of our own proxies (the daemon sets it): not paused, no ACL, "L" in CLIENT LIST. */
    bool internal;
    bool in_multi;         /* commands are queued */
    struct session_tx *tx; /* transaction.h; NULL: no MULTI and no WATCH */
    bool refused;          /* maxclients, protected mode: is told so and closed (private) */
    const struct cmd *last_cmd;
    uint64_t commands;           /* requests admitted */
    char *name;                  /* CLIENT SETNAME; NULL: none */
    char *lib_name, *lib_ver;    /* CLIENT SETINFO; NULL: none */
    uint32_t open_later;         /* LATER replies not yet given */
    struct session *prev, *next; /* list of the worker */
    struct session *park_next;
    struct session *hash_next; /* worker's table by id */
};

/* ---- admission ---- */

enum admit { ADMIT_DISPATCH, ADMIT_LOCAL, ADMIT_WAIT };

/* Why a request may not run (a.refusal != REFUSE_NOT): session_command writes the error. */
enum refusal {
    REFUSE_NOT,
    REFUSE_UNKNOWN,
    REFUSE_ARITY,
    REFUSE_NOAUTH,
    REFUSE_ACL_COMMAND,
    REFUSE_ACL_KEY,
    REFUSE_KEYS,
    REFUSE_QUEUE /* nothing is wrong: it is queued (MULTI) */
};

struct admitted {
    const struct cmd *cmd;      /* the ruling row (a subcommand's if there is one); NULL: unknown */
    struct cmd_counters *count; /* the row's statistics in this worker; NULL if unknown */
    uint8_t refusal;            /* enum refusal */
    bool silent; /* CLIENT REPLY OFF or SKIP: run it, but none of its reply may reach the client.
                  * session_command drops its own; for a dispatched request the daemon does. */
};

/* Judges one request: finds its row, checks arity, authentication, ACL and CLIENT PAUSE, counts it.
 * argv is not kept. Cost: about 10 ns for a command of at most 8 letters by a user who may run
 * everything; no allocation, clock or lock. */
enum admit session_admit(struct session *s, const struct span *argv, int argc, struct admitted *a);

/* ---- connection and server commands ---- */

enum session_result {
    SESSION_DONE, /* the whole reply is in out (nothing, if silent) */
    SESSION_LATER /* nothing is in out; the reply is given to ops->on_reply(s, token, bytes), never
                   * before this returned. It is not given any more once the session closed. */
};

/* Runs what session_admit called ADMIT_LOCAL. token: the daemon's name for the slot of the reply
 * (an index, a pointer), handed back with a LATER reply. The reply's protocol version is that of
 * out->proto; HELLO and RESET change s->c.proto, out->proto and s->c.reply.proto together, from
 * their own reply on. After it look at s->quit (QUIT, CLIENT KILL of oneself). A daemon without
 * on_reply must take no more requests after SESSION_LATER (session_admit answers ADMIT_WAIT
 * anyway); the session layer then appends the reply to s->c.reply and resumes the connection. */
enum session_result session_command(struct session *s, const struct admitted *a,
                                    const struct span *argv, int argc, struct resp_out *out,
                                    uint64_t token);

/* To call when no older reply of this session is open (at the end of on_batch, or when the last
 * slot was flushed): closes after the output is written if QUIT or CLIENT KILL asked for it. */
static inline void session_flushed(struct session *s)
{
    if (__builtin_expect(s->quit, 0)) {
        s->c.close_after_write = true;
        conn_touch(&s->c);
    }
}

/* ---- time, errors, slow log ---- */

/* A daemon that runs commands at once (the node) calls session_run_begin before and session_run_end
 * after each one (mark: buf_used(out->b) before it ran). Fast commands share one clock read per
 * batch; slow ones (no CMD_FAST, or at least SESSION_BIG_ARGS bytes) get their own, and all do when
 * slowlog-log-slower-than is below SESSION_PRECISE_US. The session layer itself opens and closes
 * the batch around on_batch.
 *
 * A daemon that forwards (the proxy) keeps a.count and session_now(s) with the slot and calls
 * session_account when the reply has been placed, with one clock read for all replies of a turn,
 * and session_failed when the reply begins with '-'. */
#define SESSION_PRECISE_US 1000
#define SESSION_BIG_ARGS 4096

/* CLOCK_MONOTONIC, ns, read once when the present batch was handed over. */
uint64_t session_now(const struct session *s);

void session_run_begin(struct session *s, const struct admitted *a, const struct span *argv,
                       int argc);
void session_run_end(struct session *s, const struct admitted *a, const struct span *argv, int argc,
                     const struct resp_out *out, size_t mark);

/* ns: arrival to placed reply. Returns true if the slow log wants it: then call session_slow with
 * what is left of the arguments. */
bool session_account(struct worker *w, struct cmd_counters *count, uint64_t ns);
/* reply: begins with '-'; its first word is counted (errorstat_). count may be NULL. */
void session_failed(struct worker *w, struct cmd_counters *count, struct span reply);
/* Adds an entry to the slow log. argv: what the daemon kept (at least the command's name); argc:
 * how many arguments the request had. Copies, shortened as Redis does. */
void session_slow(struct session *s, uint64_t ns, const struct span *argv, int kept, int argc);

/* ---- for the daemon ---- */
/* Completes a SESSION_LATER that a daemon's own command asked for: see server.h, server_round. */
struct session *session_by_id(struct worker *w, uint64_t id); /* NULL: gone. O(1) */
/* CLIENT INFO's line, without the line feed. */
void session_describe(const struct session *s, uint64_t now_ms, struct buf *out);
uint64_t session_memory(const struct session *s);

#endif
