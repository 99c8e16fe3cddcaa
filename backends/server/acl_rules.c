/* Rules of users: applied one by one as in ACL SETUSER, and written back.
 *
 * Command rules are kept as text in the order given, a rule that takes back or repeats an earlier
 * one replacing it, and as a bitmap over the known commands, which is what checks look at.
 * (Redis 7.0 rebuilds the text from its bitmap and may name other categories that mean the same.)
 */
#include "backends/server/acl_rules.h"

#include <string.h>

#include "backends/server/internal.h"
#include "common/mem.h"

/* ---- lists of strings ---- */

static void list_add(struct cfg_strings *l, struct span s)
{
    l->v = mem_realloc(l->v, (l->n + 1) * sizeof(char *));
    char *p = mem_alloc(s.len + 1);
    if (s.len != 0) {
        memcpy(p, s.p, s.len);
    }
    p[s.len] = '\0';
    l->v[l->n++] = p;
}

static void list_clear(struct cfg_strings *l)
{
    for (size_t i = 0; i < l->n; i++) {
        mem_free(l->v[i]);
    }
    mem_free(l->v);
    *l = (struct cfg_strings){0};
}

static bool list_remove(struct cfg_strings *l, struct span s)
{
    for (size_t i = 0; i < l->n; i++) {
        if (span_eq(span_str(l->v[i]), s)) {
            mem_free(l->v[i]);
            memmove(&l->v[i], &l->v[i + 1], (l->n - i - 1) * sizeof(char *));
            l->n--;
            return true;
        }
    }
    return false;
}

static void list_copy(struct cfg_strings *to, const struct cfg_strings *from)
{
    *to = (struct cfg_strings){0};
    for (size_t i = 0; i < from->n; i++) {
        list_add(to, span_str(from->v[i]));
    }
}

/* ---- users ---- */

struct acl_user *acl_user_new(struct span name)
{
    struct acl_user *u = mem_zalloc(sizeof *u);
    u->refs = 1;
    u->name = mem_alloc(name.len + 1);
    memcpy(u->name, name.p, name.len);
    u->name[name.len] = '\0';
    list_add(&u->rules, SPAN_LIT("-@all"));
    return u;
}

static void clear_keys(struct acl_user *u)
{
    for (size_t i = 0; i < u->key_count; i++) {
        mem_free(u->keys[i].text);
    }
    mem_free(u->keys);
    u->keys = NULL;
    u->key_count = 0;
    u->all_keys = false;
}

static void add_key(struct acl_user *u, struct span pattern, uint8_t access)
{
    for (size_t i = 0; i < u->key_count; i++) {
        if (span_eq(span_of(u->keys[i].text, u->keys[i].len), pattern)) {
            u->keys[i].access |= access;
            return;
        }
    }
    u->keys = mem_realloc(u->keys, (u->key_count + 1) * sizeof *u->keys);
    char *text = mem_alloc(pattern.len + 1);
    if (pattern.len != 0) {
        memcpy(text, pattern.p, pattern.len);
    }
    text[pattern.len] = '\0';
    u->keys[u->key_count++] = (struct acl_pattern){access, text, pattern.len};
}

void acl_user_clear(struct acl_user *u)
{
    list_clear(&u->hashes);
    list_clear(&u->channels);
    list_clear(&u->rules);
    clear_keys(u);
}

struct acl_user *acl_user_clone(const struct acl_user *u)
{
    struct acl_user *c = mem_alloc(sizeof *c);
    memcpy(c, u, sizeof *c);
    c->refs = 1;
    c->name = mem_strdup(u->name);
    list_copy(&c->hashes, &u->hashes);
    list_copy(&c->channels, &u->channels);
    list_copy(&c->rules, &u->rules);
    c->keys = NULL;
    c->key_count = 0;
    for (size_t i = 0; i < u->key_count; i++) {
        add_key(c, span_of(u->keys[i].text, u->keys[i].len), u->keys[i].access);
    }
    return c;
}

/* ---- commands ---- */

