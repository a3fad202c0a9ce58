/*
 * listfile.c - "/file" inside a match list: its logical lines, each elements of the list.
 *
 * A file may name further files, to a depth; that and the size are bounded, since both come from
 * whoever may write the file.
 */
#include <errno.h>
#include <fcntl.h>
#include "internal.h"
#include "pp/base/fsio.h"
#include "pp/config/lines.h"

enum { DEPTH_MAX = 3, FILE_MAX = 4 << 20 };

int
listfile_read(struct str path, int depth, listfile_add *add, void *list, struct buf *err)
{
	struct buf text, logical;
	char name[4096];
	int rc, line = 0, first = 0;
	struct str rest;

	if (depth == DEPTH_MAX || path.n >= sizeof(name)) {
		buf_printf(err, "%.*s: too many files inside files", STR_FMT(str_head(path, 200)));
		return -EINVAL;
	}
	memcpy(name, path.p, path.n);
	name[path.n] = '\0';
	buf_init(&text, FILE_MAX);
	buf_init(&logical, FILE_MAX);
	rc = fsio_read_all(AT_FDCWD, name, &text);
	if (rc < 0)
		buf_printf(err, "cannot read %s: %s", name, strerror(-rc));
	rest = buf_str(&text);
	while (rc == 0 && (rc = lines_next(&rest, &line, &first, &logical)) > 0)
		rc = add(list, buf_str(&logical), depth + 1, err);
	buf_fini(&text);
	buf_fini(&logical);
	return rc;
}
