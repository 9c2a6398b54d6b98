// Command grpcecho-client makes calls of one kind and prints one JSON line for each.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"spire-py/peers/internal/echo"
	"spire-py/peers/internal/jsonl"
)

type settings struct {
	target, call, service, certificate, key, ca, metadata string
	size, messages, code, repeat, parallel                int
	deadline                                              time.Duration
	gzip, newConnection                                   bool
}

func parse() *settings {
	s := &settings{}
	flag.StringVar(&s.target, "target", "", "host:port or unix:///path")
	flag.StringVar(&s.call, "call", "unary", "unary, server-stream, client-stream, bidi, fail, wait, identity, cancel")
	flag.StringVar(&s.service, "service", echo.Service, "full name of the service")
	flag.StringVar(&s.certificate, "cert", "", "PEM chain of the client")
	flag.StringVar(&s.key, "key", "", "PEM key")
	flag.StringVar(&s.ca, "ca", "", "PEM roots of the server; with it the client speaks TLS; names are not checked")
	flag.StringVar(&s.metadata, "metadata", "", "key=value, comma separated")
	flag.IntVar(&s.size, "size", 5, "bytes of each message")
	flag.IntVar(&s.messages, "messages", 3, "messages of a stream")
	flag.IntVar(&s.code, "code", 7, "status asked of fail")
	flag.IntVar(&s.repeat, "repeat", 1, "calls of each caller")
	flag.IntVar(&s.parallel, "parallel", 1, "callers on one connection")
	flag.DurationVar(&s.deadline, "deadline", 10*time.Second, "of each call")
	flag.BoolVar(&s.gzip, "gzip", false, "compress requests")
	flag.BoolVar(&s.newConnection, "new-connection", false, "a connection for each call")
	flag.Parse()
	return s
}