static void allow(struct acl_user *u, unsigned index, bool yes)
{
    uint64_t bit = (uint64_t)1 << (index % 64);
    if (yes) {
        u->allowed[index / 64] |= bit;
    } else {
        u->allowed[index / 64] &= ~bit;
        u->all_commands = false;
    }
}

static void allow_all(struct acl_user *u, bool yes)
{
    memset(u->allowed, yes ? 0xFF : 0, sizeof u->allowed);
    u->all_commands = yes;
    list_clear(&u->rules);
    list_add(&u->rules, yes ? SPAN_LIT("+@all") : SPAN_LIT("-@all"));
}

/* text: "+get", "-@read"; forgets what it overrules. */
static void note_rule(struct acl_user *u, struct span rule)
{
    char text[96] = "";
    size_t n = rule.len < sizeof text - 1 ? rule.len : sizeof text - 1;
    for (size_t i = 0; i < n; i++) {
        char c = rule.p[i];
        if (c >= 'A' && c <= 'Z') {
            c = (char)(c + 32);
        }
        text[i] = c;
    }
    struct span s = span_of(text, n);
    (void)list_remove(&u->rules, s);
    const char sign = text[0];
    text[0] = '+';
    if (sign == '+') {
        text[0] = '-';
    }
    (void)list_remove(&u->rules, s);
    text[0] = sign;
    if (memchr(text, '|', n) == NULL && n > 1 && text[1] != '@') { /* its subcommands' rules */
        for (size_t i = u->rules.n; i-- > 0;) {
            const char *r = u->rules.v[i];
            if (strncmp(r + 1, text + 1, n - 1) == 0 && r[n] == '|') {
                (void)list_remove(&u->rules, span_str(r));
            }
        }
    }
    list_add(&u->rules, s);
}

static enum err category_rule(struct acl_user *u, struct span rule, struct errmsg *why)
{
    struct span name = span_of(rule.p + 2, rule.len - 2);
    bool yes = rule.p[0] == '+';
    if (span_is(name, "all")) {
        allow_all(u, yes);
        return OK;
    }
    int category = acl_category_find(name);
    if (category < 0) {
        return errmsg_set(why, ERR_NOTFOUND, "Unknown command or category name in ACL");
    }
    for (unsigned i = 0; i < cmdset_count(); i++) {
        if ((acl_categories(cmdset_at(i)) >> category & 1) != 0) {
            allow(u, i, yes);
        }
    }
    note_rule(u, rule);
    return OK;
}

static enum err command_rule(struct acl_user *u, struct span rule, struct errmsg *why)
{
    struct span name = span_of(rule.p + 1, rule.len - 1);
    bool yes = rule.p[0] == '+';
    const struct cmd *cmd = name.len == 0 ? NULL : cmd_find(name);
    if (cmd == NULL) {
        const char *bar = name.len == 0 ? NULL : memchr(name.p, '|', name.len);
        const struct cmd *base =
            bar == NULL ? NULL : cmd_find(span_of(name.p, (size_t)(bar - name.p)));
        if (base != NULL && base->subs == NULL) {
            return errmsg_set(why, ERR_UNSUPPORTED,
                              "Allowing first-arg of a command is not supported");
        }
        if (base != NULL && memchr(bar + 1, '|', name.len - (size_t)(bar - name.p) - 1) != NULL) {
            return errmsg_set(why, ERR_UNSUPPORTED,
                              "Allowing first-arg of a subcommand is not supported");
        }
        return errmsg_set(why, ERR_NOTFOUND, "Unknown command or category name in ACL");
    }
    allow(u, cmdset_index(cmd), yes);
    for (const struct cmd *sub = cmd->subs; sub != NULL && sub->name != NULL; sub++) {
        allow(u, cmdset_index(sub), yes);
    }
    note_rule(u, rule);
    return OK;
}

/* ---- passwords, keys, channels ---- */

static bool is_hash(struct span s)
{
    if (s.len != 64) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f'))) {
            return false;
        }
    }
    return true;
}

