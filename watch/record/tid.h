/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_WATCH_TID_H
#define MRN_WATCH_TID_H

#include <stdint.h>

/* This thread's number, as gettid gives it; with glibc by no system call. On the event path. */
uint32_t watch_thread_number(void);

#endif
