#ifndef BACKENDS_SERVER_ACL_H
#define BACKENDS_SERVER_ACL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/cmd/cmd.h"
#include "common/buf.h"
#include "common/cfg.h"
#include "common/err.h"
#include "common/resp.h"

/* Users and what they may do, with the rules of Redis 7.0's ACL (without selectors).
 *
 * A user is immutable once published; changing one makes a new user and a new set of users. Workers
 * hold a reference to a set, sessions point to users of their worker's set, so a check needs no
 * lock. */

#define ACL_CMD_MAX 1024 /* rows and subcommand rows */
#define ACL_LOG_MAX_AGE_MS 60000

#define ACL_KEY_READ 1u
#define ACL_KEY_WRITE 2u

struct acl_pattern {
    uint8_t access; /* ACL_KEY_* */
    char *text;
    size_t len;
};

struct acl_user {
    char *name;
    _Atomic uint32_t refs;
    bool on, nopass, skip_sanitize, sanitize;
    bool all_commands; /* every command, future ones too */
    bool all_keys, all_channels;
    bool unrestricted;         /* all_commands and all_keys: the fast way through session_admit */
    struct cfg_strings hashes; /* SHA-256, hexadecimal */
    struct acl_pattern *keys;
    size_t key_count;
    struct cfg_strings channels;
    struct cfg_strings rules; /* the command rules, in order: "+@all", "-keys" */
    uint64_t allowed[ACL_CMD_MAX / 64];
};

struct acl_set {
    _Atomic uint32_t refs;
    size_t count;
    struct acl_user **users; /* sorted by name; always one named default */
};

struct acl_log_entry {
    struct acl_log_entry *next;
    uint64_t count, created_ms, updated_ms, entry_id;
    int reason; /* enum acl_reason */
    char *object, *username, *client_info;
};

enum acl_reason { ACL_REASON_COMMAND, ACL_REASON_KEY, ACL_REASON_CHANNEL, ACL_REASON_AUTH };

struct acl {
    pthread_mutex_t lock;
    struct acl_set *set;
    struct acl_log_entry *log; /* newest first */
    uint32_t log_count;
    uint64_t next_entry_id;
};

void acl_init(struct acl *a); /* one user, default: on nopass allkeys allcommands */
void acl_deinit(struct acl *a);
struct acl_set *acl_get(struct acl *a);                                      /* gives a reference */
void acl_set_put(struct acl_set *set);                                       /* NULL allowed */
struct acl_user *acl_user_find(const struct acl_set *set, struct span name); /* NULL: none */
void acl_user_get(const struct acl_user *u);
void acl_user_put(const struct acl_user *u);

/* SETUSER name rules...: all or nothing. On failure why->text is Redis' error after
 * "Error in ACL SETUSER modifier '...': ", *bad the index of the rule. */
enum err acl_set_user(struct acl *a, struct span name, const struct span *rules, size_t n,
                      size_t *bad, struct errmsg *why) must_use;
bool acl_del_user(struct acl *a, struct span name);
/* A `user` line or a line of the users file, without the word user: "alice on >pw +@all ~*". */
enum err acl_load_line(struct acl *a, const struct cfg_strings *words, struct errmsg *why) must_use;
/* Replaces all users by those of the file, or nothing on failure (messages separated by ". "). */
enum err acl_load_file(struct acl *a, const char *path, struct errmsg *why) must_use;
enum err acl_save_file(struct acl *a, const char *path, struct errmsg *why) must_use;
/* requirepass: "" gives the default user nopass. */
void acl_set_default_password(struct acl *a, const char *password);

/* True if this password opens the user (on, and nopass or a matching hash). Constant time in the
 * password. */
bool acl_password_ok(const struct acl_user *u, struct span password);
void acl_sha256_hex(struct span bytes, char out[65]);

bool acl_may_run(const struct acl_user *u, const struct cmd *cmd);
/* access: ACL_KEY_* the command needs. */
bool acl_may_key(const struct acl_user *u, struct span key, unsigned access);
/* Checks every key of the request. Returns the index of the first one refused, 0 if all are fine.
 */
int acl_check_keys(const struct acl_user *u, const struct cmd *cmd, const struct span *argv,
                   int argc);

/* "user alice on #... ~* &* +@all" without "user name " */
void acl_describe(const struct acl_user *u, struct buf *out);
void acl_describe_commands(const struct acl_user *u, struct buf *out);
void acl_describe_keys(const struct acl_user *u, struct buf *out);
void acl_describe_channels(const struct acl_user *u, struct buf *out);

struct acl_denial { /* borrows */
    enum acl_reason reason;
    struct span object, username;
    const char *client_info;
    uint64_t now_ms;
};
/* Newest first, at most max entries; the same denial within a minute raises the count of its entry.
 */
void acl_log_add(struct acl *a, const struct acl_denial *d, uint32_t max);

/* ---- categories ---- */
#define ACL_CATEGORY_COUNT 21
const char *acl_category_name(unsigned i); /* "keyspace"; i < ACL_CATEGORY_COUNT; in Redis' order */
int acl_category_find(struct span name);   /* -1: unknown */
uint32_t acl_categories(const struct cmd *cmd); /* bit i: category i */

#endif
