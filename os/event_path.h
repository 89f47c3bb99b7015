/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Include this last in a file that can run inside somebody's munmap or free: from here on the
 * compiler refuses what would deadlock or recurse there. The rules in full: no allocation, no stdio,
 * no lock shared with code that allocates, errno preserved, re-entrant, bounded.
 */
#ifndef MRN_OS_EVENT_PATH_H
#define MRN_OS_EVENT_PATH_H

#pragma GCC poison malloc calloc realloc free reallocarray posix_memalign aligned_alloc strdup
#pragma GCC poison printf fprintf dprintf vprintf vfprintf asprintf puts fputs perror fopen fclose
#pragma GCC poison fwrite fread fflush strerror getline opendir readdir dlopen dlsym dlclose dladdr
#pragma GCC poison pthread_mutex_lock pthread_rwlock_rdlock pthread_rwlock_wrlock pthread_cond_wait
#pragma GCC poison pthread_create exit atexit

#endif
