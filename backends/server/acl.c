/* Users: the set of them, passwords, checks, the log of denials. Rules are parsed in acl_rules.c.
 */
#include "backends/server/acl.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "backends/server/acl_rules.h"
#include "backends/server/internal.h"
#include "backends/server/keyspec.h"
#include "common/glob.h"
#include "common/mem.h"
#include "common/must.h"

#define KEYS_MAX 256 /* keys of one request looked at on the stack; more are counted first */

/* ---- users ---- */

void acl_user_get(const struct acl_user *u)
{
    atomic_fetch_add_explicit(&((struct acl_user *)u)->refs, 1, memory_order_relaxed);
}

void acl_user_put(const struct acl_user *user)
{
    struct acl_user *u = (struct acl_user *)user;
    if (u == NULL || atomic_fetch_sub_explicit(&u->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    acl_user_clear(u);
    mem_free(u->name);
    mem_free(u);
}

static int by_name(const void *a, const void *b)
{
    const struct acl_user *x = *(struct acl_user *const *)a;
    const struct acl_user *y = *(struct acl_user *const *)b;
    return strcmp(x->name, y->name);
}

/* A set with room for one more user; shares the users of old (NULL: none). */
static struct acl_set *set_clone(const struct acl_set *old)
{
    struct acl_set *set = mem_zalloc(sizeof *set);
    set->refs = 1;
    size_t n = old == NULL ? 0 : old->count;
    set->users = mem_zalloc((n + 1) * sizeof(void *));
    for (size_t i = 0; i < n; i++) {
        acl_user_get(old->users[i]);
        set->users[i] = old->users[i];
    }
    set->count = n;
    return set;
}

/* Takes u; replaces the user of that name. */
static void set_put_user(struct acl_set *set, struct acl_user *u)
{
    for (size_t i = 0; i < set->count; i++) {
        if (strcmp(set->users[i]->name, u->name) == 0) {
            acl_user_put(set->users[i]);
            set->users[i] = u;
            return;
        }
    }
    set->users[set->count++] = u; /* set_clone left room */
    qsort(set->users, set->count, sizeof(struct acl_user *), by_name);
}

void acl_set_put(struct acl_set *set)
{
    if (set == NULL || atomic_fetch_sub(&set->refs, 1) != 1) {
        return;
    }
    for (size_t i = 0; i < set->count; i++) {
        acl_user_put(set->users[i]);
    }
    mem_free(set->users);
    mem_free(set);
}

struct acl_user *acl_user_find(const struct acl_set *set, struct span name)
{
    for (size_t i = 0; i < set->count; i++) {
        if (span_eq(span_str(set->users[i]->name), name)) {
            return set->users[i];
        }
    }
    return NULL;
}

static struct acl_user *make_default(void)
{
    static const struct span rules[] = {
        {"on", 2}, {"nopass", 6}, {"~*", 2}, {"&*", 2}, {"+@all", 5}};
    struct acl_user *u = acl_user_new(SPAN_LIT("default"));
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        must(acl_apply_rule(u, rules[i], NULL) == OK);
    }
    return u;
}

void acl_init(struct acl *a)
{
    cmdset_init();
    memset(a, 0, sizeof *a);
    must(pthread_mutex_init(&a->lock, NULL) == 0);
    a->set = set_clone(NULL);
    set_put_user(a->set, make_default());
}

static void log_clear(struct acl *a)
{
    while (a->log != NULL) {
        struct acl_log_entry *e = a->log;
        a->log = e->next;
        mem_free(e->object);
        mem_free(e->username);
        mem_free(e->client_info);
        mem_free(e);
    }
    a->log_count = 0;
}

void acl_deinit(struct acl *a)
{
    if (a->set == NULL) {
        return;
    }
    log_clear(a);
    acl_set_put(a->set);
    a->set = NULL;
    (void)pthread_mutex_destroy(&a->lock);
}

struct acl_set *acl_get(struct acl *a)
{
    (void)pthread_mutex_lock(&a->lock);
    struct acl_set *set = a->set;
    atomic_fetch_add(&set->refs, 1);
    (void)pthread_mutex_unlock(&a->lock);
    return set;
}

/* Takes set, with the lock held. */
static void install(struct acl *a, struct acl_set *set)
{
    struct acl_set *old = a->set;
    a->set = set;
    acl_set_put(old);
}

enum err acl_set_user(struct acl *a, struct span name, const struct span *rules, size_t n,
                      size_t *bad, struct errmsg *why)
{
    (void)pthread_mutex_lock(&a->lock);
    const struct acl_user *old = acl_user_find(a->set, name);
    struct acl_user *u = old == NULL ? acl_user_new(name) : acl_user_clone(old);
    enum err e = OK;
    for (size_t i = 0; e == OK && i < n; i++) {
        e = acl_apply_rule(u, rules[i], why);
        *bad = i;
    }
    if (e == OK) {
        struct acl_set *set = set_clone(a->set);
        set_put_user(set, u);
        install(a, set);
    } else {
        acl_user_put(u);
    }
    (void)pthread_mutex_unlock(&a->lock);
    return e;
}

bool acl_del_user(struct acl *a, struct span name)
{
    (void)pthread_mutex_lock(&a->lock);
    bool found = acl_user_find(a->set, name) != NULL;
    if (found) {
        struct acl_set *set = set_clone(a->set);
        size_t kept = 0;
        for (size_t i = 0; i < set->count; i++) {
            if (span_eq(span_str(set->users[i]->name), name)) {
                acl_user_put(set->users[i]);
            } else {
                set->users[kept++] = set->users[i];
            }
        }
        set->count = kept;
        install(a, set);
    }
    (void)pthread_mutex_unlock(&a->lock);
    return found;
}

void acl_set_default_password(struct acl *a, const char *password)
{
    struct buf rule = {0};
    buf_add_str(&rule, ">");
    buf_add_str(&rule, password);
    struct span rules[] = {SPAN_LIT("resetpass"),
                           password[0] == '\0' ? SPAN_LIT("nopass") : buf_span(&rule)};
    size_t bad;
    must(acl_set_user(a, SPAN_LIT("default"), rules, 2, &bad, NULL) == OK);
    buf_free(&rule);
}

void acl_replace(struct acl *a, struct acl *with)
{
    (void)pthread_mutex_lock(&a->lock);
    install(a, acl_get(with));
    (void)pthread_mutex_unlock(&a->lock);
}

/* ---- passwords ---- */

void acl_sha256_hex(struct span bytes, char out[65])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char sum[32];
    unsigned len = 0;
    must(EVP_Digest(bytes.len == 0 ? "" : bytes.p, bytes.len, sum, &len, EVP_sha256(), NULL) == 1);
    for (size_t i = 0; i < sizeof sum; i++) {
        out[2 * i] = digits[sum[i] >> 4];
        out[2 * i + 1] = digits[sum[i] & 15];
    }
    out[64] = '\0';
}

