// Command workload is a workload that uses go-spiffe: it watches its identities, serves and calls by mTLS, and fetches tokens.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"spire-py/peers/internal/jsonl"
)

type command func(context.Context, *workloadapi.Client, *settings) error

var commands = map[string]command{
	"watch": watch, "serve": serve, "get": get, "jwt": tokens, "validate": validate, "fetch": fetch,
}

type settings struct {
	socket, audience, spiffeID, listen, url, expect, token string
	updates                                                int
	timeout                                                time.Duration
}

func parse(name string, arguments []string) (*settings, error) {
	s := &settings{}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.StringVar(&s.socket, "socket", "", "unix:///path or tcp://IP:port; default SPIFFE_ENDPOINT_SOCKET")
	flags.StringVar(&s.audience, "audience", "peer", "of a token")
	flags.StringVar(&s.spiffeID, "spiffe-id", "", "ask for this identity")
	flags.StringVar(&s.listen, "listen", "127.0.0.1:0", "serve: address")
	flags.StringVar(&s.url, "url", "", "get: https URL")
	flags.StringVar(&s.expect, "expect", "", "serve, get: the only SPIFFE ID the other end may have; default any of the own trust domain")
	flags.StringVar(&s.token, "token", "", "validate: the token")
	flags.IntVar(&s.updates, "updates", 0, "watch: end after so many X.509 updates; 0 never")
	flags.DurationVar(&s.timeout, "timeout", 20*time.Second, "ends the command, except serve, with an error")
	return s, flags.Parse(arguments)
}

func main() {
	name := ""
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	run, ok := commands[name]
	if !ok && name != "dial" {
		jsonl.Fatal(fmt.Errorf("usage: workload watch|fetch|serve|get|jwt|validate|dial [flags]; got %q", name))
	}
	s, err := parse(name, os.Args[2:])
	if err != nil {
		jsonl.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if name != "serve" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	if name == "dial" {
		if err := dial(ctx, s); err != nil {
			jsonl.Fatal(err)
		}
		return
	}
	var options []workloadapi.ClientOption
	if s.socket != "" {
		options = append(options, workloadapi.WithAddr(s.socket))
	}
	client, err := workloadapi.New(ctx, options...)
	if err != nil {
		jsonl.Fatal(err)
	}
	defer client.Close()
	if err := run(ctx, client, s); err != nil && !errors.Is(err, context.Canceled) {
		jsonl.Fatal(err)
	}
}
