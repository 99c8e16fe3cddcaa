/* record: concurrent clients that write down what they asked, what they were told, and when
 * (docs/histories.md). One thread and one connection per client; connections are spread over the
 * ports.
 *
 *   --ports P,P,...   proxies (or node workers); P: a port of 127.0.0.1, or IPV4:PORT
 *   --clients N       at once (8)             --keys K         contended keys (5)
 *   --seconds S       how long (10); SIGTERM ends it earlier, with a complete file
 *   --pipeline N      up to this many commands per write (3)
 *   --pause-us N      mean pause between a client's batches (200)
 *   --timeout-ms N    without a reply for this long: the outcome is unknown (2000)
 *   --seed N          of the commands (1)     --out FILE       JSON lines (stdout)
 *   --first-client N  number of the first client (0), when several recorders make one history
 *   --prefix TEXT     of the keys' names ("h:")
 *   --nodes 1         some ports are those of nodes, which refuse plain writes of hot keys: -HOT is
 * a refusal then, and nothing that a proxy may say otherwise
 *   --hot N           so many of the keys, the first ones, get --hot-share percent of the commands
 *                     besides their equal part (0; 80)
 *   --expire PERCENT  so many of the DELs are asked for as EXPIRE key -1, which is the same (0)
 *
 * The keys are of four kinds in turn: registers (GET, SET: the zone check judges them too), mixes
 * (SETNX, GETSET, DEL too), counters (INCR, DEL, SET) and logs (APPEND, DEL, SET). On the standard
 * error: one line of figures as JSON. */
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/mem.h"

#define PORTS_MAX 64u
#define CLIENTS_MAX 256u
#define PIPELINE_MAX 64u
#define FLUSH_BYTES 65536u
#define TEXT_MAX 40u
#define HOST_MAX 16u

struct target {
    char host[HOST_MAX];
    uint16_t port;
};

struct options {
    struct target targets[PORTS_MAX];
    uint64_t port_count, clients, keys, seconds, pipeline, pause_us, timeout_ms, seed, first_client;
    uint64_t hot, hot_share, expire, nodes;
    const char *out, *prefix;
};

enum outcome { OUT_OK, OUT_FAIL, OUT_UNKNOWN };

struct shared {
    struct options with;
    FILE *out;
    pthread_mutex_t lock; /* of out and the figures */
    atomic_uint next_client;
    uint64_t end_ns;
    uint64_t count[3], dropped_reads, other_errors, lost_connections;
    char first_error[128];
};

struct command {
    const char *name;
    char key[TEXT_MAX + 24];
    char arg[TEXT_MAX]; /* empty: none */
    bool read;
    bool expire; /* a DEL, as EXPIRE key -1 */
    uint32_t seq;
};

struct client {
    struct shared *s;
    pthread_t thread;
    uint32_t number, seq;
    uint64_t rng;
    redisContext *c;
    size_t port; /* index */
    struct buf lines;
    uint64_t count[3], dropped_reads, other_errors, lost_connections;
    char first_error[128];
    struct command batch[PIPELINE_MAX];
};

static volatile sig_atomic_t stop;

static void on_signal(int signo)
{
    (void)signo;
    stop = 1;
}

/* ---- commands ---- */

static uint64_t roll(struct client *c, uint64_t n)
{
    c->rng ^= c->rng >> 12;
    c->rng ^= c->rng << 25;
    c->rng ^= c->rng >> 27;
    return (c->rng * UINT64_C(0x2545F4914F6CDD1D) >> 33) % n;
}