static enum err password_rule(struct acl_user *u, struct span rule, struct errmsg *why)
{
    struct span text = span_of(rule.p + 1, rule.len - 1);
    char hex[65];
    if (rule.p[0] == '>' || rule.p[0] == '<') {
        acl_sha256_hex(text, hex);
        text = span_of(hex, 64);
    } else if (!is_hash(text)) {
        return errmsg_set(why, ERR_SYNTAX,
                          "The password hash must be exactly 64 characters and "
                          "contain only lowercase hexadecimal characters");
    }
    bool had = list_remove(&u->hashes, text);
    if (rule.p[0] == '<' || rule.p[0] == '!') {
        return had ? OK
                   : errmsg_set(why, ERR_NOTFOUND,
                                "The password you are trying to remove from "
                                "the user does not exist");
    }
    list_add(&u->hashes, text);
    u->nopass = false;
    return OK;
}

static bool has_blank(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] == '\0' || s.p[i] == ' ' || (s.p[i] >= '\t' && s.p[i] <= '\r')) {
            return true;
        }
    }
    return false;
}

static enum err key_rule(struct acl_user *u, struct span rule, struct errmsg *why)
{
    uint8_t access = ACL_KEY_READ | ACL_KEY_WRITE;
    size_t at = 1;
    if (rule.p[0] == '%') {
        access = 0;
        for (; at < rule.len && rule.p[at] != '~'; at++) {
            uint8_t bit = rule.p[at] == 'R' || rule.p[at] == 'r'   ? ACL_KEY_READ
                          : rule.p[at] == 'W' || rule.p[at] == 'w' ? ACL_KEY_WRITE
                                                                   : 0;
            if (bit == 0 || (access & bit) != 0) {
                return errmsg_set(why, ERR_SYNTAX, "Syntax error");
            }
            access |= bit;
        }
        if (at == rule.len || access == 0) {
            return errmsg_set(why, ERR_SYNTAX, "Syntax error");
        }
        at++;
    }
    struct span pattern = span_of(rule.p + at, rule.len - at);
    if (u->all_keys) {
        return errmsg_set(why, ERR_EXISTS,
                          "Adding a pattern after the * pattern (or the 'allkeys' flag) is not "
                          "valid and does not have any effect. Try 'resetkeys' to start with an "
                          "empty list of patterns");
    }
    if (has_blank(pattern)) {
        return errmsg_set(why, ERR_SYNTAX, "Syntax error");
    }
    if (access == (ACL_KEY_READ | ACL_KEY_WRITE) && span_is(pattern, "*")) {
        clear_keys(u);
        u->all_keys = true;
        return OK;
    }
    add_key(u, pattern, access);
    return OK;
}

static enum err channel_rule(struct acl_user *u, struct span rule, struct errmsg *why)
{
    struct span pattern = span_of(rule.p + 1, rule.len - 1);
    if (u->all_channels) {
        return errmsg_set(why, ERR_EXISTS,
                          "Adding a pattern after the * pattern (or the 'allchannels' flag) is not "
                          "valid and does not have any effect. Try 'resetchannels' to start with "
                          "an empty list of channels");
    }
    if (has_blank(pattern)) {
        return errmsg_set(why, ERR_SYNTAX, "Syntax error");
    }
    if (span_is(pattern, "*")) {
        list_clear(&u->channels);
        u->all_channels = true;
        return OK;
    }
    (void)list_remove(&u->channels, pattern);
    list_add(&u->channels, pattern);
    return OK;
}

/* ---- words ---- */

static void reset_user(struct acl_user *u)
{
    acl_user_clear(u);
    u->on = u->nopass = u->all_channels = u->skip_sanitize = false;
    u->sanitize = true; /* as Redis leaves it */
    allow_all(u, false);
}

