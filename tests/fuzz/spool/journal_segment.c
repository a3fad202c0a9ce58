/*
 * journal_segment.c - any bytes as a segment of the journal: a replay ends, and makes only files
 * that are in it.
 *
 * Input: one byte of flags, two with the length of what is known of the map, that, and the units.
 * Flags: 1 = the head is as the input says (its bytes stand first in the units), 2 = the hashes of
 * entries are left as they are, 4 = the file ends before its map does.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "pp/base/assert.h"
#include "spool/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64];
static struct spool *spool;

static void
remove_spool(void)
{
	for (size_t i = 0; i < spool_directory_count; i++)
		unlinkat(spool->dirfd, spool_directories[i].name, AT_REMOVEDIR);
	spool_close(spool);
	rmdir(dir);
}

static void
make_spool(void)
{
	const struct spool_options o = {.directory = dir, .hash_queue_names = ""};
	struct buf err = {.max = 1024};

	snprintf(dir, sizeof(dir), "/dev/shm/pp-fuzz-XXXXXX");
	if (mkdtemp(dir) == NULL) {
		snprintf(dir, sizeof(dir), "/tmp/pp-fuzz-XXXXXX");
		PP_ASSERT(mkdtemp(dir) != NULL);
	}
	PP_ASSERT(spool_open(&o, true, (uid_t)-1, (gid_t)-1, &spool, &err) == 0);
	buf_fini(&err);
	atexit(remove_spool);
}

/* Entries that only lack their hashes count. */
static void
mend(char *units, size_t n, const struct journal_head *life)
{
	struct journal_entry_head e;
	struct str id, file, all = {units, n};
	size_t at = 0;

	while (at * JOURNAL_UNIT + sizeof(e) <= n) {
		char *p = units + at * JOURNAL_UNIT;
		size_t room = n - at * JOURNAL_UNIT - sizeof(e);

		memcpy(&e, p, sizeof(e));
		if (e.id_length > room || e.length > room - e.id_length || e.units == 0)
			return;
		id = (struct str){p + sizeof(e), e.id_length};
		file = (struct str){id.p + id.n, e.length};
		journal_entry_fill(&e, life, e.units, journal_content_hash(id, file), id, file.n);
		memcpy(p, &e, sizeof(e));
		if (!journal_entry_read(all, (uint32_t)at, life, &e, &id, &file))
			return;
		at += e.units;
	}
}

/* Is it somewhere in the segment, but for finished recipients? */
static void
check_file(struct str file, struct str all)
{
	for (size_t at = 0; at + file.n <= all.n; at++) {
		size_t i = 0;

		while (i < file.n &&
		       (file.p[i] == all.p[at + i] || (file.p[i] == 'D' && all.p[at + i] == 'R')))
			i++;
		if (i == file.n)
			return;
	}
	PP_ASSERT(!"it made a file that is not in it");
}

static int64_t
check_files(struct str all)
{
	int fd = fsio_open_dir(spool->dirfd, "incoming");
	DIR *d = fdopendir(fd);
	const struct dirent *e;
	int64_t n = 0;

	PP_ASSERT(d != NULL);
	while ((e = readdir(d)) != NULL) {
		char path[SPOOL_PATH_MAX];
		struct buf b = {.max = 16 << 20};

		if (e->d_name[0] == '.')
			continue;
		PP_ASSERT(spool_id_valid(str_of(e->d_name)));
		snprintf(path, sizeof(path), "incoming/%s", e->d_name);
		PP_ASSERT(fsio_read_all(spool->dirfd, path, &b) == 0);
		check_file(buf_str(&b), all);
		buf_fini(&b);
		fsio_unlink(spool->dirfd, path);
		n++;
	}
	closedir(d);
	return n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char segment[JOURNAL_SIZE];
	struct journal_head head;
	char *units = segment + JOURNAL_FRONT;
	size_t map, n;
	unsigned damaged = 0;
	int64_t made;
	int fd;

	if (spool == NULL)
		make_spool();
	if (size < 3 || size > 256 * 1024)
		return 0;
	map = (size_t)(data[1] | data[2] << 8);
	if (map > size - 3)
		map = size - 3;
	n = size - 3 - map;
	memset(segment, 0, JOURNAL_FRONT);
	memcpy(segment + JOURNAL_HEAD, data + 3, map);
	memcpy(units, data + 3 + map, n);
	journal_head_fill(&head, 7, 9);
	memcpy(segment, &head, sizeof(head));
	if ((data[0] & 2) == 0)
		mend(units, n, &head);
	if (data[0] & 1)
		memcpy(segment, units, n < sizeof(head) ? n : sizeof(head));
	n = data[0] & 4 ? n % JOURNAL_FRONT : JOURNAL_FRONT + n;
	fd = fsio_create(spool->dirfd, "journal/0", 0600);
	PP_ASSERT(fd >= 0 && fsio_write(fd, (struct str){segment, n}) == 0);
	fsio_close(fd);
	made = journal_replay_blk(spool, (uid_t)-1, (gid_t)-1, &damaged);
	PP_ASSERT(made >= 0);
	PP_ASSERT(check_files((struct str){segment, n}) <= made);
	PP_ASSERT(!journal_is_left_blk(spool));
	if (damaged)
		fsio_unlink(spool->dirfd, "journal/0.damaged");
	return 0;
}
