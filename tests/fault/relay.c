/* relay: stands on every TCP connection that the processes of one network namespace open to others,
 * and does to their bytes what networks do: hold, delay, reset. It also goes on for a sender that
 * is dead: what it holds arrives later.
 *
 *   relay PORT MARK
 *
 * The namespace's filter redirects connections to PORT here (tests/fault/net.py); where they were
 * meant to go is asked of the kernel. The relay's own connections carry MARK, so that they are not
 * redirected again.
 *
 * Commands, one per line on the standard input; each is answered by a line. IP: the other host, or
 * `any`. WAY: `out`, from this namespace to it; `in`, back.
 *
 *   hold WAY IP       bytes of this way wait here          pass WAY IP      no longer, nor is there
 * a delay delay WAY IP MS   bytes of this way take MS longer     reset IP         resets the
 * connections held              answers how many bytes wait here
 *
 * The end of a connection, a reset too, is passed on after the bytes that are still under way.
 * It ends with its standard input. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"

#define PAIRS_MAX 128u
#define RULES_MAX 64u
#define CHUNK_BYTES 65536u
#define QUEUE_MAX ((size_t)64 << 20) /* of one way; beyond it nothing more is read */
#define MS_NS UINT64_C(1000000)

enum { OUT, IN };

struct chunk {
    struct chunk *next;
    uint64_t due_ns;
    size_t len, at;
    char bytes[];
};

/* One direction of a pair: from fd[w] to fd[!w]. */
struct way {
    struct chunk *head, *tail;
    size_t queued;
    bool ended, reset, shut; /* the sender said so; it did it by a reset; the receiver was told */
};

struct pair {
    int fd[2]; /* of the local process, of the other host; -1: none */
    struct way way[2];
    in_addr_t other;
    bool connecting;
};

struct rule {
    in_addr_t ip; /* INADDR_ANY: all */
    int way;
    bool hold;
    uint64_t delay_ns;
};

static struct pair pairs[PAIRS_MAX];
static struct rule rules[RULES_MAX];
static size_t rule_count;

static void die(const char *what)
{
    fprintf(stderr, "relay: %s: %m\n", what);
    _exit(1);
}

/* ---- rules ---- */

static const struct rule *rule_of(const struct pair *p, int way)
{
    static const struct rule none;
    const struct rule *found = &none;
    for (size_t i = 0; i < rule_count; i++) {
        if (rules[i].way == way && (rules[i].ip == p->other || rules[i].ip == INADDR_ANY)) {
            found = &rules[i];
        }
    }
    return found;
}

static bool set_rule(struct rule r)
{
    size_t kept = 0;
    for (size_t i = 0; i < rule_count; i++) {
        if (rules[i].way != r.way || (rules[i].ip != r.ip && r.ip != INADDR_ANY)) {
            rules[kept++] = rules[i];
        }
    }
    rule_count = kept;
    if (r.hold || r.delay_ns != 0) {
        if (rule_count == RULES_MAX) {
            return false;
        }
        rules[rule_count++] = r;
    }
    return true;
}

/* ---- pairs ---- */

static void drop(struct way *w)
{
    while (w->head != NULL) {
        struct chunk *c = w->head;
        w->head = c->next;
        mem_free(c);
    }
    *w = (struct way){0};
}

