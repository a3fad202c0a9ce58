/*
 * agents.h - the agents that need no network: error bounces (as service retry:
 *            defers), discard drops.
 * THREAD an io loop.  OWNS nothing.
 * ERRORS a status per recipient, like every agent.
 * SEE    error(8) of Postfix. The next hop is the text: "5.1.2 no such domain".
 */
#pragma once
#include "pp/delivery/delivery.h"

extern const struct delivery_agent delivery_agent_error;
extern const struct delivery_agent delivery_agent_discard;