static bool word_rule(struct acl_user *u, struct span rule)
{
    if (span_is(rule, "on")) {
        u->on = true;
    } else if (span_is(rule, "off")) {
        u->on = false;
    } else if (span_is(rule, "nopass")) {
        u->nopass = true;
        list_clear(&u->hashes);
    } else if (span_is(rule, "resetpass")) {
        u->nopass = false;
        list_clear(&u->hashes);
    } else if (span_is(rule, "allkeys") || span_is(rule, "~*")) {
        clear_keys(u);
        u->all_keys = true;
    } else if (span_is(rule, "resetkeys")) {
        clear_keys(u);
    } else if (span_is(rule, "allchannels") || span_is(rule, "&*")) {
        list_clear(&u->channels);
        u->all_channels = true;
    } else if (span_is(rule, "resetchannels")) {
        list_clear(&u->channels);
        u->all_channels = false;
    } else if (span_is(rule, "allcommands")) {
        allow_all(u, true);
    } else if (span_is(rule, "nocommands")) {
        allow_all(u, false);
    } else if (span_is(rule, "skip-sanitize-payload")) {
        u->skip_sanitize = true;
        u->sanitize = false;
    } else if (span_is(rule, "sanitize-payload")) {
        u->skip_sanitize = false;
        u->sanitize = true;
    } else if (span_is(rule, "reset")) {
        reset_user(u);
    } else if (!span_is(rule, "clearselectors")) {
        return false;
    }
    return true;
}

enum err acl_apply_rule(struct acl_user *u, struct span rule, struct errmsg *why)
{
    enum err e = OK;
    if (rule.len == 0 || word_rule(u, rule)) {
        u->unrestricted = u->all_commands && u->all_keys;
        return OK;
    }
    switch (rule.p[0]) {
    case '>':
    case '<':
    case '#':
    case '!':
        e = password_rule(u, rule, why);
        break;
    case '~':
    case '%':
        e = key_rule(u, rule, why);
        break;
    case '&':
        e = channel_rule(u, rule, why);
        break;
    case '+':
    case '-':
        e = rule.len > 1 && rule.p[1] == '@' ? category_rule(u, rule, why)
                                             : command_rule(u, rule, why);
        break;
    default:
        e = errmsg_set(why, ERR_SYNTAX, "Syntax error");
        break;
    }
    u->unrestricted = u->all_commands && u->all_keys;
    return e;
}

/* ---- description ---- */

static void add_word(struct buf *out, size_t start, const char *prefix, const char *word)
{
    if (buf_used(out) != start) {
        buf_add_str(out, " ");
    }
    buf_add_str(out, prefix);
    buf_add_str(out, word);
}

void acl_describe_commands(const struct acl_user *u, struct buf *out)
{
    size_t start = buf_used(out);
    for (size_t i = 0; i < u->rules.n; i++) {
        add_word(out, start, "", u->rules.v[i]);
    }
}

void acl_describe_keys(const struct acl_user *u, struct buf *out)
{
    static const char *const prefix[] = {"~", "%R~", "%W~", "~"};
    size_t start = buf_used(out);
    if (u->all_keys) {
        buf_add_str(out, "~*");
    }
    for (size_t i = 0; i < u->key_count; i++) {
        add_word(out, start, prefix[u->keys[i].access], u->keys[i].text);
    }
}

void acl_describe_channels(const struct acl_user *u, struct buf *out)
{
    size_t start = buf_used(out);
    if (u->all_channels) {
        buf_add_str(out, "&*");
    }
    for (size_t i = 0; i < u->channels.n; i++) {
        add_word(out, start, "&", u->channels.v[i]);
    }
}

void acl_describe(const struct acl_user *u, struct buf *out)
{
    buf_add_str(out, u->on ? "on" : "off");
    if (u->nopass) {
        buf_add_str(out, " nopass");
    }
    if (u->skip_sanitize) {
        buf_add_str(out, " skip-sanitize-payload");
    }
    if (u->sanitize) {
        buf_add_str(out, " sanitize-payload");
    }
    for (size_t i = 0; i < u->hashes.n; i++) {
        buf_addf(out, " #%s", u->hashes.v[i]);
    }
    buf_add_str(out, " ");
    if (u->all_keys || u->key_count != 0) {
        acl_describe_keys(u, out);
        buf_add_str(out, " ");
    }
    buf_add_str(out, u->all_channels ? "" : "resetchannels ");
    if (u->all_channels || u->channels.n != 0) {
        acl_describe_channels(u, out);
        buf_add_str(out, " ");
    }
    acl_describe_commands(u, out);
}