bool acl_password_ok(const struct acl_user *u, struct span password)
{
    if (!u->on) {
        return false;
    }
    if (u->nopass) {
        return true;
    }
    char hex[65];
    acl_sha256_hex(password, hex);
    bool ok = false;
    for (size_t i = 0; i < u->hashes.n; i++) {
        unsigned diff = 0;
        for (size_t k = 0; k < 64; k++) {
            diff |= (unsigned)(hex[k] ^ u->hashes.v[i][k]);
        }
        ok |= diff == 0;
    }
    return ok;
}

/* ---- checks ---- */

bool acl_may_run(const struct acl_user *u, const struct cmd *cmd)
{
    unsigned i = cmdset_index(cmd);
    return u->all_commands || (u->allowed[i / 64] >> (i % 64) & 1) != 0;
}

bool acl_may_key(const struct acl_user *u, struct span key, unsigned access)
{
    if (u->all_keys) {
        return true;
    }
    for (size_t i = 0; i < u->key_count; i++) {
        const struct acl_pattern *p = &u->keys[i];
        if ((p->access & access) == access && glob_match(span_of(p->text, p->len), key, false)) {
            return true;
        }
    }
    return false;
}

static bool may_read_all(const struct acl_user *u)
{
    bool all = u->all_keys;
    for (size_t i = 0; i < u->key_count && !all; i++) {
        const struct acl_pattern *p = &u->keys[i];
        all = (p->access & ACL_KEY_READ) != 0 && p->len == 1 && p->text[0] == '*';
    }
    return all;
}

