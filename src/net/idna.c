/*
 * idna.c - A-labels by libidn2.
 *
 * Its tables are large and few mails need them, so it is loaded late (late.h).
 */
#include "pp/net/idna.h"
#include <errno.h>
#include <idn2.h>
#include "pp/runtime/late.h"

static struct {
	__typeof__(idn2_to_ascii_8z) *to_ascii;
	__typeof__(idn2_free) *release;
} idna_calls;

int
idna_ascii_blk(const char *domain, struct buf *to)
{
	static const struct late library = {
	    "libidn2.so.0\0", "idn2_to_ascii_8z\0idn2_free\0", (void **)(void *)&idna_calls};
	struct buf why = {.max = 1024};
	char *ascii = NULL;
	int rc = late_load_blk(&library, &why);

	buf_fini(&why);
	if (rc < 0)
		return rc;
	if (idna_calls.to_ascii(domain, &ascii, IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT) != IDN2_OK)
		return -EINVAL;
	rc = buf_adds(to, ascii);
	idna_calls.release(ascii);
	return rc;
}
