/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An MPI program that knows nothing of libmrn: two ranks put and send memory that is freed and allocated again each round,
 * and check every byte. `window pingpong N` measures a round trip of N bytes instead, in ns.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROUNDS 60
#define SIZE   (256 * 1024)

static int rank;

static void check(const unsigned char *bytes, int want, const char *what, int round)
{
	for (int i = 0; i < SIZE; i++)
		if (bytes[i] != want) {
			printf("rank %d round %d: %s: byte %d is %d, not %d\n", rank, round, what,
			       i, bytes[i], want);
			MPI_Abort(MPI_COMM_WORLD, 1);
		}
}

/* Other pages at the same address, by an instruction past libc's functions where there is one. */
static void replace(unsigned char *at)
{
	const unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);
	unsigned char *start = (unsigned char *)(((unsigned long)at + page - 1) & -page);

	syscall(SYS_madvise, start, SIZE - page, MADV_DONTNEED);
}

static void one_round(int round)
{
	unsigned char *window = malloc(SIZE), *mine = malloc(SIZE);
	const int byte = 1 + round % 200;
	MPI_Win win;

	memset(window, 0, SIZE);
	memset(mine, byte, SIZE);
	MPI_Win_create(window, SIZE, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &win);
	MPI_Win_fence(0, win);
	MPI_Put(mine, SIZE, MPI_BYTE, 1 - rank, 0, SIZE, MPI_BYTE, win);
	MPI_Win_fence(0, win);
	check(window, byte, "put", round);
	MPI_Barrier(MPI_COMM_WORLD);
	replace(mine);
	memset(mine, byte + 1, SIZE);
	MPI_Put(mine, SIZE, MPI_BYTE, 1 - rank, 0, SIZE, MPI_BYTE, win);
	MPI_Win_fence(0, win);
	check(window, byte + 1, "put from other pages", round);
	MPI_Win_free(&win);
	replace(window);
	MPI_Sendrecv(mine, SIZE, MPI_BYTE, 1 - rank, 0, window, SIZE, MPI_BYTE, 1 - rank, 0,
		     MPI_COMM_WORLD, MPI_STATUS_IGNORE);
	check(window, byte + 1, "send", round);
	free(mine);
	free(window);
}

static void pingpong(int size)
{
	enum { TIMES = 3000 };
	char *buf = calloc(1, (size_t)size);
	double start = 0;

	for (int i = 0; i < 2 * TIMES; i++) {
		if (i == TIMES)
			start = MPI_Wtime();
		if (rank)
			MPI_Recv(buf, size, MPI_BYTE, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
		MPI_Send(buf, size, MPI_BYTE, 1 - rank, 0, MPI_COMM_WORLD);
		if (!rank)
			MPI_Recv(buf, size, MPI_BYTE, 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
	}
	if (!rank)
		printf("%.0f\n", (MPI_Wtime() - start) / TIMES * 1e9);
	free(buf);
}

int main(int argc, char **argv)
{
	int ranks;

	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	if (ranks != 2) {
		printf("two ranks are needed\n");
		MPI_Abort(MPI_COMM_WORLD, 2);
	}
	if (argc > 2)
		pingpong(atoi(argv[2]));
	else
		for (int i = 0; i < ROUNDS; i++)
			one_round(i);
	MPI_Finalize();
	if (!rank && argc < 2)
		printf("%d rounds, every byte right\n", ROUNDS);
	return 0;
}
