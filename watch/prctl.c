/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * prctl, in front of libc's: by it a program forbids itself system calls, and from then on the recorder makes none but what it
 * has to. libseccomp calls syscall(), which the interposer sees.
 */
#include <dlfcn.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/prctl.h>

#include "os/syscall.h"
#include "source/confined.h"
#include "watch/recorder.h"

static __typeof__(prctl) *real;

void watch_prctl_start(void)
{
	real = (__typeof__(real))dlsym(RTLD_NEXT, "prctl");
}

/* As libc's own does, it reads four more, whatever there are. */
__attribute__((visibility("default"))) int prctl(int option, ...)
{
	unsigned long a[4];
	va_list ap;

	va_start(ap, option);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(ap, unsigned long);
	va_end(ap);
	if (mrn_call_confines(SYS_prctl, option))
		mrn_confine();
	/* Called by another library's constructor, before ours. */
	if (!real)
		watch_prctl_start();
	return real(option, a[0], a[1], a[2], a[3]);
}
