/*
 * dns_message.h - writes DNS messages, good and bad, for the tests of the resolver.
 */
#pragma once
#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>

enum { QR = 0x8000, AA = 0x0400, TC = 0x0200, RD = 0x0100, RA = 0x0080 };
enum { A = 1, NS = 2, CNAME = 5, SOA = 6, PTR = 12, MX = 15, AAAA = 28, SRV = 33 };

struct dns_message {
	uint8_t p[65535];
	size_t n;
	unsigned counts[4]; /* question, answer, authority, additional */
};

static inline void
dm16(struct dns_message *m, unsigned v)
{
	m->p[m->n++] = (uint8_t)(v >> 8);
	m->p[m->n++] = (uint8_t)v;
}

static inline void
dm_name(struct dns_message *m, const char *name)
{
	while (*name) {
		size_t n = strcspn(name, ".");

		m->p[m->n++] = (uint8_t)n;
		memcpy(m->p + m->n, name, n);
		m->n += n;
		name += n + (name[n] == '.');
	}
	m->p[m->n++] = 0;
}

static inline void
dm_start(struct dns_message *m, unsigned id, unsigned flags, const char *name, unsigned type)
{
	memset(m->counts, 0, sizeof(m->counts));
	m->n = 0;
	dm16(m, id);
	dm16(m, flags);
	m->n = 12;
	dm_name(m, name);
	dm16(m, type);
	dm16(m, 1);
	m->counts[0] = 1;
}

/* A record without its data; dm_end closes it. */
static inline size_t
dm_record(struct dns_message *m, int section, const char *owner, unsigned type, unsigned ttl)
{
	if (strcmp(owner, "@") == 0)
		dm16(m, 0xc00c); /* the name of the question */
	else
		dm_name(m, owner);
	dm16(m, type);
	dm16(m, 1);
	dm16(m, ttl >> 16);
	dm16(m, ttl & 0xffff);
	m->counts[section]++;
	dm16(m, 0);
	return m->n;
}

static inline void
dm_end(struct dns_message *m, size_t data)
{
	m->p[data - 2] = (uint8_t)((m->n - data) >> 8);
	m->p[data - 1] = (uint8_t)(m->n - data);
}

static inline void
dm_mx(struct dns_message *m, const char *owner, unsigned preference, const char *host)
{
	size_t at = dm_record(m, 1, owner, MX, 300);

	dm16(m, preference);
	dm_name(m, host);
	dm_end(m, at);
}

static inline void
dm_srv(struct dns_message *m, unsigned priority, unsigned weight, unsigned port, const char *host)
{
	size_t at = dm_record(m, 1, "@", SRV, 300);

	dm16(m, priority);
	dm16(m, weight);
	dm16(m, port);
	dm_name(m, host);
	dm_end(m, at);
}

static inline void
dm_alias(struct dns_message *m, int section, const char *owner, unsigned type, const char *target)
{
	size_t at = dm_record(m, section, owner, type, 200);

	dm_name(m, target);
	dm_end(m, at);
}

static inline void
dm_address(struct dns_message *m, const char *owner, const char *address)
{
	unsigned type = strchr(address, ':') ? AAAA : A;
	size_t at = dm_record(m, 1, owner, type, 100);

	inet_pton(type == A ? AF_INET : AF_INET6, address, m->p + m->n);
	m->n += type == A ? 4 : 16;
	dm_end(m, at);
}

static inline void
dm_soa(struct dns_message *m)
{
	size_t at = dm_record(m, 2, "test", SOA, 77);

	dm_name(m, "ns.test");
	dm_name(m, "root.test");
	for (int i = 0; i < 10; i++)
		dm16(m, 1);
	dm_end(m, at);
}

static inline void
dm_finish(struct dns_message *m)
{
	for (int i = 0; i < 4; i++) {
		m->p[4 + 2 * i] = (uint8_t)(m->counts[i] >> 8);
		m->p[5 + 2 * i] = (uint8_t)m->counts[i];
	}
}
