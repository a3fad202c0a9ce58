/*
 * sm.c - moves of declared state machines.
 *
 * The check costs one shift and one AND, so it stays on in production: an illegal move is the
 * first visible sign of a protocol bug, long before the crash it would cause.
 */
#include <stdio.h>
#include "pp/base/assert.h"
#include "pp/base/sm.h"

void
sm_move(const struct sm_state *table, uint8_t *state, unsigned to)
{
	if ((table[*state].next & SM_TO(to)) == 0) {
		char text[128];

		snprintf(text, sizeof(text), "move %s -> %s", table[*state].name, table[to].name);
		assert_fail(text, __FILE__, __LINE__);
	}
	*state = (uint8_t)to;
}
