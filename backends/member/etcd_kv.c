/* etcd's JSON gateway: bytes are base64, 64-bit numbers are strings, fields that are 0 or empty are
 * left out. */
#include "backends/member/etcd_kv.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <json-c/json.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/mem.h"
#include "common/must.h"
#include "common/num.h"

#define ENDPOINTS_MAX 8u
#define BODY_MAX ((ev_ssize_t)4 << 20)

struct endpoint {
    char host[256], where[272];
    uint16_t port;
    struct evhttp_connection *conn; /* NULL: not dialled, or broken */
};

struct etcd {
    struct event_base *base;
    struct endpoint ep[ENDPOINTS_MAX];
    unsigned count, now;
    struct timeval timeout;
    struct evhttp_request *req; /* under way */
    etcd_fn fn;
    void *arg;
    struct buf values; /* decoded, of the answer at hand */
    struct etcd_kv kvs[ETCD_KVS_MAX];
};

struct etcd *etcd_new(struct loop *l, const struct etcd_endpoint *endpoints, unsigned count,
                      unsigned timeout_ms)
{
    must(count >= 1 && count <= ENDPOINTS_MAX);
    struct etcd *e = mem_zalloc(sizeof *e);
    e->base = loop_event_base(l);
    e->count = count;
    e->timeout = (struct timeval){.tv_sec = (time_t)(timeout_ms / 1000u),
                                  .tv_usec = (suseconds_t)(timeout_ms % 1000u) * 1000};
    for (unsigned i = 0; i < count; i++) {
        struct endpoint *ep = &e->ep[i];
        ep->port = endpoints[i].port;
        snprintf(ep->host, sizeof ep->host, "%s", endpoints[i].host);
        snprintf(ep->where, sizeof ep->where, "%s:%u", endpoints[i].host, ep->port);
    }
    return e;
}

void etcd_free(struct etcd *e)
{
    if (e == NULL) {
        return;
    }
    if (e->req != NULL) {
        evhttp_cancel_request(e->req); /* no callback */
    }
    for (unsigned i = 0; i < e->count; i++) {
        if (e->ep[i].conn != NULL) {
            evhttp_connection_free(e->ep[i].conn);
        }
    }
    buf_free(&e->values);
    mem_free(e);
}

bool etcd_busy(const struct etcd *e)
{
    return e->req != NULL;
}

const char *etcd_where(const struct etcd *e)
{
    return e->ep[e->now].where;
}

/* ---- JSON ---- */

static struct json_object *base64(struct span bytes)
{
    size_t room = 4 * ((bytes.len + 2) / 3) + 1;
    char *text = mem_alloc(room);
    int n = EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)bytes.p, (int)bytes.len);
    struct json_object *o = json_object_new_string_len(text, n);
    mem_free(text);
    return o;
}

static struct json_object *base64_str(const char *s)
{
    return base64(span_of(s, strlen(s)));
}

/* Appends the bytes of a base64 text; false: it is none. */
static bool unbase64(const char *text, struct buf *out)
{
    size_t len = strlen(text);
    if (len % 4 != 0) {
        return false;
    }
    if (len == 0) {
        return true;
    }
    unsigned char *to = (unsigned char *)buf_reserve(out, len / 4 * 3);
    int n = EVP_DecodeBlock(to, (const unsigned char *)text, (int)len);
    size_t pad = text[len - 2] == '=' ? 2 : text[len - 1] == '=' ? 1 : 0;
    if (n < 0 || (size_t)n < pad) {
        return false;
    }
    buf_commit(out, (size_t)n - pad);
    return true;
}

/* A string member; "" if it is missing. */
static const char *text_of(struct json_object *o, const char *name)
{
    struct json_object *v = NULL;
    return json_object_object_get_ex(o, name, &v) && json_object_is_type(v, json_type_string)
               ? json_object_get_string(v)
               : "";
}

static bool number_of(struct json_object *o, const char *name, uint64_t *out)
{
    const char *text = text_of(o, name);
    int64_t v = 0;
    bool ok = *text == '\0' || (num_parse_i64(span_of(text, strlen(text)), &v) && v >= 0);
    *out = (uint64_t)v;
    return ok;
}

