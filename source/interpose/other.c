/* SPDX-License-Identifier: BSD-3-Clause */
/* ioctl, getsockopt, prctl: change memory with some arguments; all others skip the bracket. */
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "source/bracket/other.h"
#include "source/confined.h"
#include "source/interpose/file_change.h"
#include "source/interpose/real.h"
#include "source/interpose/wrapper.h"

#include "os/event_path.h"

static int change_file(int fd, unsigned long request, void *arg)
{
	struct mrn_file_change c;
	int r;

	mrn_file_change_ioctl(&c, fd, (unsigned int)request, arg);
	arg = (void *)mrn_file_change_argument(&c, 3, (long)arg);
	MRN_FILE_CHANGE(&c, r, MRN_REAL(ioctl)(fd, request, arg), r < 0);
	return r;
}

static int change_memory(int fd, unsigned long request, void *arg)
{
	struct mrn_bracket b;
	int r;

	mrn_bracket_ioctl(&b, (unsigned int)request, arg);
	r = MRN_REAL(ioctl)(fd, request, arg);
	mrn_bracket_end(&b, r < 0);
	return r;
}

MRN_INTERPOSED int ioctl(int fd, unsigned long request, ...)
{
	void *arg;
	va_list ap;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	switch (mrn_ioctl_kind((unsigned int)request)) {
	case MRN_CALL_FILE:
		return change_file(fd, request, arg);
	case MRN_CALL_MEMORY:
		return change_memory(fd, request, arg);
	default:
		return MRN_REAL(ioctl)(fd, request, arg);
	}
}

MRN_INTERPOSED int getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
	struct mrn_bracket b;
	int r;

	if (mrn_getsockopt_kind(level, name) == MRN_CALL_OTHER)
		return MRN_REAL(getsockopt)(fd, level, name, value, length);
	mrn_bracket_getsockopt(&b, value);
	r = MRN_REAL(getsockopt)(fd, level, name, value, length);
	mrn_bracket_end(&b, r < 0);
	return r;
}

MRN_INTERPOSED int prctl(int option, ...)
{
	unsigned long arg[4];
	struct mrn_bracket b;
	va_list ap;
	int r;

	va_start(ap, option);
	for (int i = 0; i < 4; i++)
		arg[i] = va_arg(ap, unsigned long);
	va_end(ap);
	mrn_confine_by_name(&(struct mrn_call){SYS_prctl, {option, (long)arg[0], (long)arg[1]}});
	if (mrn_prctl_kind(option, arg[0]) == MRN_CALL_OTHER)
		return MRN_REAL(prctl)(option, arg[0], arg[1], arg[2], arg[3]);
	mrn_bracket_prctl(&b);
	r = MRN_REAL(prctl)(option, arg[0], arg[1], arg[2], arg[3]);
	mrn_bracket_end(&b, r < 0);
	return r;
}
