/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/record/tid.h"

#include <mrn/source.h>
#include <pthread.h>

#include "os/syscall.h"
#include "os/thread.h"
#include "watch/record/lane.h"

#include "os/event_path.h"

/*
 * gettid is a system call, which a sandbox of the program's may punish. But glibc knows the answer, for each thread
 * that it has made: such a mutex notes its owner. No other thread has this mutex, so locking it never waits, and makes
 * no call.
 */
uint32_t watch_thread_number(void)
{
#ifdef __GLIBC__
	pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

	pthread_mutex_trylock(&mutex);
	return (uint32_t)mutex.__data.__owner;
#else
	static MRN_TLS uint32_t known_in, tid;
	uint32_t pid = watch_lane_pid();

	/* Made past dispatch: a caught call may run on an alternate stack without room for another signal. */
	if (known_in != pid) {
		tid = (uint32_t)mrn_source_bypass(SYS_gettid, 0, 0, 0, 0, 0, 0);
		known_in = pid;
	}
	return tid;
#endif
}