static struct json_object *range_body(const char *key, bool prefix, bool local)
{
    struct json_object *o = json_object_new_object();
    json_object_object_add(o, "key", base64_str(key));
    if (prefix) { /* up to the key with its last byte one larger */
        size_t len = strlen(key);
        char end[ETCD_KEY_MAX];
        must(len != 0 && len < sizeof end);
        memcpy(end, key, len);
        end[len - 1]++;
        json_object_object_add(o, "range_end", base64(span_of(end, len)));
    }
    if (local) {
        json_object_object_add(o, "serializable", json_object_new_boolean(true));
    }
    return o;
}

static struct json_object *wrapped(const char *name, struct json_object *inner)
{
    struct json_object *o = json_object_new_object();
    json_object_object_add(o, name, inner);
    return o;
}

static struct json_object *txn_body(const struct etcd_txn *t)
{
    struct json_object *compare = json_object_new_array();
    for (size_t i = 0; i < t->compares; i++) {
        char number[NUM_I64_MAX];
        size_t n = num_fmt_u64(number, t->compare[i].mod_revision);
        struct json_object *c = json_object_new_object();
        json_object_object_add(c, "key", base64_str(t->compare[i].key));
        json_object_object_add(c, "target", json_object_new_string("MOD"));
        json_object_object_add(c, "result", json_object_new_string("EQUAL"));
        json_object_object_add(c, "mod_revision", json_object_new_string_len(number, (int)n));
        json_object_array_add(compare, c);
    }
    struct json_object *success = json_object_new_array();
    for (size_t i = 0; i < t->writes; i++) {
        struct json_object *w = json_object_new_object();
        json_object_object_add(w, "key", base64_str(t->write[i].key));
        if (t->write[i].value.p != NULL) {
            json_object_object_add(w, "value", base64(t->write[i].value));
        }
        json_object_array_add(
            success, wrapped(t->write[i].value.p != NULL ? "requestPut" : "requestDeleteRange", w));
    }
    struct json_object *o = json_object_new_object();
    json_object_object_add(o, "compare", compare);
    json_object_object_add(o, "success", success);
    if (t->otherwise != NULL) {
        struct json_object *failure = json_object_new_array();
        json_object_array_add(failure,
                              wrapped("requestRange", range_body(t->otherwise, false, false)));
        json_object_object_add(o, "failure", failure);
    }
    return o;
}

/* ---- answers ---- */

/* Adds the pairs of a range's answer. The spans of values hold offsets until all are there. */
static bool take_kvs(struct etcd *e, struct json_object *range, struct etcd_answer *a)
{
    struct json_object *kvs = NULL;
    if (!json_object_object_get_ex(range, "kvs", &kvs)) {
        return true;
    }
    if (!json_object_is_type(kvs, json_type_array)) {
        return false;
    }
    for (size_t i = 0; i < json_object_array_length(kvs); i++) {
        struct json_object *o = json_object_array_get_idx(kvs, i);
        struct buf key = {0};
        if (a->count == ETCD_KVS_MAX) {
            return false;
        }
        struct etcd_kv *kv = &e->kvs[a->count++];
        bool ok = unbase64(text_of(o, "key"), &key) && buf_used(&key) < sizeof kv->key &&
                  number_of(o, "mod_revision", &kv->mod_revision);
        if (ok) {
            memset(kv->key, 0, sizeof kv->key);
            memcpy(kv->key, buf_head(&key), buf_used(&key));
        }
        buf_free(&key);
        size_t at = buf_used(&e->values);
        if (!ok || !unbase64(text_of(o, "value"), &e->values)) {
            return false;
        }
        kv->value = span_of(NULL, buf_used(&e->values) - at);
    }
    return true;
}

