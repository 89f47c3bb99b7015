/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A plugin that has the libraries that it calls linked in, and calls them by name: what they are told here they answer
 * with an error of their own.
 */
struct io_uring;
struct io_uring_params;

int io_uring_queue_init(unsigned int entries, struct io_uring *ring, unsigned int flags);
int io_uring_queue_init_params(unsigned int entries, struct io_uring *ring,
			       struct io_uring_params *p);
int cudaHostRegister(void *addr, unsigned long length, unsigned int flags);
int hipHostRegister(void *addr, unsigned long length, unsigned int flags);
int plugin_queue(struct io_uring *ring);
int plugin_register(void *addr);
int plugin_register_at_end(void *addr);
int plugin_register_pages(void *addr);

int io_uring_queue_init(unsigned int entries, struct io_uring *ring, unsigned int flags)
{
	return -7;
}

int io_uring_queue_init_params(unsigned int entries, struct io_uring *ring,
			       struct io_uring_params *p)
{
	return -7;
}

int cudaHostRegister(void *addr, unsigned long length, unsigned int flags)
{
	return 7;
}

/* It does it, and has nothing else of its library. */
int hipHostRegister(void *addr, unsigned long length, unsigned int flags)
{
	return 0;
}

int plugin_register_pages(void *addr)
{
	return -hipHostRegister(addr, 4096, 0);
}

/* These return here. */
int plugin_queue(struct io_uring *ring)
{
	return io_uring_queue_init(8, ring, 0) - 1;
}

int plugin_register(void *addr)
{
	return cudaHostRegister(addr, 4096, 0) + 1;
}

/* This one may return to the caller at once. */
int plugin_register_at_end(void *addr)
{
	return cudaHostRegister(addr, 4096, 0);
}
