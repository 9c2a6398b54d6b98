// Command load makes N callers do M operations each of one kind and prints how long they took.
//
// Lines: "ready" (all is set up; with -pause it then waits for a line on standard input), then "done" with the figures.
// The operation "hold" is described in hold.go.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"spire-py/peers/internal/jsonl"
)

type settings struct {
	op, agentSocket, serverSocket, server, trustDomain, parent, identity string
	callers, count, batch, entries, connections                          int
	newConnection, pause, unchanged                                      bool
	timeout, hold                                                        time.Duration
}

func parse() *settings {
	s := &settings{}
	flag.StringVar(&s.op, "op", "", "fetch-x509, fetch-jwt, validate-jwt, mint-x509, mint-jwt, attest, enroll, batch-x509, sync, authorized, create-entries, hold")
	flag.StringVar(&s.agentSocket, "agent-socket", "", "path of the agent's socket")
	flag.StringVar(&s.serverSocket, "server-socket", "", "path of the server's admin socket")
	flag.StringVar(&s.server, "server", "", "host:port of the server")
	flag.StringVar(&s.trustDomain, "trust-domain", "example.org", "its name")
	flag.StringVar(&s.parent, "parent", "", "create-entries: path of the parent ID; default a node of its own")
	flag.StringVar(&s.identity, "identity", "", "enroll, batch-x509, sync, authorized: file that keeps the loader's agent; where it is there, no new one is made nor given entries")
	flag.BoolVar(&s.unchanged, "unchanged", false, "sync: ask as an agent does that knows all entries already")
	flag.IntVar(&s.callers, "callers", 8, "callers at the same time, each with a connection of its own")
	flag.IntVar(&s.count, "count", 1000, "operations in all")
	flag.IntVar(&s.batch, "batch", 500, "batch-x509, create-entries: items of a call")
	flag.IntVar(&s.entries, "entries", 500, "batch-x509, sync, authorized: entries the loader's own agent gets first")
	flag.IntVar(&s.connections, "connections", 0, "hold: connections; default one a stream")
	flag.BoolVar(&s.newConnection, "new-connection", false, "a new connection for each operation")
	flag.BoolVar(&s.pause, "pause", false, "wait for a line on standard input before and after the measured part")
	flag.DurationVar(&s.timeout, "timeout", 30*time.Second, "of each operation")
	flag.DurationVar(&s.hold, "hold", 10*time.Second, "hold: how long; with -pause until standard input ends")
	flag.Parse()
	return s
}

// operation is one kind of work. dial gives a connection; prepare runs once; do runs `count` times.
type operation struct {
	dial    func() (*grpc.ClientConn, error)
	prepare func(context.Context) error
	do      func(ctx context.Context, conn *grpc.ClientConn, n int) error
}

type figures struct {
	mu     sync.Mutex
	took   []time.Duration
	errors map[string]int
}

func (f *figures) add(took time.Duration, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.errors[err.Error()]++
		return
	}
	f.took = append(f.took, took)
}

func (s *settings) caller(ctx context.Context, op *operation, work <-chan int, f *figures) {
	var conn *grpc.ClientConn
	defer func() {
		if conn != nil {
			_ = conn.Close()
		}
	}()
	for n := range work {
		started := time.Now()
		if conn == nil {
			var err error
			if conn, err = op.dial(); err != nil {
				f.add(0, err)
				continue
			}
		}
		one, cancel := context.WithTimeout(ctx, s.timeout)
		err := op.do(one, conn, n)
		cancel()
		if s.newConnection {
			_ = conn.Close()
			conn = nil
		}
		f.add(time.Since(started), err)
	}
}

func (s *settings) run(ctx context.Context, op *operation) *figures {
	f := &figures{errors: map[string]int{}}
	work := make(chan int)
	var group sync.WaitGroup
	for range s.callers {
		group.Go(func() { s.caller(ctx, op, work, f) })
	}
	for n := range s.count {
		work <- n
	}
	close(work)
	group.Wait()
	return f
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func report(s *settings, f *figures, took time.Duration) {
	fields := jsonl.Fields{
		"op": s.op, "callers": s.callers, "count": len(f.took), "new_connection": s.newConnection,
		"seconds": took.Seconds(), "per_second": float64(len(f.took)) / took.Seconds(), "errors": f.errors,
	}
	if len(f.took) > 0 {
		slices.Sort(f.took)
		at := func(q float64) float64 { return milliseconds(f.took[int(q*float64(len(f.took)-1))]) }
		fields["p50_ms"], fields["p90_ms"], fields["p99_ms"], fields["max_ms"] = at(0.5), at(0.9), at(0.99), at(1)
	}
	jsonl.Emit("done", fields)
}

func main() {
	s := parse()
	ctx := context.Background()
	input := bufio.NewReader(os.Stdin)
	await := func() {
		if s.pause {
			_, _ = input.ReadString('\n')
		}
	}
	if s.op == "hold" {
		if err := s.holdStreams(ctx, input); err != nil {
			jsonl.Fatal(err)
		}
		return
	}
	op, err := s.operation()
	if err != nil {
		jsonl.Fatal(err)
	}
	if op.prepare != nil {
		if err := op.prepare(ctx); err != nil {
			jsonl.Fatal(fmt.Errorf("preparing: %w", err))
		}
	}
	jsonl.Emit("ready", nil)
	await()
	started := time.Now()
	f := s.run(ctx, op)
	report(s, f, time.Since(started))
	await()
}
