/*
 * rates_test.c - what was sent is known to the next run: whether this one ended or was killed, in
 * the same life of the machine or another, and whatever was done to the clock.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include "pp/base/fsio.h"
#include "qmgr/internal.h"

static char path[] = "/tmp/rates_test.XXXXXX";
static const struct rate_rule rule = {.limit = {{30, 60000}, {100, 86400000}}, .count = 2};

/* As a start after a kill: nothing was told to it but what lies in the file. */
static struct rates *
next_run(struct rates *r, int64_t now)
{
	rates_close(r);
	return rates_open(path, now);
}

static unsigned
send(struct rates *r, struct qmgr_rate *x, unsigned most, bool ends, int64_t now)
{
	unsigned n = 0, which;

	for (; n < most && rate_next(rates_rate(x), &rule, now, &which) <= now; n++) {
		rate_begin(rates_rate(x));
		rates_began(r, x, now);
		if (!ends)
			continue;
		rate_end(rates_rate(x), now);
		rates_ended(r, x, now);
	}
	return n;
}

/* The file as it would be found after a start of the machine. */
static void
another_boot(void)
{
	struct buf bytes;
	char id[37] = "";
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");
	size_t at;

	assert_int_equal(fread(id, 1, 36, f), 36);
	fclose(f);
	buf_init(&bytes, 16 << 20);
	assert_int_equal(fsio_read_all(AT_FDCWD, path, &bytes), 0);
	f = fopen(path, "r+");
	for (at = 0; at + 36 <= bytes.n; at++)
		if (memcmp(buf_str(&bytes).p + at, id, 36) == 0) {
			fseek(f, (long)at, SEEK_SET);
			fputc(id[0] == '0' ? '1' : '0', f);
		}
	fclose(f);
	buf_fini(&bytes);
}

static void
outlives_the_run(void **state)
{
	struct rates *r = rates_open(path, 1000);
	struct qmgr_rate *x = rates_get(r, "smtp\1a", &rule, 1000);
	unsigned which;

	assert_int_equal(send(r, x, 20, true, 1000), 20);
	assert_int_equal(send(r, x, 5, false, 2000), 5);
	r = next_run(r, 30000);
	x = rates_get(r, "smtp\1a", &rule, 30000);
	/* Five may have come to their end at any time up to now. */
	assert_int_equal(send(r, x, 99, true, 30000), 5);
	assert_int_equal(send(r, rates_get(r, "smtp\1b", &rule, 30000), 99, true, 30000), 30);
	assert_int_equal(rate_next(rates_rate(x), &rule, 30000, &which), 61001);
	r = next_run(r, 61001);
	x = rates_get(r, "smtp\1a", &rule, 61001);
	assert_int_equal(send(r, x, 99, true, 61001), 20);
	/* The day's hundred: 20 + 5 + 5 + 20, and so 50 more. */
	r = next_run(r, 200000);
	x = rates_get(r, "smtp\1a", &rule, 200000);
	assert_int_equal(send(r, x, 99, true, 200000), 30);
	assert_int_equal(send(r, x, 99, true, 300000), 20);
	assert_int_equal(send(r, x, 99, true, 900000), 0);
	/* Another life of the machine: its clock began anew, the wall clock tells the time. */
	rates_close(r);
	another_boot();
	r = rates_open(path, 500);
	x = rates_get(r, "smtp\1a", &rule, 500);
	assert_int_equal(send(r, x, 99, true, 500), 0);
	rates_close(r);
}

static void
many_deliveries(void **state)
{
	const struct rate_rule wide = {.limit = {{1000000, 60000}}, .count = 1};
	struct rates *r = rates_open(path, 0);
	struct qmgr_rate *x = rates_get(r, "smtp\1many", &wide, 0);
	unsigned which;

	/* Over both halves of the file some times. */
	for (int64_t now = 0; now < 400000; now++) {
		rate_begin(rates_rate(x));
		rates_began(r, x, now);
		rate_end(rates_rate(x), now);
		rates_ended(r, x, now);
	}
	r = next_run(r, 400000);
	x = rates_get(r, "smtp\1many", &wide, 400000);
	assert_int_equal(rate_next(rates_rate(x), &wide, 400000, &which), 0);
	assert_in_range(rates_rate(x)->ring[0].sum, 60000, 80000);
	rates_close(r);
}

static void
no_file(void **state)
{
	struct rates *r = rates_open(NULL, 0);
	struct qmgr_rate *x = rates_get(r, "smtp\1a", &rule, 0);

	assert_int_equal(send(r, x, 99, true, 0), 30);
	rates_close(r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(outlives_the_run),
	    cmocka_unit_test(many_deliveries),
	    cmocka_unit_test(no_file),
	};
	int fd = mkstemp(path), rc;

	close(fd);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return rc;
}
