/* Recorded histories: reading the JSON lines, and turning the texts of one key into the numbers
 * that the checkers work with.
 *
 * What the numbers are depends on which commands a key saw:
 *   INCR among them     values are decimal numbers, as they are
 *   APPEND among them   values are made of pieces of one length; a piece is a random number, a
 * value the fold of its pieces as in history.h, a length the number of pieces neither values are
 * names, numbered as they come */
#include "tests/lib/histfile.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/must.h"
#include "common/num.h"

struct histfile {
    struct histfile_op *ops;
    size_t count, room;
    char **names; /* interned strings; number + 1 is in table */
    size_t name_count, name_room;
    uint32_t *table;
    size_t table_size;
    struct histfile_key *keys;
    size_t key_count;
};

static const struct {
    const char *name;
    bool has_arg;
} kinds[] = {[HIST_GET] = {"GET", false},    [HIST_SET] = {"SET", true},
             [HIST_INCR] = {"INCR", false},  [HIST_APPEND] = {"APPEND", true},
             [HIST_DEL] = {"DEL", false},    [HIST_CAS] = {NULL, false}, /* not a command */
             [HIST_SETNX] = {"SETNX", true}, [HIST_GETSET] = {"GETSET", true}};
static const char *const statuses[] = {
    [HIST_OK] = "ok", [HIST_FAIL] = "fail", [HIST_UNKNOWN] = "unknown"};

const char *histfile_kind_name(enum hist_kind kind)
{
    return kinds[kind].name != NULL ? kinds[kind].name : "CAS";
}

const char *histfile_status_name(enum hist_status status)
{
    return statuses[status];
}

/* ---- strings ---- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

static size_t hash_of(const char *s, size_t len)
{
    uint64_t h = len;
    for (size_t i = 0; i < len; i++) {
        h = (h ^ (unsigned char)s[i]) * UINT64_C(0x100000001B3);
    }
    return (size_t)mix(h);
}

static void grow_table(struct histfile *f)
{
    f->table_size = f->table_size == 0 ? 1024 : 2 * f->table_size;
    mem_free(f->table);
    f->table = mem_zalloc(f->table_size * sizeof *f->table);
    for (size_t i = 0; i < f->name_count; i++) {
        size_t at = hash_of(f->names[i], strlen(f->names[i])) & (f->table_size - 1);
        while (f->table[at] != 0) {
            at = (at + 1) & (f->table_size - 1);
        }
        f->table[at] = (uint32_t)i + 1;
    }
}

/* The number of a string, from 0. */
static size_t intern(struct histfile *f, const char *s, size_t len)
{
    if (2 * f->name_count >= f->table_size) {
        grow_table(f);
    }
    size_t at = hash_of(s, len) & (f->table_size - 1);
    for (; f->table[at] != 0; at = (at + 1) & (f->table_size - 1)) {
        const char *n = f->names[f->table[at] - 1];
        if (strncmp(n, s, len) == 0 && n[len] == '\0') {
            return f->table[at] - 1;
        }
    }
    if (f->name_count == f->name_room) {
        f->name_room = f->name_room == 0 ? 256 : 2 * f->name_room;
        f->names = mem_realloc(f->names, f->name_room * sizeof *f->names);
    }
    char *copy = mem_alloc(len + 1);
    memcpy(copy, s, len);
    copy[len] = '\0';
    f->names[f->name_count] = copy;
    f->table[at] = (uint32_t)++f->name_count;
    return f->name_count - 1;
}

static const char *shared_text(struct histfile *f, const char *s, size_t len)
{
    size_t i = intern(f, s, len); /* may move f->names */
    return f->names[i];
}

struct histfile *histfile_new(void)
{
    return mem_zalloc(sizeof(struct histfile));
}

void histfile_free(struct histfile *f)
{
    if (f == NULL) {
        return;
    }
    for (size_t i = 0; i < f->name_count; i++) {
        mem_free(f->names[i]);
    }
    mem_free(f->names);
    mem_free(f->table);
    mem_free(f->ops);
    mem_free(f->keys);
    mem_free(f);
}

