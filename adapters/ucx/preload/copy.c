/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The calls by which UCX copies between two processes of a machine, one or more for each large transfer. They change no
 * mapping, so dispatch has nothing to announce and only slows them: here they go past it.
 *
 * A call that fails is made again without us. Only that has the result and errno which the program would have had: if its
 * sandbox is known to refuse the call, the way past dispatch has not made it. Nothing has been copied then.
 */
#include <mrn/source.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "adapters/ucx/check.h"

static ssize_t copy(long call, pid_t pid, const struct iovec *local, unsigned long nr_local,
		    const struct iovec *remote, unsigned long nr_remote, unsigned long flags)
{
	long copied = -1;

	if (!MRN_BROKEN(UCX_PAST))
		copied = mrn_source_bypass(call, pid, (long)local, (long)nr_local, (long)remote,
					   (long)nr_remote, (long)flags);
	if (copied >= 0 || MRN_BROKEN(UCX_AGAIN))
		return copied;
	return syscall(call, pid, local, nr_local, remote, nr_remote, flags);
}

ssize_t process_vm_readv(pid_t pid, const struct iovec *local, unsigned long nr_local,
			 const struct iovec *remote, unsigned long nr_remote, unsigned long flags)
{
	return copy(SYS_process_vm_readv, pid, local, nr_local, remote, nr_remote, flags);
}

ssize_t process_vm_writev(pid_t pid, const struct iovec *local, unsigned long nr_local,
			  const struct iovec *remote, unsigned long nr_remote, unsigned long flags)
{
	return copy(SYS_process_vm_writev, pid, local, nr_local, remote, nr_remote, flags);
}