/* The argument of SORT that makes keys of the elements (BY and GET with a *), which nobody can
 * check before; 0: none. */
static int made_keys(const struct cmd *cmd, const struct span *argv, int argc)
{
    if (strcmp(cmd->name, "sort") != 0 && strcmp(cmd->name, "sort_ro") != 0) {
        return 0;
    }
    for (int i = 3; i < argc; i++) {
        bool pattern = span_is(argv[i - 1], "by") || span_is(argv[i - 1], "get");
        if (pattern && argv[i].len != 0 && memchr(argv[i].p, '*', argv[i].len) != NULL) {
            return i;
        }
    }
    return 0;
}

int acl_check_keys(const struct acl_user *u, const struct cmd *cmd, const struct span *argv,
                   int argc)
{
    int few[KEYS_MAX];
    int *idx = argc <= KEYS_MAX ? few : mem_alloc((size_t)argc * sizeof *idx);
    int n = cmd_get_keys(cmd, argv, argc, idx, argc);
    struct keyspec specs[KEYSPEC_MAX];
    int spec_count = n > 0 ? keyspec_parse(cmd, specs) : 0;
    int refused = n < 0 ? -1 : 0;
    for (int i = 0; i < n && refused == 0; i++) {
        unsigned access =
            (cmd->flags & CMD_WRITE) != 0 ? ACL_KEY_READ | ACL_KEY_WRITE : ACL_KEY_READ;
        if (spec_count > 0) {
            struct keyspec spec = keyspec_for(cmd, specs, spec_count, argv, argc, idx[i]);
            access = keyspec_access(&spec);
        }
        if (!acl_may_key(u, argv[idx[i]], access)) {
            refused = idx[i];
        }
    }
    if (refused == 0 && !may_read_all(u)) {
        refused = made_keys(cmd, argv, argc);
    }
    if (idx != few) {
        mem_free(idx);
    }
    return refused;
}

/* ---- log ---- */

static bool same_denial(const struct acl_log_entry *e, const struct acl_denial *d)
{
    return e->reason == (int)d->reason && span_eq(span_str(e->object), d->object) &&
           span_eq(span_str(e->username), d->username);
}

static char *copy_text(struct span s)
{
    char *p = mem_alloc(s.len + 1);
    if (s.len != 0) {
        memcpy(p, s.p, s.len);
    }
    p[s.len] = '\0';
    return p;
}

static void log_cut(struct acl *a, uint32_t max)
{
    struct acl_log_entry **link = &a->log;
    for (uint32_t i = 0; i < max && *link != NULL; i++) {
        link = &(*link)->next;
    }
    while (*link != NULL) {
        struct acl_log_entry *e = *link;
        *link = e->next;
        mem_free(e->object);
        mem_free(e->username);
        mem_free(e->client_info);
        mem_free(e);
        a->log_count--;
    }
}

void acl_log_add(struct acl *a, const struct acl_denial *d, uint32_t max)
{
    (void)pthread_mutex_lock(&a->lock);
    struct acl_log_entry **link = &a->log;
    struct acl_log_entry *e = NULL;
    for (; *link != NULL && e == NULL; link = &(*link)->next) {
        if (same_denial(*link, d) && d->now_ms - (*link)->updated_ms <= ACL_LOG_MAX_AGE_MS) {
            e = *link;
            *link = e->next;
            break;
        }
    }
    if (e == NULL) {
        e = mem_zalloc(sizeof *e);
        e->reason = (int)d->reason;
        e->created_ms = d->now_ms;
        e->entry_id = a->next_entry_id++;
        e->object = copy_text(d->object);
        e->username = copy_text(d->username);
        a->log_count++;
    }
    e->count++;
    e->updated_ms = d->now_ms;
    mem_free(e->client_info);
    e->client_info = mem_strdup(d->client_info);
    e->next = a->log;
    a->log = e;
    log_cut(a, max);
    (void)pthread_mutex_unlock(&a->lock);
}

void acl_log_reset(struct acl *a)
{
    (void)pthread_mutex_lock(&a->lock);
    log_clear(a);
    (void)pthread_mutex_unlock(&a->lock);
}
