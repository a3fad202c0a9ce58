/*
 * dns_answer.c - fuzzes the reader of DNS answers. The first byte chooses the type; the name is the
 * one the message claims was asked, so that most inputs get past the question.
 */
#include <netinet/in.h>
#include <resolv.h>
#include <stdio.h>
#include "net/dns_answer.h"
#include "pp/base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
check(const struct dns_answer *a, enum dns_type type)
{
	PP_ASSERT((a->result == RESOLVER_OK) == (a->text == NULL));
	PP_ASSERT((a->result == RESOLVER_OK) == (a->n > 0));
	PP_ASSERT(a->ttl >= 0 && a->ttl <= 7 * 86400);
	PP_ASSERT(a->n <= RESOLVER_MX_MAX);
	for (size_t i = 0; i < a->n; i++) {
		if (type == DNS_MX || type == DNS_SRV) {
			/* A null MX stands alone; every other name can be logged and asked. */
			PP_ASSERT(a->mx[i].host[0] == '\0'
				      ? a->n == 1
				      : resolver_name_valid(str_of(a->mx[i].host)));
			PP_ASSERT(i == 0 || a->mx[i - 1].preference <= a->mx[i].preference);
		} else if (type == DNS_PTR) {
			PP_ASSERT(a->n == 1 && resolver_name_valid(str_of(a->name)));
		} else {
			PP_ASSERT(a->n <= RESOLVER_ADDRESS_MAX && a->address[i].text[0] != '\0');
			PP_ASSERT(
			    a->address[i].sa.ss_family == (type == DNS_A ? AF_INET : AF_INET6));
		}
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const enum dns_type types[] = {DNS_A, DNS_AAAA, DNS_MX, DNS_PTR, DNS_SRV};
	enum dns_type type;
	struct dns_answer a;
	char name[1025];

	if (n < 1)
		return 0;
	type = types[p[0] % PP_COUNT(types)];
	p++;
	n--;
	if (n <= 12 || dn_expand(p, p + n, p + 12, name, sizeof(name)) < 0)
		snprintf(name, sizeof(name), "example.com");
	dns_answer_read(&a, (struct str){(const char *)p, n}, name, type);
	check(&a, type);
	dns_answer_fini(&a);
	return 0;
}
