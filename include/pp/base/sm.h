/*
 * sm.h - declared state machines: a table of states, each with a word and its legal next states.
 * THREAD the owner's.  OWNS nothing.
 * ERRORS an illegal move is a bug: PP_ASSERT.
 */
#pragma once
#include <stdint.h>

struct sm_state {
	const char *name;
	uint32_t next; /* bit mask of SM_TO(state) */
};

#define SM_TO(state) (1u << (state))

/* *state = to, when table[*state].next allows it. */
void sm_move(const struct sm_state *table, uint8_t *state, unsigned to);
