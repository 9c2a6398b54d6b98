package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"

	"spire-py/peers/internal/jsonl"
)

const openAtOnce = 16

// updates counts, for each round, how many streams got it and when the first and the last did.
type updates struct {
	mu      sync.Mutex
	streams int
	count   map[int]int
	first   map[int]time.Time
}

func (u *updates) got(round int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	if u.count[round]++; u.count[round] == 1 {
		u.first[round] = now
	}
	if u.count[round] < u.streams {
		return
	}
	jsonl.Emit("update", jsonl.Fields{
		"number": round, "streams": u.streams, "spread_ms": milliseconds(now.Sub(u.first[round])), "last_unix_ms": now.UnixMilli(),
	})
}

// holdStreams opens FetchX509SVID streams and reads on. Lines: "update" once every stream has its n-th answer (number 0 is the
// first answer), "done" at the end.
func (s *settings) holdStreams(ctx context.Context, input *bufio.Reader) error {
	ctx, cancel := context.WithCancel(asWorkload(ctx))
	defer cancel()
	connections := s.connections
	if connections == 0 {
		connections = s.callers
	}
	u := &updates{streams: s.callers, count: map[int]int{}, first: map[int]time.Time{}}
	conns := make([]*grpc.ClientConn, connections)
	for i := range conns {
		conn, err := dialUnix(s.agentSocket)
		if err != nil {
			return err
		}
		defer conn.Close()
		conns[i] = conn
	}
	turns := make(chan struct{}, openAtOnce)
	lost := make(chan error, s.callers)
	for n := range s.callers {
		go func() { lost <- follow(ctx, conns[n%connections], u, turns) }()
	}
	ended := make(chan struct{})
	go func() {
		if s.pause {
			_, _ = io.Copy(io.Discard, input)
		} else {
			time.Sleep(s.hold)
		}
		close(ended)
	}()
	select {
	case err := <-lost:
		return fmt.Errorf("a stream ended: %w", err)
	case <-ended:
		jsonl.Emit("done", jsonl.Fields{"op": s.op, "streams": s.callers})
		return nil
	}
}

// follow opens a stream when it is its turn: hundreds at once can keep an agent's attestors busy for minutes.
func follow(ctx context.Context, conn *grpc.ClientConn, u *updates, turns chan struct{}) error {
	turns <- struct{}{}
	stream, err := workload.NewSpiffeWorkloadAPIClient(conn).FetchX509SVID(ctx, &workload.X509SVIDRequest{})
	if err != nil {
		return err
	}
	for round := 0; ; round++ {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		if round == 0 {
			<-turns
		}
		u.got(round)
	}
}