enum shape { TEXT, NUMBER, NONE };
struct choice {
    const char *name;
    unsigned share; /* of 100 */
    enum shape arg;
};
#define CHOICES 5
static const struct {
    const char *name;
    struct choice of[CHOICES];
} families[] = {
    {"reg", {{"GET", 60, NONE}, {"SET", 40, TEXT}}},
    {"mix",
     {{"GET", 45, NONE},
      {"SET", 20, TEXT},
      {"SETNX", 10, TEXT},
      {"GETSET", 10, TEXT},
      {"DEL", 15, NONE}}},
    {"cnt", {{"GET", 35, NONE}, {"INCR", 55, NONE}, {"DEL", 7, NONE}, {"SET", 3, NUMBER}}},
    {"app", {{"GET", 40, NONE}, {"APPEND", 42, TEXT}, {"DEL", 12, NONE}, {"SET", 6, TEXT}}},
};
#define FAMILIES (sizeof families / sizeof *families)

static void choose(struct client *c, struct command *cmd)
{
    const struct options *o = &c->s->with;
    bool hot = o->hot != 0 && roll(c, 100) < o->hot_share;
    uint64_t key = roll(c, hot && o->hot < o->keys ? o->hot : o->keys);
    const struct choice *ch = families[key % FAMILIES].of;
    uint64_t at = roll(c, 100);
    while (at >= ch->share) {
        at -= ch->share;
        ch++;
    }
    cmd->seq = c->seq++;
    cmd->name = ch->name;
    cmd->read = strcmp(ch->name, "GET") == 0;
    cmd->expire = strcmp(ch->name, "DEL") == 0 && roll(c, 100) < o->expire;
    snprintf(cmd->key, sizeof cmd->key, "%.40s%s%" PRIu64, c->s->with.prefix,
             families[key % FAMILIES].name, key);
    switch (ch->arg) {
    case NONE:
        cmd->arg[0] = '\0';
        break;
    case TEXT: /* all of one length, so that logs can be taken apart */
        snprintf(cmd->arg, sizeof cmd->arg, "%04" PRIx32 "%08" PRIx32, c->number & 0xFFFFu,
                 cmd->seq);
        break;
    case NUMBER:
        snprintf(cmd->arg, sizeof cmd->arg, "%" PRIu64,
                 ((uint64_t)c->number * 100000000u + cmd->seq) * 1000u);
        break;
    }
}

/* ---- lines ---- */

static void flush(struct client *c)
{
    pthread_mutex_lock(&c->s->lock);
    if (fwrite(buf_head(&c->lines), 1, buf_used(&c->lines), c->s->out) != buf_used(&c->lines)) {
        fprintf(stderr, "record: cannot write: %m\n");
        exit(1); /* NOLINT(concurrency-mt-unsafe): nothing is worth keeping */
    }
    pthread_mutex_unlock(&c->s->lock);
    buf_consume(&c->lines, buf_used(&c->lines));
}

static void add_string(struct buf *b, const char *p, size_t len)
{
    buf_add_str(b, "\"");
    for (size_t i = 0; i < len; i++) {
        unsigned char ch = (unsigned char)p[i];
        if (ch < 0x20 || ch > 0x7E || ch == '"' || ch == '\\') {
            buf_addf(b, "\\u%04x", ch);
        } else {
            buf_add(b, p + i, 1);
        }
    }
    buf_add_str(b, "\"");
}

static void add_reply(struct buf *b, const redisReply *r)
{
    if (r->type == REDIS_REPLY_INTEGER) {
        buf_addf(b, "%lld", r->integer);
    } else if (r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS) {
        add_string(b, r->str, r->len);
    } else {
        buf_add_str(b, "null");
    }
}

/* r NULL: none came. */
static void write_down(struct client *c, const struct command *cmd, enum outcome o,
                       const redisReply *r, const uint64_t times[2])
{
    static const char *const names[] = {"ok", "fail", "unknown"};
    if (o == OUT_UNKNOWN && cmd->read) {
        c->dropped_reads++;
        return;
    }
    c->count[o]++;
    struct buf *b = &c->lines;
    buf_addf(b, "{\"client\":%" PRIu32 ",\"seq\":%" PRIu32 ",\"op\":\"%s\",\"key\":", c->number,
             cmd->seq, cmd->name);
    add_string(b, cmd->key, strlen(cmd->key));
    if (cmd->arg[0] != '\0') {
        buf_add_str(b, ",\"arg\":");
        add_string(b, cmd->arg, strlen(cmd->arg));
    }
    if (o == OUT_OK) {
        buf_add_str(b, ",\"ret\":");
        add_reply(b, r);
    } else if (r != NULL && r->str != NULL) {
        buf_add_str(b, ",\"error\":");
        add_string(b, r->str, r->len);
    }
    buf_addf(b, ",\"status\":\"%s\",\"call\":%" PRIu64, names[o], times[0]);
    if (o != OUT_UNKNOWN) {
        buf_addf(b, ",\"return\":%" PRIu64, times[1]);
    }
    buf_add_str(b, "}\n");
    if (buf_used(b) > FLUSH_BYTES) {
        flush(c);
    }
}

