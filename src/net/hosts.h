/*
 * hosts.h - /etc/hosts.
 * THREAD the loop of the resolver. Reading is small file I/O, done when the file changed.
 * OWNS   its table.
 * ERRORS none: a file that cannot be read is an empty one.
 */
#pragma once
#include "pp/net/resolver.h"

struct hosts;
struct hosts *hosts_new(const char *path);
void hosts_free(struct hosts *h);
/* Reads the file, at first and when it has changed; looks at most every few seconds. */
void hosts_refresh(struct hosts *h, int64_t now_ms);
/* Appends the addresses of a name; AF_UNSPEC: IPv6 first. "localhost" is always known. */
size_t hosts_find(
    const struct hosts *h, struct str name, int family, struct resolver_address *to, size_t room);
/* The first name of an address, or NULL. */
const char *hosts_name(const struct hosts *h, const struct sockaddr *sa);
