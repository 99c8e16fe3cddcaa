#ifndef PROXY_HOTKEYS_SESSION_H
#define PROXY_HOTKEYS_SESSION_H

#include "proxy/proxy.h"

/* HOTKEYS START, STOP, and GET and RESET of what they made (proxy/profile.h). */
struct hotkeys_asked {
    struct client *c;
    const struct admitted *a;
    const struct span *argv;
    int argc;
    struct resp_out *out;
    uint64_t token;
};

/* Is there a session, running or stopped? */
bool hotkeys_session_is(const struct proxy_worker *pw);
enum session_result hotkeys_start(const struct hotkeys_asked *q);
enum session_result hotkeys_stop(const struct hotkeys_asked *q);
/* Only when there is a session. */
enum session_result hotkeys_session_get(const struct hotkeys_asked *q);
enum session_result hotkeys_session_reset(const struct hotkeys_asked *q);

#endif