/* ---- outcomes ---- */

/* Only what proves that nothing was done counts as failed. */
static enum outcome judge_error(struct client *c, const char *text)
{
    static const char *const harmless[] = {"TRYAGAIN ", "MOVED ",      "CLUSTERDOWN ", "LOADING ",
                                           "READONLY ", "MASTERDOWN ", "OOM ",         "NOAUTH "};
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
        if (strncmp(text, harmless[i], strlen(harmless[i])) == 0) {
            return OUT_FAIL;
        }
    }
    if (c->s->with.nodes != 0 && strncmp(text, "HOT ", 4) == 0) {
        return OUT_FAIL;
    }
    if (strncmp(text, "UNKNOWN ", 8) != 0) {
        if (c->other_errors++ == 0) {
            snprintf(c->first_error, sizeof c->first_error, "%s", text);
        }
    }
    return OUT_UNKNOWN;
}

/* A reply of a kind the command does not have is as good as none. */
static bool fits(const struct command *cmd, const redisReply *r)
{
    if (cmd->read || strcmp(cmd->name, "GETSET") == 0) {
        return r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_NIL;
    }
    return strcmp(cmd->name, "SET") == 0 ? r->type == REDIS_REPLY_STATUS
                                         : r->type == REDIS_REPLY_INTEGER;
}

static enum outcome judge(struct client *c, const struct command *cmd, const redisReply *r)
{
    if (r->type == REDIS_REPLY_ERROR) {
        return judge_error(c, r->str);
    }
    if (!fits(cmd, r)) {
        if (c->other_errors++ == 0) {
            snprintf(c->first_error, sizeof c->first_error, "reply of kind %d to %s", r->type,
                     cmd->name);
        }
        return OUT_UNKNOWN;
    }
    return OUT_OK;
}

/* ---- a client ---- */

static void rest(uint64_t us)
{
    struct timespec t = {(time_t)(us / 1000000u), (long)(us % 1000000u * 1000u)};
    nanosleep(&t, NULL);
}

static struct timeval span_of_ms(uint64_t ms)
{
    return (struct timeval){(time_t)(ms / 1000u), (suseconds_t)(ms % 1000u * 1000u)};
}

static void disconnect(struct client *c)
{
    if (c->c != NULL) {
        redisFree(c->c);
        c->c = NULL;
    }
}

static bool connected(struct client *c)
{
    if (c->c != NULL) {
        return true;
    }
    const struct options *o = &c->s->with;
    const struct target *t = &o->targets[c->port];
    c->c = redisConnectWithTimeout(t->host, t->port, span_of_ms(o->timeout_ms));
    if (c->c != NULL && c->c->err == 0 &&
        redisSetTimeout(c->c, span_of_ms(o->timeout_ms)) == REDIS_OK) {
        return true;
    }
    disconnect(c);
    c->port = (c->port + 1) % o->port_count;
    rest(20000);
    return false;
}

/* False: the connection is of no more use. */
static bool send_batch(struct client *c, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct command *cmd = &c->batch[i];
        const char *argv[] = {cmd->expire ? "EXPIRE" : cmd->name, cmd->key,
                              cmd->expire ? "-1" : cmd->arg};
        int argc = cmd->expire || cmd->arg[0] != '\0' ? 3 : 2;
        if (redisAppendCommandArgv(c->c, argc, argv, NULL) != REDIS_OK) {
            return false;
        }
    }
    int done = 0;
    while (done == 0) {
        if (redisBufferWrite(c->c, &done) != REDIS_OK) {
            return false;
        }
    }
    return true;
}

