/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that really pins. Its registrations are io_uring's fixed buffers; for memory that io_uring may not pin for
 * long, such as a file's on a disk, they are references in a pipe. Either way they hold the pages of that moment, and
 * reading gives what those hold now, whatever is mapped at their addresses since.
 */
#ifndef COVERAGE_PIN_H
#define COVERAGE_PIN_H

#include <stdbool.h>
#include <stddef.h>

struct pin {
	char *addr;
	size_t length;
	int slot;    /* -1: in the pipe */
	int pipe[2]; /* -1: in a slot */
};

/* One device per process. 0 or -errno. */
int pin_open(void);
void pin_close(void);

/* Both from any thread. 0 or -errno: -EFAULT if something is not mapped. */
int pin_take(struct pin *pin, char *addr, size_t length);
void pin_release(struct pin *pin);

/*
 * Copies length bytes between the pages of [addr, addr + length) and the device. 0 or -errno; -EOPNOTSUPP for a write to
 * memory that is only in a pipe.
 */
int pin_read(const struct pin *pin, const char *addr, size_t length, char *to);
int pin_write(const struct pin *pin, const char *addr, size_t length, const char *from);

/* How many bytes of [addr, addr + length) the device reads as `byte`; -errno. */
long pin_count(const struct pin *pin, const char *addr, size_t length, char byte);

#endif
