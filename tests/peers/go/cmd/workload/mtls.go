package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"spire-py/peers/internal/jsonl"
)

func sourceAndRule(ctx context.Context, client *workloadapi.Client, s *settings) (*workloadapi.X509Source, tlsconfig.Authorizer, error) {
	pick := func(svids []*x509svid.SVID) *x509svid.SVID {
		for _, svid := range svids {
			if svid.ID.String() == s.spiffeID {
				return svid
			}
		}
		return svids[0]
	}
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClient(client), workloadapi.WithDefaultX509SVIDPicker(pick))
	if err != nil {
		return nil, nil, err
	}
	if s.expect != "" {
		id, err := spiffeid.FromString(s.expect)
		if err != nil {
			return nil, nil, err
		}
		return source, tlsconfig.AuthorizeID(id), nil
	}
	svid, err := source.GetX509SVID()
	if err != nil {
		return nil, nil, err
	}
	return source, tlsconfig.AuthorizeMemberOf(svid.ID.TrustDomain()), nil
}

// serve answers each HTTPS request with the caller's SPIFFE ID, until a signal.
func serve(ctx context.Context, client *workloadapi.Client, s *settings) error {
	source, rule, err := sourceAndRule(ctx, client, s)
	if err != nil {
		return err
	}
	defer source.Close()
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return err
	}
	server := &http.Server{
		TLSConfig: tlsconfig.MTLSServerConfig(source, source, rule),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, err := x509svid.IDFromCert(r.TLS.PeerCertificates[0])
			if err != nil {
				http.Error(w, err.Error(), http.StatusForbidden)
				return
			}
			jsonl.Emit("peer", jsonl.Fields{"id": id.String(), "path": r.URL.Path})
			fmt.Fprint(w, id.String())
		}),
	}
	jsonl.Emit("listening", jsonl.Fields{"address": listener.Addr().String()})
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// get makes one HTTPS request by mTLS.
func get(ctx context.Context, client *workloadapi.Client, s *settings) error {
	source, rule, err := sourceAndRule(ctx, client, s)
	if err != nil {
		return err
	}
	defer source.Close()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return err
	}
	caller := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsconfig.MTLSClientConfig(source, source, rule)}}
	response, err := caller.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return err
	}
	id, err := x509svid.IDFromCert(response.TLS.PeerCertificates[0])
	if err != nil {
		return err
	}
	jsonl.Emit("response", jsonl.Fields{"status": response.StatusCode, "body": string(body), "peer": id.String()})
	return nil
}
