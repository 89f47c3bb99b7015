// SPDX-License-Identifier: BSD-3-Clause

// What a Go program does that is unusual in others: small stacks that grow, handlers on stacks of their own, memory
// given back by madvise, signals to its own threads, vfork without libc. Prints sums, the same every time.
package main

/*
#include <stdlib.h>
#include <sys/mman.h>
static long churn(int n)
{
	long sum = 0;
	for (int i = 0; i < n; i++) {
		char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		p[0] = (char)i;
		sum += p[0];
		munmap(p, 8192);
	}
	return sum;
}
*/
import "C"

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"syscall"
)

func deep(n int) int {
	var frame [128]int
	frame[n%128] = n
	if n == 0 {
		return 1
	}
	return deep(n-1) + frame[n%128] - n
}

func garbage(seed, n int) uint64 {
	h := fnv.New64a()
	var keep [64][]byte
	for i := 0; i < n; i++ {
		b := make([]byte, (seed*7919+i*131)%60000+1)
		b[len(b)/2] = byte(i)
		h.Write(b[len(b)/2 : len(b)/2+1])
		keep[i%64] = b
	}
	return h.Sum64()
}

func main() {
	debug.SetGCPercent(10)
	profile := &bytes.Buffer{}
	if err := pprof.StartCPUProfile(profile); err != nil {
		fmt.Println(err)
	}

	var all sync.WaitGroup
	sums := make([]uint64, 32)
	for i := range sums {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			sums[i] = garbage(i, 400) + uint64(deep(2000)) + uint64(C.churn(20))
			m, err := syscall.Mmap(-1, 0, 1<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
			if err == nil {
				m[4096] = byte(i)
				sums[i] += uint64(m[4096])
				err = syscall.Munmap(m)
			}
			if err != nil {
				fmt.Println(err)
			}
		}(i)
	}
	all.Wait()
	for i, s := range sums {
		fmt.Println(i, s)
	}
	debug.FreeOSMemory()

	/* More threads than there are processors, each of which blocks in C or in a pipe. */
	for i := 0; i < 20; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			runtime.LockOSThread()
			C.churn(50)
		}()
	}
	all.Wait()

	signals := make(chan os.Signal, 100)
	signal.Notify(signals, syscall.SIGUSR1)
	for i := 0; i < 20; i++ {
		syscall.Kill(syscall.Getpid(), syscall.SIGUSR1)
		<-signals
	}
	fmt.Println("signals")

	for i := 0; i < 10; i++ {
		out, err := exec.Command("sh", "-c", fmt.Sprintf("echo child %d; exit %d", i, i%3)).Output()
		fmt.Print(string(out), err, "\n")
	}

	func() {
		defer func() { fmt.Println("recovered:", recover()) }()
		var p *int
		fmt.Println(*p)
	}()
	pprof.StopCPUProfile()
	fmt.Println("profile:", profile.Len() > 0)
}
