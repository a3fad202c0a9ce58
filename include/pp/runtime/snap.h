/*
 * snap.h - reference counts of immutable snapshots: configuration, compiled maps, SSL_CTX.
 * THREAD any. What a snapshot holds does not change after it is published, so no lock is needed.
 * OWNS   snap_init gives the caller one reference; the last snap_unref calls destroy, on whatever
 *        thread that happens.
 * ERRORS none.
 */
#pragma once
#include <stdatomic.h>

struct snap {
	atomic_uint refs;
	void (*destroy)(struct snap *s);
};

void snap_init(struct snap *s, void (*destroy)(struct snap *));
void snap_ref(struct snap *s);
/* NULL is taken. */
void snap_unref(struct snap *s);