func (s *settings) credentials() (credentials.TransportCredentials, error) {
	if s.ca == "" {
		return insecure.NewCredentials(), nil
	}
	text, err := os.ReadFile(s.ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, errors.New("no certificate in " + s.ca)
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS12,
		// SPIFFE servers have no DNS name: the chain is checked here, the name is not.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			between := x509.NewCertPool()
			for _, certificate := range state.PeerCertificates[1:] {
				between.AddCert(certificate)
			}
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
			return err
		},
	}
	if s.certificate != "" {
		pair, err := tls.LoadX509KeyPair(s.certificate, s.key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(config), nil
}

func (s *settings) dial() (*grpc.ClientConn, error) {
	with, err := s.credentials()
	if err != nil {
		return nil, err
	}
	target := s.target
	if !strings.HasPrefix(target, "unix:") {
		target = "passthrough:///" + target
	}
	big := 64 << 20
	options := []grpc.CallOption{grpc.MaxCallRecvMsgSize(big), grpc.MaxCallSendMsgSize(big)}
	if s.gzip {
		options = append(options, grpc.UseCompressor(gzip.Name))
	}
	return grpc.NewClient(target, grpc.WithTransportCredentials(with), grpc.WithDefaultCallOptions(options...))
}

func (s *settings) payload(n int) []byte {
	return bytes.Repeat([]byte{byte('a' + n%26)}, s.size)
}

func (s *settings) unary(ctx context.Context, conn *grpc.ClientConn, method string, request, response proto.Message) (jsonl.Fields, error) {
	var header, trailer metadata.MD
	err := conn.Invoke(ctx, "/"+s.service+"/"+method, request, response, grpc.Header(&header), grpc.Trailer(&trailer))
	return jsonl.Fields{"header": header, "trailer": trailer}, err
}

func (s *settings) stream(ctx context.Context, conn *grpc.ClientConn, method string) (grpc.ClientStream, error) {
	return conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/"+s.service+"/"+method)
}

func (s *settings) serverStream(ctx context.Context, conn *grpc.ClientConn) (jsonl.Fields, error) {
	stream, err := s.stream(ctx, conn, "ServerStream")
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(wrapperspb.UInt32(uint32(s.messages))); err != nil && err != io.EOF {
		return nil, err
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	got := 0
	for {
		message := new(wrapperspb.BytesValue)
		err := stream.RecvMsg(message)
		if err == io.EOF {
			return jsonl.Fields{"messages": got}, nil
		}
		if err != nil {
			return jsonl.Fields{"messages": got}, err
		}
		if string(message.Value) != fmt.Sprint(got) {
			return nil, fmt.Errorf("message %d is %q", got, message.Value)
		}
		got++
	}
}

func (s *settings) clientStream(ctx context.Context, conn *grpc.ClientConn) (jsonl.Fields, error) {
	stream, err := s.stream(ctx, conn, "ClientStream")
	if err != nil {
		return nil, err
	}
	for i := range s.messages {
		if err := stream.SendMsg(wrapperspb.Bytes(s.payload(i))); err != nil {
			break // the status comes with RecvMsg
		}
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	total := new(wrapperspb.UInt64Value)
	err = stream.RecvMsg(total)
	return jsonl.Fields{"total": total.Value}, err
}

func (s *settings) bidi(ctx context.Context, conn *grpc.ClientConn) (jsonl.Fields, error) {
	stream, err := s.stream(ctx, conn, "Bidi")
	if err != nil {
		return nil, err
	}
	for i := range s.messages {
		sent := s.payload(i)
		if err := stream.SendMsg(wrapperspb.Bytes(sent)); err != nil && err != io.EOF {
			return nil, err
		}
		back := new(wrapperspb.BytesValue)
		if err := stream.RecvMsg(back); err != nil {
			return jsonl.Fields{"messages": i}, err
		}
		if !bytes.Equal(back.Value, sent) {
			return nil, fmt.Errorf("message %d came back changed", i)
		}
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	if err := stream.RecvMsg(new(wrapperspb.BytesValue)); err != io.EOF {
		return nil, fmt.Errorf("after the last message: %w", err)
	}
	return jsonl.Fields{"messages": s.messages}, nil
}

func (s *settings) once(ctx context.Context, conn *grpc.ClientConn, n int) (jsonl.Fields, error) {
	switch s.call {
	case "unary":
		sent, back := s.payload(n), new(wrapperspb.BytesValue)
		fields, err := s.unary(ctx, conn, "Unary", wrapperspb.Bytes(sent), back)
		if err == nil && !bytes.Equal(sent, back.Value) {
			err = errors.New("the answer differs from the request")
		}
		return fields, err
	case "server-stream":
		return s.serverStream(ctx, conn)
	case "client-stream":
		return s.clientStream(ctx, conn)
	case "bidi":
		return s.bidi(ctx, conn)
	case "fail":
		return s.unary(ctx, conn, "Fail", wrapperspb.UInt32(uint32(s.code)), new(wrapperspb.BytesValue))
	case "wait":
		return s.unary(ctx, conn, "Wait", wrapperspb.Bytes(nil), new(wrapperspb.BytesValue))
	case "cancel":
		// The caller goes away while the server is at work: RST_STREAM.
		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(20*time.Millisecond, cancel)
		return s.unary(ctx, conn, "Wait", wrapperspb.Bytes(nil), new(wrapperspb.BytesValue))
	case "identity":
		who := new(wrapperspb.StringValue)
		fields, err := s.unary(ctx, conn, "Identity", wrapperspb.Bytes(nil), who)
		fields["identity"] = who.Value
		return fields, err
	}
	return nil, errors.New("unknown call " + s.call)
}

func (s *settings) report(ctx context.Context, conn *grpc.ClientConn, n int) bool {
	ctx, cancel := context.WithTimeout(ctx, s.deadline)
	defer cancel()
	started := time.Now()
	fields, err := s.once(ctx, conn, n)
	if fields == nil {
		fields = jsonl.Fields{}
	}
	answer := status.Convert(err)
	details := []string{}
	for _, detail := range answer.Details() {
		details = append(details, fmt.Sprint(detail))
	}
	fields["code"], fields["message"], fields["details"] = answer.Code().String(), answer.Message(), details
	fields["seconds"] = time.Since(started).Seconds()
	jsonl.Emit("call", fields)
	return err == nil
}

func main() {
	s := parse()
	ctx := context.Background()
	for _, pair := range strings.Split(s.metadata, ",") {
		if key, value, ok := strings.Cut(pair, "="); ok {
			ctx = metadata.AppendToOutgoingContext(ctx, key, value)
		}
	}
	conn, err := s.dial()
	if err != nil {
		jsonl.Fatal(err)
	}
	var group sync.WaitGroup
	for caller := range s.parallel {
		group.Go(func() {
			for n := range s.repeat {
				use := conn
				if s.newConnection {
					if use, err = s.dial(); err != nil {
						jsonl.Fatal(err)
					}
				}
				s.report(ctx, use, caller+n)
				if s.newConnection {
					_ = use.Close()
				}
			}
		})
	}
	group.Wait()
	_ = conn.Close()
}
