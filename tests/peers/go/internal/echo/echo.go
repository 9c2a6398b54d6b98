// Package echo is a gRPC service described by hand, so that no generated code is needed.
//
// spirepy.peers.Echo:
//
//	Unary(BytesValue) BytesValue                  the same bytes
//	ServerStream(UInt32Value n) stream BytesValue  n messages "0" … "n-1"
//	ClientStream(stream BytesValue) UInt64Value    how many bytes came
//	Bidi(stream BytesValue) stream BytesValue      each message back at once
//	Fail(UInt32Value code) BytesValue              that status, message "asked for code <n>", the request as its detail
//	Wait(BytesValue) BytesValue                    no answer until the call is over
//	Identity(BytesValue) StringValue               first URI SAN of the caller, or ""
package echo

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Service is the full name of the service.
const Service = "spirepy.peers.Echo"

// Server answers the service; it holds nothing.
type Server struct{}

func unary[T any](handle func(context.Context, *T) (any, error), name string) grpc.MethodDesc {
	return grpc.MethodDesc{
		MethodName: name,
		Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			request := new(T)
			if err := decode(request); err != nil {
				return nil, err
			}
			return handle(ctx, request)
		},
	}
}

func same(ctx context.Context, request *wrapperspb.BytesValue) (any, error) {
	// Metadata named x-echo-… comes back, as header and as trailer.
	incoming, _ := metadata.FromIncomingContext(ctx)
	back := metadata.MD{}
	for key, values := range incoming {
		if len(key) > 7 && key[:7] == "x-echo-" {
			back[key] = values
		}
	}
	if err := grpc.SetHeader(ctx, back); err != nil {
		return nil, err
	}
	if err := grpc.SetTrailer(ctx, back); err != nil {
		return nil, err
	}
	return request, nil
}

func fail(_ context.Context, request *wrapperspb.UInt32Value) (any, error) {
	refusal := status.New(codes.Code(request.Value), fmt.Sprintf("asked for code %d", request.Value))
	detailed, err := refusal.WithDetails(request)
	if err != nil {
		return nil, refusal.Err()
	}
	return nil, detailed.Err()
}

func wait(ctx context.Context, _ *wrapperspb.BytesValue) (any, error) {
	<-ctx.Done()
	return nil, status.FromContextError(ctx.Err()).Err()
}

func identity(ctx context.Context, _ *wrapperspb.BytesValue) (any, error) {
	caller, ok := peer.FromContext(ctx)
	if !ok {
		return wrapperspb.String(""), nil
	}
	info, ok := caller.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 || len(info.State.PeerCertificates[0].URIs) == 0 {
		return wrapperspb.String(""), nil
	}
	return wrapperspb.String(info.State.PeerCertificates[0].URIs[0].String()), nil
}

func serverStream(_ any, stream grpc.ServerStream) error {
	count := new(wrapperspb.UInt32Value)
	if err := stream.RecvMsg(count); err != nil {
		return err
	}
	for i := range count.Value {
		if err := stream.SendMsg(wrapperspb.Bytes([]byte(strconv.Itoa(int(i))))); err != nil {
			return err
		}
	}
	return nil
}

func clientStream(_ any, stream grpc.ServerStream) error {
	var total uint64
	for {
		message := new(wrapperspb.BytesValue)
		err := stream.RecvMsg(message)
		if err == io.EOF {
			return stream.SendMsg(wrapperspb.UInt64(total))
		}
		if err != nil {
			return err
		}
		total += uint64(len(message.Value))
	}
}

func bidi(_ any, stream grpc.ServerStream) error {
	for {
		message := new(wrapperspb.BytesValue)
		err := stream.RecvMsg(message)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.SendMsg(message); err != nil {
			return err
		}
	}
}

// Description is what grpc.Server.RegisterService takes.
var Description = grpc.ServiceDesc{
	ServiceName: Service,
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		unary(same, "Unary"), unary(fail, "Fail"), unary(wait, "Wait"), unary(identity, "Identity"),
	},
	Streams: []grpc.StreamDesc{
		{StreamName: "ServerStream", Handler: serverStream, ServerStreams: true},
		{StreamName: "ClientStream", Handler: clientStream, ClientStreams: true},
		{StreamName: "Bidi", Handler: bidi, ServerStreams: true, ClientStreams: true},
	},
}