/* One write of some commands, and their replies. After an unknown outcome the client goes on under
 * a new number: its old one may still have something under way. */
static void run_batch(struct client *c)
{
    size_t n = 1 + (size_t)roll(c, c->s->with.pipeline);
    for (size_t i = 0; i < n; i++) {
        choose(c, &c->batch[i]);
    }
    uint64_t times[2] = {clk_mono_ns(), 0};
    bool alive = send_batch(c, n);
    bool spent = false;
    bool failed = false;
    for (size_t i = 0; i < n; i++) {
        void *reply = NULL;
        alive = alive && redisGetReply(c->c, &reply) == REDIS_OK;
        times[1] = clk_mono_ns();
        enum outcome o = reply != NULL ? judge(c, &c->batch[i], reply) : OUT_UNKNOWN;
        write_down(c, &c->batch[i], o, reply, times);
        spent = spent || o == OUT_UNKNOWN;
        failed = failed || o == OUT_FAIL;
        freeReplyObject(reply);
    }
    if (!alive) {
        c->lost_connections++;
        disconnect(c);
        c->port = (c->port + 1) % c->s->with.port_count;
    }
    if (spent) {
        c->number = atomic_fetch_add(&c->s->next_client, 1);
    }
    if (failed) {
        rest(1000);
    }
}

static void *client_main(void *arg)
{
    struct client *c = arg;
    while (stop == 0 && clk_mono_ns() < c->s->end_ns) {
        if (connected(c)) {
            run_batch(c);
            if (c->s->with.pause_us != 0) {
                rest(roll(c, 2 * c->s->with.pause_us + 1));
            }
        }
    }
    disconnect(c);
    flush(c);
    buf_free(&c->lines);
    struct shared *s = c->s;
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < 3; i++) {
        s->count[i] += c->count[i];
    }
    s->dropped_reads += c->dropped_reads;
    s->lost_connections += c->lost_connections;
    if (s->other_errors == 0 && c->other_errors != 0) {
        memcpy(s->first_error, c->first_error, sizeof s->first_error);
    }
    s->other_errors += c->other_errors;
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- options ---- */

/* [IPV4:]PORT, up to a comma or the end. NULL: it is none. */
static const char *take_target(struct target *t, const char *text)
{
    size_t n = strcspn(text, ",");
    const char *colon = memchr(text, ':', n);
    size_t host = colon != NULL ? (size_t)(colon - text) : 0;
    if (host >= sizeof t->host || (colon != NULL && host == 0)) {
        return NULL;
    }
    snprintf(t->host, sizeof t->host, "%.*s", (int)host, text);
    if (host == 0) {
        snprintf(t->host, sizeof t->host, "127.0.0.1");
    }
    const char *number = colon != NULL ? colon + 1 : text;
    char *end = NULL;
    unsigned long p = strtoul(number, &end, 10);
    if (end == number || end != text + n || p < 1 || p > 65535) {
        return NULL;
    }
    t->port = (uint16_t)p;
    return *end == ',' ? end + 1 : end;
}

static bool take_ports(struct options *o, const char *text)
{
    while (text != NULL && *text != '\0' && o->port_count < PORTS_MAX) {
        text = take_target(&o->targets[o->port_count++], text);
    }
    return text != NULL && *text == '\0' && o->port_count > 0;
}

