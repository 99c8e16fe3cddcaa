#ifndef COMMON_CONN_NET_H
#define COMMON_CONN_NET_H

#include <stdbool.h>
#include <stddef.h>

/* Names of both ends of a connected socket as CLIENT LIST shows them: "127.0.0.1:51234",
 * "[::1]:6379", "/run/x.sock:0"; "?:0" if the socket is already gone. Returns whether it is a unix
 * socket. */
bool net_socket_names(int fd, char *peer, size_t peer_size, char *local, size_t local_size);

#endif
