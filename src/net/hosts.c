/*
 * hosts.c - /etc/hosts, as a list of (address, name) in the file's order.
 *
 * Read by ourselves because getaddrinfo blocks and looks elsewhere too. The list is searched from
 * the front: such files are short, and it is only asked where the configuration says so.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>
#include "address.h"
#include "hosts.h"
#include "pp/base/mem.h"
#include "pp/net/stream.h"

enum { FILE_MAX = 1 << 20, ENTRIES_MAX = 16384, LOOK_EVERY_MS = 1000 };

struct entry {
	struct resolver_address address;
	const char *name;
};

struct hosts {
	char *path;
	struct stat st;
	int64_t looked;
	struct arena arena;
	struct entry *entries;
	size_t n, cap;
};

static void
add_entry(struct hosts *h, struct str address, struct str name)
{
	struct entry *e;
	struct stream_peer text;
	struct sockaddr_storage sa;

	if (h->n == ENTRIES_MAX || name.n >= RESOLVER_NAME_MAX ||
	    net_address_parse(address, 0, &sa) < 0)
		return;
	if (h->n == h->cap) {
		h->cap = h->cap ? h->cap * 2 : 16;
		h->entries = mem_realloc(h->entries, h->cap * sizeof(*h->entries));
	}
	e = &h->entries[h->n++];
	*e = (struct entry){.name = arena_str(&h->arena, name)};
	e->address.sa = sa;
	net_address_describe((struct sockaddr *)&sa, &text);
	memcpy(e->address.text, text.address, sizeof(e->address.text));
}

static void
read_line(struct hosts *h, struct str line)
{
	struct str address, name;

	line = str_head(line, str_index(line, '#'));
	if (!str_token(&line, " \t\r", &address))
		return;
	while (str_token(&line, " \t\r", &name))
		add_entry(h, address, name);
}

static void
load(struct hosts *h)
{
	int fd = open(h->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct buf text;
	struct str rest, line;
	char *to;
	ssize_t n = 0;

	arena_fini(&h->arena);
	h->n = 0;
	h->st = (struct stat){0};
	if (fd < 0)
		return;
	buf_init(&text, FILE_MAX);
	if (fstat(fd, &h->st) == 0 && S_ISREG(h->st.st_mode))
		while ((to = buf_reserve(&text, 4095)) != NULL && (n = read(fd, to, 4095)) > 0)
			buf_commit(&text, (size_t)n);
	close(fd);
	rest = buf_str(&text);
	while (str_token(&rest, "\n", &line))
		read_line(h, line);
	buf_fini(&text);
}

struct hosts *
hosts_new(const char *path)
{
	struct hosts *h = MEM_NEW(struct hosts);

	h->path = mem_strdup(path);
	return h;
}

void
hosts_free(struct hosts *h)
{
	if (h == NULL)
		return;
	arena_fini(&h->arena);
	mem_free(h->entries);
	mem_free(h->path);
	mem_free(h);
}

void
hosts_refresh(struct hosts *h, int64_t now_ms)
{
	struct stat is = {0};

	if (h->looked && now_ms - h->looked < LOOK_EVERY_MS)
		return;
	h->looked = now_ms;
	if (stat(h->path, &is) < 0)
		is = (struct stat){0};
	if (is.st_ino != h->st.st_ino || is.st_size != h->st.st_size ||
	    is.st_mtim.tv_sec != h->st.st_mtim.tv_sec ||
	    is.st_mtim.tv_nsec != h->st.st_mtim.tv_nsec)
		load(h);
}

static size_t
find_family(
    const struct hosts *h, struct str name, int family, struct resolver_address *to, size_t room)
{
	size_t n = 0;

	for (size_t i = 0; i < h->n && n < room; i++)
		if (h->entries[i].address.sa.ss_family == family &&
		    str_caseeq(str_of(h->entries[i].name), name))
			to[n++] = h->entries[i].address;
	/* RFC 6761 6.3: no name server need know it. */
	if (n == 0 && room > 0 && str_caseeq(name, STR("localhost"))) {
		struct str loopback = family == AF_INET6 ? STR("::1") : STR("127.0.0.1");

		to[0] = (struct resolver_address){0};
		net_address_parse(loopback, 0, &to[0].sa);
		memcpy(to[0].text, loopback.p, loopback.n);
		n = 1;
	}
	return n;
}

size_t
hosts_find(
    const struct hosts *h, struct str name, int family, struct resolver_address *to, size_t room)
{
	size_t n = 0;

	if (family != AF_INET)
		n = find_family(h, name, AF_INET6, to, room);
	if (family != AF_INET6)
		n += find_family(h, name, AF_INET, to + n, room - n);
	return n;
}

const char *
hosts_name(const struct hosts *h, const struct sockaddr *sa)
{
	const struct sockaddr_in *v4 = (const void *)sa;
	const struct sockaddr_in6 *v6 = (const void *)sa;

	for (size_t i = 0; i < h->n; i++)
		if (net_address_same((const struct sockaddr *)&h->entries[i].address.sa, sa))
			return h->entries[i].name;
	if ((sa->sa_family == AF_INET && ntohl(v4->sin_addr.s_addr) == INADDR_LOOPBACK) ||
	    (sa->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr)))
		return "localhost";
	return NULL;
}