/* ---- reading ---- */

static bool get_number(struct json_object *o, const char *name, uint64_t *out)
{
    struct json_object *v;
    if (!json_object_object_get_ex(o, name, &v) || !json_object_is_type(v, json_type_int) ||
        json_object_get_int64(v) < 0) {
        return false;
    }
    *out = (uint64_t)json_object_get_int64(v);
    return true;
}

/* Strings as they are, integers as text; NULL: null or not there. False: neither. */
static bool get_text(struct histfile *f, struct json_object *o, const char *name, const char **out)
{
    struct json_object *v;
    *out = NULL;
    if (!json_object_object_get_ex(o, name, &v) || v == NULL) {
        return true;
    }
    if (json_object_is_type(v, json_type_int)) {
        char text[24];
        int n = snprintf(text, sizeof text, "%" PRId64, json_object_get_int64(v));
        *out = shared_text(f, text, (size_t)n);
        return true;
    }
    if (!json_object_is_type(v, json_type_string) ||
        strlen(json_object_get_string(v)) != (size_t)json_object_get_string_len(v)) {
        return false;
    }
    *out = shared_text(f, json_object_get_string(v), (size_t)json_object_get_string_len(v));
    return true;
}

static bool find_name(struct json_object *o, const char *name, const char *const *list,
                      size_t stride, size_t n, size_t *out)
{
    struct json_object *v;
    if (!json_object_object_get_ex(o, name, &v) || !json_object_is_type(v, json_type_string)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const char *one = *(const char *const *)(const void *)((const char *)list + i * stride);
        if (one != NULL && strcmp(one, json_object_get_string(v)) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

/* NULL: fine; else what is wrong. */
static const char *take_object(struct histfile *f, struct json_object *o, struct histfile_op *h)
{
    uint64_t client = 0;
    size_t kind = 0;
    size_t status = 0;
    if (!get_number(o, "client", &client) || client > UINT32_MAX ||
        !get_number(o, "seq", &h->op.sequence)) {
        return "client and seq must be numbers";
    }
    if (!find_name(o, "op", &kinds[0].name, sizeof kinds[0], sizeof kinds / sizeof *kinds, &kind)) {
        return "op must be GET, SET, INCR, APPEND, DEL, SETNX or GETSET";
    }
    if (!find_name(o, "status", statuses, sizeof *statuses, sizeof statuses / sizeof *statuses,
                   &status)) {
        return "status must be ok, fail or unknown";
    }
    if (!get_text(f, o, "key", &h->key) || h->key == NULL) {
        return "key must be a string";
    }
    if (!get_text(f, o, "arg", &h->arg) || (h->arg != NULL) != kinds[kind].has_arg) {
        return "arg must be a string, and only where the command takes one";
    }
    if (!get_text(f, o, "ret", &h->ret) ||
        (status == HIST_OK && h->ret == NULL && kind != HIST_GET && kind != HIST_GETSET)) {
        return "ret must be a string or a number; null only for an absent value";
    }
    h->op.client = (uint32_t)client;
    h->op.kind = (enum hist_kind)kind;
    h->op.status = (enum hist_status)status;
    h->op.ts = HIST_NO_TS;
    h->op.ret_at = HIST_NEVER;
    if (!get_number(o, "call", &h->op.call) ||
        (!get_number(o, "return", &h->op.ret_at) && status == HIST_OK) ||
        h->op.ret_at < h->op.call) {
        return "call and return must be times, call first";
    }
    return NULL;
}

enum err histfile_line(struct histfile *f, const char *name, size_t number, const char *text,
                       struct errmsg *why)
{
    struct histfile_op h = {.line = number};
    struct json_object *o = json_tokener_parse(text);
    const char *wrong =
        json_object_is_type(o, json_type_object) ? take_object(f, o, &h) : "no JSON object";
    json_object_put(o);
    if (wrong != NULL) {
        return errmsg_set(why, ERR_PROTO, "%s:%zu: %s", name, number, wrong);
    }
    if (f->count == f->room) {
        f->room = f->room == 0 ? 1024 : 2 * f->room;
        f->ops = mem_realloc(f->ops, f->room * sizeof *f->ops);
    }
    f->ops[f->count++] = h;
    return OK;
}

enum err histfile_read(struct histfile *f, const char *path, struct errmsg *why)
{
    FILE *in = fopen(path, "r");
    if (in == NULL) {
        return errmsg_set(why, ERR_IO, "%s: cannot be opened", path);
    }
    char *line = NULL;
    size_t room = 0;
    size_t number = 0;
    enum err e = OK;
    while (e == OK && getline(&line, &room, in) >= 0) {
        number++;
        if (line[strspn(line, " \t\r\n")] != '\0') {
            e = histfile_line(f, path, number, line, why);
        }
    }
    if (e == OK && ferror(in)) {
        e = errmsg_set(why, ERR_IO, "%s: read error", path);
    }
    free(line);
    if (fclose(in) != 0 && e == OK) {
        e = errmsg_set(why, ERR_IO, "%s: read error", path);
    }
    return e;
}

size_t histfile_count(const struct histfile *f, uint64_t *first_ns, uint64_t *last_ns)
{
    *first_ns = UINT64_MAX;
    *last_ns = 0;
    for (size_t i = 0; i < f->count; i++) {
        const struct hist_op *o = &f->ops[i].op;
        *first_ns = o->call < *first_ns ? o->call : *first_ns;
        uint64_t end = o->ret_at == HIST_NEVER ? o->call : o->ret_at;
        *last_ns = end > *last_ns ? end : *last_ns;
    }
    return f->count;
}

/* ---- texts to numbers ---- */

enum family { PLAIN, NUMBERS, PIECES };

struct meaning { /* of one key's texts */
    struct histfile *f;
    enum family family;
    size_t piece; /* bytes */
    const char *bad, *undecided;
};

static int64_t number_of(struct meaning *m, const char *text, bool from_server)
{
    int64_t v = 0;
    if (!num_parse_i64(span_of(text, strlen(text)), &v)) {
        *(from_server ? &m->bad : &m->undecided) =
            from_server ? "a reply that must be a number is none"
                        : "a value given to a key with INCR is no number";
    }
    return v;
}

static int64_t value_of(struct meaning *m, const char *text, bool from_server)
{
    if (text == NULL) {
        return HIST_ABSENT;
    }
    size_t len = strlen(text);
    switch (m->family) {
    case PLAIN:
        return (int64_t)intern(m->f, text, len) + 1;
    case NUMBERS:
        return number_of(m, text, from_server);
    case PIECES: {
        if (len == 0 || m->piece == 0 || len % m->piece != 0) {
            m->bad = "a value is not made of whole pieces";
            return 0;
        }
        uint64_t v = 0;
        for (size_t at = 0; at < len; at += m->piece) {
            v = v * 31 + mix(intern(m->f, text + at, m->piece) + 1);
        }
        return (int64_t)v;
    }
    }
    unreachable();
}

static int64_t answer_of(struct meaning *m, const struct histfile_op *h)
{
    int64_t v = 0;
    switch (h->op.kind) {
    case HIST_GET:
    case HIST_GETSET:
        return value_of(m, h->ret, true);
    case HIST_SET:
        if (strcmp(h->ret, "OK") != 0) {
            m->bad = "a SET was not answered with OK";
        }
        return 0;
    case HIST_APPEND:
        v = number_of(m, h->ret, true);
        if (v <= 0 || m->piece == 0 || v % (int64_t)m->piece != 0) {
            m->bad = "a length is not that of whole pieces";
            return 0;
        }
        return v / (int64_t)m->piece;
    case HIST_INCR:
    case HIST_DEL:
    case HIST_SETNX:
    case HIST_CAS:
        return number_of(m, h->ret, true);
    }
    unreachable();
}

static struct meaning find_meaning(struct histfile *f, struct histfile_op *const *ops, size_t n)
{
    struct meaning m = {.f = f};
    bool incr = false;
    bool append = false;
    bool uneven = false;
    for (size_t i = 0; i < n; i++) {
        incr = incr || ops[i]->op.kind == HIST_INCR;
        append = append || ops[i]->op.kind == HIST_APPEND;
        if (ops[i]->arg != NULL) {
            size_t len = strlen(ops[i]->arg);
            m.piece = m.piece == 0 ? len : m.piece;
            uneven = uneven || len != m.piece || len == 0;
        }
    }
    m.family = append ? PIECES : incr ? NUMBERS : PLAIN;
    if (incr && append) {
        m.undecided = "a key with both INCR and APPEND";
    } else if (append && uneven) {
        m.undecided = "the values of a key with APPEND must all be of one length";
    }
    return m;
}

/* ---- judging ---- */

static int by_key_then_call(const void *a, const void *b)
{
    const struct histfile_op *x = *(struct histfile_op *const *)a;
    const struct histfile_op *y = *(struct histfile_op *const *)b;
    int c = strcmp(x->key, y->key);
    if (c != 0 || x->op.call == y->op.call) {
        return c != 0 ? c : (x->op.sequence > y->op.sequence) - (x->op.sequence < y->op.sequence);
    }
    return x->op.call < y->op.call ? -1 : 1;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* ops by call. */
static size_t most_open(struct histfile_op *const *ops, size_t n)
{
    uint64_t *ends = mem_alloc((n + 1) * sizeof *ends);
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (ops[i]->op.status == HIST_OK) {
            ends[count++] = ops[i]->op.ret_at;
        }
    }
    qsort(ends, count, sizeof *ends, compare_u64);
    size_t open = 0;
    size_t most = 0;
    size_t ended = 0;
    for (size_t i = 0; i < n; i++) {
        if (ops[i]->op.status != HIST_OK) {
            continue;
        }
        while (ended < count && ends[ended] < ops[i]->op.call) {
            ended++;
            open--;
        }
        open++;
        most = open > most ? open : most;
    }
    mem_free(ends);
    return most;
}

static struct histfile_op find_op(struct histfile_op *const *ops, size_t n, const struct hist_op *o)
{
    for (size_t i = 0; i < n; i++) {
        if (ops[i]->op.client == o->client && ops[i]->op.sequence == o->sequence) {
            return *ops[i];
        }
    }
    return *ops[0]; /* a fault without a second operation */
}

static void set_reason(struct histfile_key *k, enum histfile_verdict v, const char *text)
{
    k->verdict = v;
    snprintf(k->reason, sizeof k->reason, "%s", text);
}

/* list: a copy of the key's operations with numbers. */
static void run_checkers(struct histfile_key *k, struct hist_op *list, size_t n, uint64_t budget,
                         bool zones, struct hist_fault *fault)
{
    bool gave_up = false;
    k->method = zones ? "zones and search" : "search";
    if (zones && !check_zones(list, n, fault)) {
        set_reason(k, HISTFILE_BAD, fault->what);
        k->has_fault = true;
        return;
    }
    if (!check_search(list, n, budget, &gave_up, fault)) {
        set_reason(k, HISTFILE_BAD, fault->what);
        k->has_fault = true;
    } else if (gave_up) {
        set_reason(k, HISTFILE_UNDECIDED, "the budget of the search was not enough");
    }
}

static void judge_key(struct histfile *f, struct histfile_op **ops, size_t n, uint64_t budget,
                      struct histfile_key *k)
{
    struct meaning m = find_meaning(f, ops, n);
    struct hist_op *list = mem_alloc(n * sizeof *list);
    bool zones = m.family == PLAIN;
    *k = (struct histfile_key){.key = ops[0]->key, .method = "none", .ops = n};
    for (size_t i = 0; i < n; i++) {
        k->ok += ops[i]->op.status == HIST_OK;
        k->failed += ops[i]->op.status == HIST_FAIL;
        k->unknown += ops[i]->op.status == HIST_UNKNOWN;
    }
    for (size_t i = 0; i < n && m.undecided == NULL && m.bad == NULL; i++) {
        struct histfile_op *h = ops[i];
        zones = zones && (h->op.kind == HIST_GET || h->op.kind == HIST_SET);
        h->op.arg = h->arg != NULL ? value_of(&m, h->arg, false) : 0;
        h->op.ret = h->op.status == HIST_OK ? answer_of(&m, h) : 0;
        if (m.bad != NULL) {
            k->has_fault = true;
            k->first = *h;
            k->second = *h;
        }
        list[i] = h->op;
    }
    k->open_most = most_open(ops, n);
    struct hist_fault fault = {0};
    if (m.undecided != NULL) {
        set_reason(k, HISTFILE_UNDECIDED, m.undecided);
    } else if (m.bad != NULL) {
        set_reason(k, HISTFILE_BAD, m.bad);
    } else {
        run_checkers(k, list, n, budget, zones, &fault);
        if (k->has_fault) {
            k->first = find_op(ops, n, &fault.first);
            k->second = find_op(ops, n, &fault.second);
        }
    }
    mem_free(list);
}

void histfile_judge(struct histfile *f, uint64_t budget, const struct histfile_key **keys,
                    size_t *count)
{
    struct histfile_op **sorted = mem_alloc((f->count + 1) * sizeof(void *));
    for (size_t i = 0; i < f->count; i++) {
        sorted[i] = &f->ops[i];
    }
    qsort(sorted, f->count, sizeof(void *), by_key_then_call);
    mem_free(f->keys);
    f->keys = NULL;
    f->key_count = 0;
    for (size_t i = 0; i < f->count;) {
        size_t end = i + 1;
        while (end < f->count && sorted[end]->key == sorted[i]->key) {
            end++;
        }
        f->keys = mem_realloc(f->keys, (f->key_count + 1) * sizeof *f->keys);
        judge_key(f, sorted + i, end - i, budget, &f->keys[f->key_count++]);
        i = end;
    }
    mem_free(sorted);
    *keys = f->keys;
    *count = f->key_count;
}

/* ---- showing ---- */

#define AROUND_NS 2000000u /* at least this much before the first and after the second */
#define AROUND_MOST 40

static void print_op(const struct histfile_op *h, const struct histfile_key *k, uint64_t zero,
                     FILE *out)
{
    bool marked = h->line == k->first.line || h->line == k->second.line;
    fprintf(out, "  %c client %-5" PRIu32 " seq %-8" PRIu64 " %-7s %-14s -> %-14.60s %-7s %14.3f",
            marked ? '>' : ' ', h->op.client, h->op.sequence, histfile_kind_name(h->op.kind),
            h->arg != NULL ? h->arg : "", h->ret != NULL ? h->ret : "(nil)",
            histfile_status_name(h->op.status), ((double)h->op.call - (double)zero) / 1000.0);
    if (h->op.ret_at == HIST_NEVER) {
        fprintf(out, " .. ? us\n");
    } else {
        fprintf(out, " .. %.3f us\n", ((double)h->op.ret_at - (double)zero) / 1000.0);
    }
}

void histfile_around(const struct histfile *f, const struct histfile_key *k, FILE *out)
{
    struct histfile_op **near = mem_alloc((f->count + 1) * sizeof(void *));
    const struct hist_op *a = &k->first.op;
    const struct hist_op *b = &k->second.op;
    uint64_t from = a->call < b->call ? a->call : b->call;
    uint64_t to = a->call < b->call ? b->call : a->call;
    from = from > AROUND_NS ? from - AROUND_NS : 0;
    size_t n = 0;
    for (size_t i = 0; i < f->count; i++) {
        struct histfile_op *h = &f->ops[i];
        if (h->key == k->key && h->op.ret_at >= from && h->op.call <= to + AROUND_NS) {
            near[n++] = h;
        }
    }
    qsort(near, n, sizeof(void *), by_key_then_call);
    size_t first = 0;
    for (size_t i = 0; i < n; i++) { /* so many that the marked ones are in the middle */
        if (near[i]->line == k->first.line) {
            first = i > AROUND_MOST / 2 ? i - AROUND_MOST / 2 : 0;
        }
    }
    for (size_t i = first; i < n && i < first + AROUND_MOST; i++) {
        print_op(near[i], k, a->call, out);
    }
    mem_free(near);
}
