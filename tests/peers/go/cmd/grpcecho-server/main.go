// Command grpcecho-server serves the echo service on a Unix socket or a TCP port until its standard input ends.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/keepalive"

	"spire-py/peers/internal/echo"
	"spire-py/peers/internal/jsonl"
)

func listen(address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		return net.Listen("unix", path)
	}
	return net.Listen("tcp", address)
}

func serverTLS(certificate, key, ca string, require bool) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if ca == "" {
		return config, nil
	}
	text, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(text) {
		return nil, errors.New("no certificate in " + ca)
	}
	config.ClientAuth = tls.VerifyClientCertIfGiven
	if require {
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, nil
}

func main() {
	address := flag.String("listen", "127.0.0.1:0", "host:port or unix:///path")
	certificate := flag.String("cert", "", "PEM chain; with it the server speaks TLS")
	key := flag.String("key", "", "PEM key")
	ca := flag.String("ca", "", "PEM roots for client certificates")
	require := flag.Bool("require-client-cert", false, "refuse callers without certificate")
	age := flag.Duration("max-connection-age", 0, "GOAWAY after this time; 0 never")
	grace := flag.Duration("max-connection-age-grace", 0, "then close after this time; 0 never")
	streams := flag.Uint("max-concurrent-streams", 0, "0 no limit")
	size := flag.Int("max-message-bytes", 64<<20, "largest message taken")
	flag.Parse()

	options := []grpc.ServerOption{grpc.MaxRecvMsgSize(*size), grpc.MaxSendMsgSize(*size)}
	if *age > 0 {
		options = append(options, grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: *age, MaxConnectionAgeGrace: *grace, Time: 10 * time.Second}))
	}
	if *streams > 0 {
		options = append(options, grpc.MaxConcurrentStreams(uint32(*streams)))
	}
	if *certificate != "" {
		config, err := serverTLS(*certificate, *key, *ca, *require)
		if err != nil {
			jsonl.Fatal(err)
		}
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	listener, err := listen(*address)
	if err != nil {
		jsonl.Fatal(err)
	}
	server := grpc.NewServer(options...)
	server.RegisterService(&echo.Description, &echo.Server{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		server.GracefulStop()
	}()
	jsonl.Emit("listening", jsonl.Fields{"address": listener.Addr().String()})
	if err := server.Serve(listener); err != nil {
		jsonl.Fatal(err)
	}
	jsonl.Emit("stopped", nil)
}