static void close_fd(int *fd, bool reset)
{
    if (*fd >= 0) {
        const struct linger l = {.l_onoff = 1};
        if (reset) {
            (void)setsockopt(*fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
        }
        close(*fd);
        *fd = -1;
    }
}

static void end_pair(struct pair *p, bool reset)
{
    for (int w = 0; w < 2; w++) {
        close_fd(&p->fd[w], reset);
        drop(&p->way[w]);
    }
}

static void tune(int fd)
{
    const int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void take_connection(int listener, int mark)
{
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) {
        return;
    }
    struct sockaddr_in to;
    socklen_t len = sizeof to;
    int on = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct pair *p = pairs;
    while (p < pairs + PAIRS_MAX && (p->fd[0] >= 0 || p->fd[1] >= 0)) {
        p++;
    }
    if (on < 0 || p == pairs + PAIRS_MAX ||
        getsockopt(fd, SOL_IP, SO_ORIGINAL_DST, &to, &len) != 0 ||
        setsockopt(on, SOL_SOCKET, SO_MARK, &mark, sizeof mark) != 0) {
        fprintf(stderr, "relay: a connection cannot be taken: %m\n");
        close_fd(&fd, true);
        close_fd(&on, true);
        return;
    }
    tune(fd);
    tune(on);
    *p = (struct pair){.fd = {fd, on}, .other = to.sin_addr.s_addr, .connecting = true};
    if (connect(on, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) {
        end_pair(p, true);
    }
}

/* ---- bytes ---- */

static void read_way(struct pair *p, int w, uint64_t now)
{
    struct way *way = &p->way[w];
    struct chunk *c = mem_alloc(sizeof *c + CHUNK_BYTES);
    ssize_t n = recv(p->fd[w], c->bytes, CHUNK_BYTES, 0);
    if (n <= 0) {
        mem_free(c);
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            way->ended = true;
            way->reset = n < 0;
        }
        return;
    }
    c->next = NULL;
    c->len = (size_t)n;
    c->at = 0;
    c->due_ns = now + rule_of(p, w)->delay_ns;
    if (way->head == NULL) {
        way->head = c;
    } else {
        way->tail->next = c;
    }
    way->tail = c;
    way->queued += c->len;
}

static bool may_write(const struct pair *p, int w, uint64_t now)
{
    const struct chunk *c = p->way[w].head;
    return c != NULL && c->due_ns <= now && !rule_of(p, w)->hold && !p->connecting;
}

/* False: the receiver is gone. */
static bool write_way(struct pair *p, int w, uint64_t now)
{
    struct way *way = &p->way[w];
    while (may_write(p, w, now)) {
        struct chunk *c = way->head;
        ssize_t n = send(p->fd[!w], c->bytes + c->at, c->len - c->at, MSG_NOSIGNAL);
        if (n < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        c->at += (size_t)n;
        way->queued -= (size_t)n;
        if (c->at == c->len) {
            way->head = c->next;
            mem_free(c);
        }
    }
    return true;
}

static void finish_connect(struct pair *p)
{
    int failed = 0;
    socklen_t len = sizeof failed;
    if (getsockopt(p->fd[1], SOL_SOCKET, SO_ERROR, &failed, &len) != 0 || failed != 0) {
        end_pair(p, true);
        return;
    }
    p->connecting = false;
}

static bool idle(const struct pair *p, int w)
{
    return p->way[w].head == NULL && !(rule_of(p, w)->hold && !p->way[w].shut);
}

/* The receiver of way w is gone. What it sent before, if it waits here, still arrives. */
static void lose_receiver(struct pair *p, int w)
{
    drop(&p->way[w]);
    p->way[w] = (struct way){.ended = true, .shut = true};
    if (idle(p, !w)) {
        end_pair(p, true);
    }
}

/* What has ended is told to the other side, once nothing of it is under way any more. */
static void end_ways(struct pair *p)
{
    for (int w = 0; w < 2; w++) {
        struct way *way = &p->way[w];
        if (!way->ended || way->shut || way->head != NULL || rule_of(p, w)->hold) {
            continue;
        }
        if (way->reset && p->way[!w].head == NULL) {
            end_pair(p, true);
            return;
        }
        if (!way->reset) {
            (void)shutdown(p->fd[!w], SHUT_WR);
            way->shut = true;
        }
    }
    if (p->way[0].shut && p->way[1].shut) {
        end_pair(p, false);
    }
}

/* ---- commands ---- */

static size_t held(void)
{
    size_t n = 0;
    for (size_t i = 0; i < PAIRS_MAX; i++) {
        n += pairs[i].way[OUT].queued + pairs[i].way[IN].queued;
    }
    return n;
}

static bool obey(char *line)
{
    char *rest = NULL;
    const char *words[4] = {0};
    size_t n = 0;
    for (char *w = strtok_r(line, " ", &rest); w != NULL && n < 4; w = strtok_r(NULL, " ", &rest)) {
        words[n++] = w;
    }
    if (n == 1 && strcmp(words[0], "held") == 0) {
        printf("%zu\n", held());
        return true;
    }
    struct in_addr ip = {.s_addr = INADDR_ANY};
    const char *ip_word = n >= 2 ? words[n == 2 ? 1 : 2] : NULL;
    if (ip_word == NULL || (strcmp(ip_word, "any") != 0 && inet_aton(ip_word, &ip) == 0)) {
        return false;
    }
    if (n == 2) {
        for (size_t i = 0; i < PAIRS_MAX; i++) {
            if (ip.s_addr == INADDR_ANY || pairs[i].other == ip.s_addr) {
                end_pair(&pairs[i], true);
            }
        }
        printf("ok\n");
        return strcmp(words[0], "reset") == 0;
    }
    struct rule r = {.ip = ip.s_addr, .way = strcmp(words[1], "in") == 0 ? IN : OUT};
    r.hold = strcmp(words[0], "hold") == 0;
    if (n == 4 && strcmp(words[0], "delay") == 0) {
        r.delay_ns = strtoull(words[3], NULL, 10) * MS_NS;
    } else if (!r.hold && strcmp(words[0], "pass") != 0) {
        return false;
    }
    if (!set_rule(r)) {
        return false;
    }
    printf("ok\n");
    return true;
}

/* False: the driver is gone. */
static bool take_commands(void)
{
    static char line[256];
    static size_t used;
    ssize_t n = read(STDIN_FILENO, line + used, sizeof line - 1 - used);
    if (n <= 0) {
        return n < 0 && errno == EINTR;
    }
    used += (size_t)n;
    char *end = NULL;
    while ((end = memchr(line, '\n', used)) != NULL) {
        *end = '\0';
        if (!obey(line)) {
            printf("bad command\n");
        }
        used -= (size_t)(end + 1 - line);
        memmove(line, end + 1, used);
    }
    fflush(stdout);
    return used < sizeof line - 1;
}

/* ---- the loop ---- */

static int wait_ms(uint64_t now)
{
    uint64_t next = now + 1000 * MS_NS;
    for (size_t i = 0; i < PAIRS_MAX; i++) {
        for (int w = 0; w < 2; w++) {
            const struct chunk *c = pairs[i].way[w].head;
            if (c != NULL && c->due_ns > now && c->due_ns < next) {
                next = c->due_ns;
            }
        }
    }
    return (int)((next - now + MS_NS - 1) / MS_NS);
}

static short interest(const struct pair *p, int side, uint64_t now)
{
    if (p->fd[side] < 0) {
        return 0;
    }
    bool out = may_write(p, !side, now) || (p->connecting && side == 1);
    bool in =
        !p->way[side].ended && p->way[side].queued < QUEUE_MAX && !(p->connecting && side == 1);
    return (short)((out ? POLLOUT : 0) | (in ? POLLIN : 0));
}

static void serve(struct pair *p, const short *events, uint64_t now)
{
    if (p->connecting && events[1] != 0) {
        finish_connect(p);
    }
    for (int side = 0; side < 2; side++) {
        if (p->fd[side] >= 0 && (events[side] & (POLLIN | POLLERR | POLLHUP)) != 0 &&
            !p->way[side].ended && !p->connecting) {
            read_way(p, side, now);
        }
    }
    for (int w = 0; w < 2; w++) {
        if (p->fd[0] >= 0 && p->fd[1] >= 0 && !write_way(p, w, now)) {
            lose_receiver(p, w);
        }
    }
    if (p->fd[0] >= 0) {
        end_ways(p);
    }
}

static int listen_on(const char *port)
{
    const int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 64) != 0) {
        die("cannot listen");
    }
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: relay PORT MARK\n");
        return 2;
    }
    int listener = listen_on(argv[1]);
    int mark = (int)strtol(argv[2], NULL, 10);
    for (size_t i = 0; i < PAIRS_MAX; i++) {
        pairs[i].fd[0] = pairs[i].fd[1] = -1;
    }
    printf("ready\n");
    fflush(stdout);
    static struct pollfd fds[2 + 2 * PAIRS_MAX];
    for (;;) {
        uint64_t now = clk_mono_ns();
        fds[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
        fds[1] = (struct pollfd){.fd = listener, .events = POLLIN};
        for (size_t i = 0; i < 2 * PAIRS_MAX; i++) {
            short want = interest(&pairs[i / 2], (int)(i % 2), now);
            fds[2 + i] =
                (struct pollfd){.fd = want != 0 ? pairs[i / 2].fd[i % 2] : -1, .events = want};
        }
        if (poll(fds, 2 + 2 * PAIRS_MAX, wait_ms(now)) < 0 && errno != EINTR) {
            die("poll");
        }
        if ((fds[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !take_commands()) {
            return 0;
        }
        now = clk_mono_ns();
        for (size_t i = 0; i < PAIRS_MAX; i++) {
            const short events[2] = {fds[2 + 2 * i].revents, fds[3 + 2 * i].revents};
            if (pairs[i].fd[0] >= 0 && pairs[i].fd[1] >= 0) {
                serve(&pairs[i], events, now);
            }
        }
        if ((fds[1].revents & POLLIN) != 0) {
            take_connection(listener, mark);
        }
    }
}
