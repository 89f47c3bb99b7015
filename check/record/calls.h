/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The system calls that whoever understands an interface wants to see, and whom each is shown to. They come from
 * dispatch's handler (source/observe.h); where dispatch does not catch a thread, from functions that stand in front of
 * libc's and liburing's.
 */
#ifndef MRN_CHECK_CALLS_H
#define MRN_CHECK_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Sees a call before it is made, on the event path. It may change the arguments; or make the call, if that does not
 * wait: then true, and *result is what the program gets.
 */
typedef bool check_call_fn(long a[6], long *result);

/* Calls of this process, which is followed, are seen from here on. 0 or -ENOMEM. */
int check_calls_start(void);
/*
 * True in the process that what is known of rings is about: not in a child that is not followed, which has a copy of that
 * and descriptors of its own; nor in a vfork's child, which has not even a copy.
 */
bool check_call_is_followed(void);
/*
 * True in a child that is not followed, and has a copy of what is known: also after a fork that nobody has seen. Makes no
 * call; false before check_calls_start.
 */
bool check_is_in_a_copy(void);
/* The same in a vfork's child, too, which has what its parent has. */
bool check_is_in_a_child(void);
/* Shows a call that is made there to all that want to see it. As check_call_fn; nr as the kernel reads it. */
bool check_call_sees(long nr, long a[6], long *result);

/* Makes it in place of the program. */
long check_call_make(long nr, const long a[6]);

/*
 * What the program's memory holds there: 0; or -EFAULT if there is no memory, or nobody can say because of a sandbox. Then
 * the call goes on as it came. Likewise writes to it, at least 8 bytes and at most a page.
 */
int check_read(void *into, uintptr_t addr, size_t size);
int check_write(uintptr_t addr, const void *from, size_t size);

#endif
