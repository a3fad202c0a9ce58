/*
 * lane.h - threads that may block, with an answer back on the loop that asked.
 * THREAD lane_run on a loop; work on a thread of the lane; done on the loop that asked.
 * OWNS   the job (embedded in the caller's object) is the lane's until done is called.
 * ERRORS none; the job carries its own result. done is called exactly once, never inside lane_run.
 */
#pragma once
#include "pp/runtime/post.h"
#include <stdint.h>

struct lane;

struct lane_job {
	struct post post;
	struct lane_job *next;
	void (*work)(struct lane_job *job);
	void (*done)(struct lane_job *job);
	struct loop *origin;
};

/* Any thread, at start. */
struct lane *lane_new(const char *name, unsigned threads);
/* Jobs with the same key run one after the other, in order, on the same thread. */
void lane_run(struct lane *l, uint64_t key, struct lane_job *job, void (*work)(struct lane_job *),
    void (*done)(struct lane_job *));
/* Runs what is queued, ends the threads, frees. The loops that asked must still take posts. */
void lane_free(struct lane *l);
/* Inside a job: this thread gives way to all others from now on. For a thread that does only what
 * nobody waits for. */
void lane_give_way(void);
/* A key from a name, for instance a queue id. */
uint64_t lane_key(const char *name);