static bool take_answer(struct etcd *e, struct json_object *o, struct etcd_answer *a)
{
    struct json_object *v = NULL;
    struct json_object *header = NULL;
    if (!json_object_object_get_ex(o, "header", &header)) {
        return false; /* every answer has one */
    }
    a->succeeded = json_object_object_get_ex(o, "succeeded", &v) && json_object_get_boolean(v) != 0;
    bool ok = take_kvs(e, o, a);
    struct json_object *responses = NULL;
    if (ok && json_object_object_get_ex(o, "responses", &responses)) {
        for (size_t i = 0; ok && i < json_object_array_length(responses); i++) {
            struct json_object *range = NULL;
            if (json_object_object_get_ex(json_object_array_get_idx(responses, i), "response_range",
                                          &range)) {
                ok = take_kvs(e, range, a);
            }
        }
    }
    const char *p = buf_head(&e->values);
    for (size_t i = 0; i < a->count; i++) {
        e->kvs[i].value.p = p;
        p += e->kvs[i].value.len;
    }
    a->kvs = e->kvs;
    return ok;
}

static struct json_object *parse_body(struct evhttp_request *req)
{
    struct evbuffer *body = evhttp_request_get_input_buffer(req);
    size_t len = evbuffer_get_length(body);
    struct json_tokener *t = json_tokener_new();
    must(t != NULL);
    const char *bytes = (const char *)evbuffer_pullup(body, -1);
    struct json_object *o = bytes != NULL ? json_tokener_parse_ex(t, bytes, (int)len) : NULL;
    json_tokener_free(t);
    return o;
}

static void on_answer(struct evhttp_request *req, void *arg)
{
    struct etcd *e = arg;
    struct etcd_answer a = {.e = OK};
    struct json_object *o = NULL;
    e->req = NULL;
    buf_consume(&e->values, buf_used(&e->values));
    int code = req != NULL ? evhttp_request_get_response_code(req) : 0;
    if (code == 0) {
        a.e = ERR_IO;
        a.why = "no answer";
    } else if (code != HTTP_OK) {
        a.e = ERR_IO;
        a.why = code == HTTP_SERVUNAVAIL || code >= 500 ? "it has no leader, or not enough members"
                                                        : "it refused the request";
    } else {
        o = parse_body(req);
        if (o == NULL || !take_answer(e, o, &a)) {
            a = (struct etcd_answer){.e = ERR_PROTO, .why = "its answer is not understood"};
        }
    }
    if (a.e != OK) {
        e->now = (e->now + 1) % e->count;
    }
    e->fn(e->arg, &a);
    json_object_put(o);
}

/* ---- requests ---- */

static enum err post(struct etcd *e, const char *path, struct json_object *body, etcd_fn fn,
                     void *arg)
{
    struct endpoint *ep = &e->ep[e->now];
    if (ep->conn == NULL) {
        ep->conn = evhttp_connection_base_new(e->base, NULL, ep->host, ep->port);
        must(ep->conn != NULL);
        evhttp_connection_set_timeout_tv(ep->conn, &e->timeout);
        evhttp_connection_set_max_body_size(ep->conn, BODY_MAX);
    }
    struct evhttp_request *req = evhttp_request_new(on_answer, e);
    must(req != NULL);
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
    (void)evhttp_add_header(headers, "Host", ep->where);
    (void)evhttp_add_header(headers, "Content-Type", "application/json");
    size_t len = 0;
    const char *text = json_object_to_json_string_length(body, JSON_C_TO_STRING_PLAIN, &len);
    (void)evbuffer_add(evhttp_request_get_output_buffer(req), text, len);
    json_object_put(body);
    e->fn = fn;
    e->arg = arg;
    e->req = req;
    if (evhttp_make_request(ep->conn, req, EVHTTP_REQ_POST, path) != 0) {
        e->req = NULL; /* it was freed */
        e->now = (e->now + 1) % e->count;
        return ERR_IO;
    }
    return OK;
}

enum err etcd_range(struct etcd *e, const char *key, bool prefix, bool local, etcd_fn fn, void *arg)
{
    return e->req != NULL ? ERR_BUSY
                          : post(e, "/v3/kv/range", range_body(key, prefix, local), fn, arg);
}

enum err etcd_txn(struct etcd *e, const struct etcd_txn *t, etcd_fn fn, void *arg)
{
    must(t->compares <= ETCD_COMPARE_MAX && t->writes <= ETCD_WRITES_MAX);
    return e->req != NULL ? ERR_BUSY : post(e, "/v3/kv/txn", txn_body(t), fn, arg);
}
