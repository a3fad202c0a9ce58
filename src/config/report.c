/*
 * report.c - the list of notes that reading a configuration leaves.
 *
 * Config never prints: a daemon logs the notes, a command writes them to stderr, a reload keeps the
 * old configuration when there is an error among them. So they are collected first.
 */
#include "internal.h"

void
config_report_init(struct config_report *r)
{
	*r = (struct config_report){0};
	r->last = &r->first;
}

void
config_report_fini(struct config_report *r)
{
	arena_fini(&r->arena);
	config_report_init(r);
}

static void PP_PRINTF(5, 0) add(
    struct config_report *r, bool is_error, const char *file, int line, const char *fmt, va_list ap)
{
	unsigned *count = is_error ? &r->errors : &r->warnings;
	struct config_note *note;
	struct buf text;

	(*count)++;
	if (r->errors + r->warnings > REPORT_NOTES_MAX)
		return;
	buf_init(&text, 8192);
	if (buf_vprintf(&text, fmt, ap) < 0)
		buf_adds(&text, is_error ? "error (text too long)" : "warning (text too long)");
	note = ARENA_NEW(&r->arena, struct config_note);
	*note = (struct config_note){.is_error = is_error,
	    .file = arena_strdup(&r->arena, file),
	    .line = line,
	    .text = arena_strdup(&r->arena, buf_cstr(&text))};
	buf_fini(&text);
	*r->last = note;
	r->last = &note->next;
}

void
config_report_warn(struct config_report *r, const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(r, false, file, line, fmt, ap);
	va_end(ap);
}

void
config_report_error(struct config_report *r, const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(r, true, file, line, fmt, ap);
	va_end(ap);
}

void
config_note_text(const struct config_note *n, struct buf *to)
{
	if (n->line > 0)
		buf_printf(to, "%s, line %d: ", n->file, n->line);
	else if (*n->file)
		buf_printf(to, "%s: ", n->file);
	buf_adds(to, n->text);
}
