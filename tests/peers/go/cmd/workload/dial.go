package main

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"spire-py/peers/internal/jsonl"
)

// dial connects and waits until the HTTP/2 connection stands, without any call: this is how Istio's pilot-agent looks whether there is an agent.
func dial(ctx context.Context, s *settings) error {
	started := time.Now()
	target := strings.Replace(s.socket, "unix://", "unix:", 1)
	//nolint:staticcheck // Istio dials in this way.
	connection, err := grpc.DialContext(ctx, target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithBlock(), grpc.FailOnNonTempDialError(true), grpc.WithReturnConnectionError())
	if err != nil {
		return err
	}
	jsonl.Emit("dialed", jsonl.Fields{"milliseconds": time.Since(started).Milliseconds()})
	return connection.Close()
}