static bool take_option(struct options *o, const char *name, const char *value)
{
    struct {
        const char *name;
        uint64_t *to;
        uint64_t min, max;
    } numbers[] = {{"--clients", &o->clients, 1, CLIENTS_MAX},
                   {"--keys", &o->keys, 1, 1000000},
                   {"--seconds", &o->seconds, 1, 86400},
                   {"--pipeline", &o->pipeline, 1, PIPELINE_MAX},
                   {"--pause-us", &o->pause_us, 0, 10000000},
                   {"--timeout-ms", &o->timeout_ms, 1, 600000},
                   {"--seed", &o->seed, 0, UINT64_MAX},
                   {"--first-client", &o->first_client, 0, 60000},
                   {"--hot", &o->hot, 0, 1000000},
                   {"--hot-share", &o->hot_share, 0, 100},
                   {"--nodes", &o->nodes, 0, 1},
                   {"--expire", &o->expire, 0, 100}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(name, numbers[i].name) == 0) {
            char *end = NULL;
            *numbers[i].to = strtoull(value, &end, 10);
            return *value != '\0' && *end == '\0' && *numbers[i].to >= numbers[i].min &&
                   *numbers[i].to <= numbers[i].max;
        }
    }
    if (strcmp(name, "--ports") == 0) {
        return take_ports(o, value);
    }
    if (strcmp(name, "--out") == 0) {
        o->out = value;
        return true;
    }
    if (strcmp(name, "--prefix") == 0) {
        o->prefix = value;
        return true;
    }
    return false;
}

static void print_figures(const struct shared *s)
{
    struct buf b = {0};
    buf_addf(&b,
             "{\"ok\":%" PRIu64 ",\"fail\":%" PRIu64 ",\"unknown\":%" PRIu64
             ",\"dropped_reads\":%" PRIu64 ",\"lost_connections\":%" PRIu64
             ",\"other_errors\":%" PRIu64 ",\"first_error\":",
             s->count[0], s->count[1], s->count[2], s->dropped_reads, s->lost_connections,
             s->other_errors);
    add_string(&b, s->first_error, strlen(s->first_error));
    fprintf(stderr, "%.*s}\n", (int)buf_used(&b), buf_head(&b));
    buf_free(&b);
}

int main(int argc, char **argv)
{
    static struct shared s = {.with = {.clients = 8,
                                       .keys = 5,
                                       .seconds = 10,
                                       .pipeline = 3,
                                       .pause_us = 200,
                                       .timeout_ms = 2000,
                                       .seed = 1,
                                       .hot_share = 80,
                                       .prefix = "h:"},
                              .lock = PTHREAD_MUTEX_INITIALIZER};
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc || !take_option(&s.with, argv[i], argv[i + 1])) {
            fprintf(stderr, "record: bad option or value: %s\n", argv[i]);
            return 2;
        }
    }
    if (s.with.port_count == 0) {
        fprintf(stderr, "record: --ports is needed\n");
        return 2;
    }
    s.out = s.with.out != NULL ? fopen(s.with.out, "w") : stdout;
    if (s.out == NULL) {
        fprintf(stderr, "record: %s: %m\n", s.with.out);
        return 2;
    }
    const struct sigaction act = {.sa_handler = on_signal};
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    signal(SIGPIPE, SIG_IGN);
    s.end_ns = clk_mono_ns() + s.with.seconds * UINT64_C(1000000000);
    atomic_init(&s.next_client, (unsigned)(s.with.first_client + s.with.clients));
    struct client *clients = mem_zalloc(s.with.clients * sizeof *clients);
    for (uint32_t i = 0; i < s.with.clients; i++) {
        clients[i] = (struct client){.s = &s,
                                     .number = (uint32_t)s.with.first_client + i,
                                     .rng = (s.with.seed + 1) * UINT64_C(0x9E3779B97F4A7C15) + i,
                                     .port = i % s.with.port_count};
        if (pthread_create(&clients[i].thread, NULL, client_main, &clients[i]) != 0) {
            fprintf(stderr, "record: cannot start a thread\n");
            return 1;
        }
    }
    for (uint32_t i = 0; i < s.with.clients; i++) {
        pthread_join(clients[i].thread, NULL);
    }
    mem_free(clients);
    print_figures(&s);
    return fclose(s.out) == 0 ? 0 : 1;
}
