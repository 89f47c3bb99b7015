/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs a seccomp filter as the kernel would, to find out what it does with a call. */
#ifndef MRN_SOURCE_FILTER_RUN_H
#define MRN_SOURCE_FILTER_RUN_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Returns SECCOMP_RET_... with its data; SECCOMP_RET_KILL_PROCESS for code that the kernel would not accept. Event
 * path.
 */
uint32_t mrn_filter_run(const struct sock_filter *code, unsigned int length,
			const struct seccomp_data *data);

static inline bool mrn_filter_lets_pass(const struct sock_filter *code, unsigned int length,
					const struct seccomp_data *data)
{
	uint32_t action = mrn_filter_run(code, length, data) & SECCOMP_RET_ACTION_FULL;

	return action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_LOG;
}

#endif
