/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The calls behind the interposed ones. Until the constructor in real.c stores the next library's function, each entry
 * is a raw system call that sets errno as libc does (raw.c). So calls by other constructors, by dlsym itself, and with
 * a libc that lacks the function, work too.
 */
#ifndef MRN_SOURCE_INTERPOSE_REAL_H
#define MRN_SOURCE_INTERPOSE_REAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct file_handle;

struct mrn_real {
	int (*munmap)(void *addr, size_t length);
	void *(*mmap)(void *addr, size_t length, int prot, int flags, int fd, off_t offset);
	void *(*mremap)(void *addr, size_t old_size, size_t new_size, int flags, ...);
	int (*remap_file_pages)(void *addr, size_t size, int prot, size_t pgoff, int flags);
	int (*madvise)(void *addr, size_t length, int advice);
	ssize_t (*process_madvise)(int pidfd, const struct iovec *iov, size_t count, int advice,
				   unsigned int flags);
	int (*mprotect)(void *addr, size_t length, int prot);
	int (*pkey_mprotect)(void *addr, size_t length, int prot, int pkey);
	int (*brk)(void *addr);
	void *(*sbrk)(intptr_t increment);
	void *(*shmat)(int id, const void *addr, int flags);
	int (*shmdt)(const void *addr);
	int (*fallocate)(int fd, int mode, off_t offset, off_t length);
	int (*ftruncate)(int fd, off_t length);
	int (*truncate)(const char *path, off_t length);
	int (*open)(const char *path, int flags, ...);
	int (*openat)(int folder, const char *path, int flags, ...);
	int (*creat)(const char *path, mode_t mode);
	int (*open_2)(const char *path, int flags);
	int (*openat_2)(int folder, const char *path, int flags);
	int (*open_by_handle_at)(int mount, struct file_handle *handle, int flags);
	int (*ioctl)(int fd, unsigned long request, ...);
	int (*getsockopt)(int fd, int level, int name, void *value, unsigned int *length);
	int (*prctl)(int option, ...);
	pid_t (*Fork)(void); /* _Fork */
	int (*clone)(int (*fn)(void *arg), void *stack, int flags, void *arg, ...);
	int (*execve)(const char *path, char *const argv[], char *const env[]);
	int (*execvpe)(const char *file, char *const argv[], char *const env[]);
	int (*execveat)(int folder, const char *path, char *const argv[], char *const env[],
			int flags);
	int (*fexecve)(int fd, char *const argv[], char *const env[]);
};

extern struct mrn_real mrn_real;
/*
 * clone's entry before the constructor has run. No raw system call would do: clone has to call a function in the child.
 */
int mrn_real_clone_look_up(int (*fn)(void *arg), void *stack, int flags, void *arg, ...);
/* Apart from the others because syscall-x86_64.S jumps through it. */
extern long (*mrn_real_syscall)(long nr, ...);

/* The allocator behind ours: heap.c. */
#define MRN_HEAP_FUNCTIONS(ROW)                                                 \
	ROW(void, free, (void *block))                                          \
	ROW(void *, malloc, (size_t size))                                      \
	ROW(void *, calloc, (size_t n, size_t size))                            \
	ROW(void *, realloc, (void *block, size_t size))                        \
	ROW(void *, memalign, (size_t alignment, size_t size))                  \
	ROW(void *, aligned_alloc, (size_t alignment, size_t size))             \
	ROW(int, posix_memalign, (void **block, size_t alignment, size_t size)) \
	ROW(void *, valloc, (size_t size))                                      \
	ROW(void *, pvalloc, (size_t size))                                     \
	ROW(int, malloc_trim, (size_t pad))

/* Looked up at the first call; the pointer to it is NULL during that look-up. */
struct mrn_real_heap {
#define MRN_HEAP_POINTER(type, name, arguments) type(*name) arguments;
	MRN_HEAP_FUNCTIONS(MRN_HEAP_POINTER)
	bool is_glibcs; /* all of them */
	bool is_seen;	/* and nothing is in front of ours: we see all calls by name */
};
const struct mrn_real_heap *mrn_real_heap_look_up(void);
extern const struct mrn_real_heap *mrn_real_heap_found;

static inline const struct mrn_real_heap *mrn_real_heap(void)
{
	const struct mrn_real_heap *heap = __atomic_load_n(&mrn_real_heap_found, __ATOMIC_ACQUIRE);

	return __builtin_expect(heap != NULL, 1) ? heap : mrn_real_heap_look_up();
}

/* Atomic because a thread that another constructor has started may be calling; no order is needed. */
#define MRN_REAL(call) __atomic_load_n(&mrn_real.call, __ATOMIC_RELAXED)

#endif
