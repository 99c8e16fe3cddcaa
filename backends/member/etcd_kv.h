#ifndef BACKENDS_MEMBER_ETCD_KV_H
#define BACKENDS_MEMBER_ETCD_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/loop.h"
#include "common/span.h"

/* The few requests that a membership service needs of etcd (3.4 or newer), over its JSON gateway
 * (/v3/kv/range, /v3/kv/txn): libevent's HTTP client and json-c.
 *
 * One request is under way at a time per client; endpoints are tried in turn, one per request, the
 * next one after a failure. A client belongs to one loop and thread; callbacks come from the loop,
 * never inside a call of this interface, and may start the next request. */
struct etcd;

struct etcd_endpoint {
    const char *host; /* looked up, if it is a name, when it is dialled: that blocks the loop */
    uint16_t port;
};

#define ETCD_KVS_MAX 300u
#define ETCD_KEY_MAX 160u /* bytes of a key, with the terminator */

struct etcd_kv {
    char key[ETCD_KEY_MAX];
    uint64_t mod_revision;
    struct span value; /* borrowed for the callback */
};

/* What came back. e: OK; ERR_IO, ERR_TIMEOUT: no answer, and a transaction may or may not have been
 * done; ERR_PROTO: the answer was not understood, the same holds. why: a sentence if e is not OK.
 */
struct etcd_answer {
    enum err e;
    const char *why;
    bool succeeded; /* transaction: all comparisons held, the writes are done */
    size_t count;   /* of a range, or of the ranges of a transaction that did not succeed */
    struct etcd_kv *kvs;
};
typedef void (*etcd_fn)(void *arg, const struct etcd_answer *answer);

/* endpoints: read during the call. timeout_ms: of one request. */
struct etcd *etcd_new(struct loop *l, const struct etcd_endpoint *endpoints, unsigned count,
                      unsigned timeout_ms);
void etcd_free(struct etcd *e); /* without callbacks; NULL allowed */

/* Everything under `key`, or with it as a prefix. local: an answer of that endpoint's own copy is
 * enough, it may be old (never base a decision on it alone). ERR_BUSY: a request is under way. */
enum err etcd_range(struct etcd *e, const char *key, bool prefix, bool local, etcd_fn fn,
                    void *arg) must_use;

#define ETCD_COMPARE_MAX 4u
#define ETCD_WRITES_MAX 4u
struct etcd_txn {
    size_t compares, writes;
    struct {
        const char *key;
        uint64_t mod_revision; /* equal; 0: the key does not exist */
    } compare[ETCD_COMPARE_MAX];
    struct {
        const char *key;
        struct span value; /* p NULL: delete the key */
    } write[ETCD_WRITES_MAX];
    const char *otherwise; /* range of this key if a comparison does not hold; NULL: none */
};
/* Compare and write, atomically. ERR_BUSY: a request is under way. */
enum err etcd_txn(struct etcd *e, const struct etcd_txn *txn, etcd_fn fn, void *arg) must_use;

bool etcd_busy(const struct etcd *e);
/* The endpoint of the next request, for words to people: "127.0.0.1:2379". */
const char *etcd_where(const struct etcd *e);

#endif
