package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	agentv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/agent/v1"
	entryv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/entry/v1"
	svidv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/svid/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

func dialUnix(path string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// dialServer does not check the server: this program measures, it protects nothing.
func (s *settings) dialServer(own *tls.Certificate) (*grpc.ClientConn, error) {
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
	if own != nil {
		config.Certificates = []tls.Certificate{*own}
	}
	return grpc.NewClient("passthrough:///"+s.server, grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
}

func asWorkload(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "workload.spiffe.io", "true")
}

func signingRequest(key *ecdsa.PrivateKey, uri string) ([]byte, error) {
	template := &x509.CertificateRequest{}
	if uri != "" {
		parsed, err := url.Parse(uri)
		if err != nil {
			return nil, err
		}
		template.URIs = []*url.URL{parsed}
	}
	return x509.CreateCertificateRequest(rand.Reader, template, key)
}

// material is made once and used for every call, so that the loader costs little.
type material struct {
	key       *ecdsa.PrivateKey
	plain     []byte // request without a name
	named     []byte // request for /minted
	own       *tls.Certificate
	agent     *types.SPIFFEID
	tokens    []string
	entryIDs  []string
	jwt       string
	audiences []string
}

func (s *settings) operation() (*operation, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	m := &material{key: key, audiences: []string{"load"}}
	if m.plain, err = signingRequest(key, ""); err != nil {
		return nil, err
	}
	if m.named, err = signingRequest(key, "spiffe://"+s.trustDomain+"/minted"); err != nil {
		return nil, err
	}
	agentSocket := func() (*grpc.ClientConn, error) { return dialUnix(s.agentSocket) }
	adminSocket := func() (*grpc.ClientConn, error) { return dialUnix(s.serverSocket) }
	tcp := func() (*grpc.ClientConn, error) { return s.dialServer(nil) }
	mutual := func() (*grpc.ClientConn, error) { return s.dialServer(m.own) }
	attested := func(ctx context.Context) error { return s.becomeAgent(ctx, m) }
	switch s.op {
	case "fetch-x509":
		return &operation{dial: agentSocket, do: fetchX509}, nil
	case "fetch-jwt":
		return &operation{dial: agentSocket, do: m.fetchJWT}, nil
	case "validate-jwt":
		return &operation{dial: agentSocket, do: m.validateJWT, prepare: func(ctx context.Context) error { return s.firstToken(ctx, m) }}, nil
	case "mint-x509":
		return &operation{dial: adminSocket, do: m.mintX509}, nil
	case "mint-jwt":
		return &operation{dial: adminSocket, do: func(ctx context.Context, conn *grpc.ClientConn, _ int) error { return s.mintJWT(ctx, conn, m) }}, nil
	case "create-entries":
		return &operation{dial: adminSocket, do: s.createEntries}, nil
	case "attest":
		return &operation{dial: tcp, do: m.attest, prepare: func(ctx context.Context) error { return s.joinTokens(ctx, m, s.count) }}, nil
	case "enroll":
		return s.enroll(m), nil
	case "batch-x509":
		return &operation{dial: mutual, do: func(ctx context.Context, conn *grpc.ClientConn, _ int) error { return s.batchX509(ctx, conn, m) }, prepare: attested}, nil
	case "sync":
		return &operation{dial: mutual, do: func(ctx context.Context, conn *grpc.ClientConn, _ int) error { return m.sync(ctx, conn, s.unchanged) }, prepare: attested}, nil
	case "authorized":
		return &operation{dial: mutual, do: m.authorized, prepare: attested}, nil
	}
	return nil, fmt.Errorf("unknown operation %q", s.op)
}

func fetchX509(ctx context.Context, conn *grpc.ClientConn, _ int) error {
	ctx, cancel := context.WithCancel(asWorkload(ctx))
	defer cancel()
	stream, err := workload.NewSpiffeWorkloadAPIClient(conn).FetchX509SVID(ctx, &workload.X509SVIDRequest{})
	if err != nil {
		return err
	}
	update, err := stream.Recv()
	if err == nil && len(update.Svids) == 0 {
		err = errors.New("an update without identity")
	}
	return err
}

func (m *material) fetchJWT(ctx context.Context, conn *grpc.ClientConn, _ int) error {
	_, err := workload.NewSpiffeWorkloadAPIClient(conn).FetchJWTSVID(asWorkload(ctx), &workload.JWTSVIDRequest{Audience: m.audiences})
	return err
}

func (s *settings) firstToken(ctx context.Context, m *material) error {
	conn, err := dialUnix(s.agentSocket)
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := workload.NewSpiffeWorkloadAPIClient(conn).FetchJWTSVID(asWorkload(ctx), &workload.JWTSVIDRequest{Audience: m.audiences})
	if err != nil {
		return err
	}
	m.jwt = answer.Svids[0].Svid
	return nil
}

func (m *material) validateJWT(ctx context.Context, conn *grpc.ClientConn, _ int) error {
	request := &workload.ValidateJWTSVIDRequest{Audience: m.audiences[0], Svid: m.jwt}
	_, err := workload.NewSpiffeWorkloadAPIClient(conn).ValidateJWTSVID(asWorkload(ctx), request)
	return err
}

func (m *material) mintX509(ctx context.Context, conn *grpc.ClientConn, _ int) error {
	_, err := svidv1.NewSVIDClient(conn).MintX509SVID(ctx, &svidv1.MintX509SVIDRequest{Csr: m.named, Ttl: 3600})
	return err
}

func (s *settings) mintJWT(ctx context.Context, conn *grpc.ClientConn, m *material) error {
	id := &types.SPIFFEID{TrustDomain: s.trustDomain, Path: "/minted"}
	_, err := svidv1.NewSVIDClient(conn).MintJWTSVID(ctx, &svidv1.MintJWTSVIDRequest{Id: id, Audience: m.audiences, Ttl: 300})
	return err
}

func (s *settings) joinTokens(ctx context.Context, m *material, count int) error {
	conn, err := dialUnix(s.serverSocket)
	if err != nil {
		return err
	}
	defer conn.Close()
	for range count {
		token, err := agentv1.NewAgentClient(conn).CreateJoinToken(ctx, &agentv1.CreateJoinTokenRequest{Ttl: 3600})
		if err != nil {
			return err
		}
		m.tokens = append(m.tokens, token.Value)
	}
	return nil
}

func (m *material) attest(ctx context.Context, conn *grpc.ClientConn, n int) error {
	_, err := m.attestWith(ctx, conn, m.tokens[n])
	return err
}

func (m *material) attestWith(ctx context.Context, conn *grpc.ClientConn, token string) (*types.X509SVID, error) {
	stream, err := agentv1.NewAgentClient(conn).AttestAgent(ctx)
	if err != nil {
		return nil, err
	}
	params := &agentv1.AttestAgentRequest_Params{
		Data:   &types.AttestationData{Type: "join_token", Payload: []byte(token)},
		Params: &agentv1.AgentX509SVIDParams{Csr: m.plain},
	}
	if err := stream.Send(&agentv1.AttestAgentRequest{Step: &agentv1.AttestAgentRequest_Params_{Params: params}}); err != nil {
		return nil, err
	}
	answer, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	return answer.GetResult().GetSvid(), nil
}

// becomeAgent attests this program and gives it entries of its own.
func (s *settings) becomeAgent(ctx context.Context, m *material) error {
	if kept, err := s.loadIdentity(m); err != nil {
		return err
	} else if kept {
		return s.awaitEntries(ctx, m)
	}
	if err := s.joinTokens(ctx, m, 1); err != nil {
		return err
	}
	conn, err := s.dialServer(nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	svid, err := m.attestWith(ctx, conn, m.tokens[0])
	if err != nil {
		return err
	}
	m.own = &tls.Certificate{Certificate: svid.CertChain, PrivateKey: m.key}
	m.agent = svid.Id
	if err := s.storeIdentity(m); err != nil {
		return err
	}
	if err := s.giveEntries(ctx, m); err != nil {
		return err
	}
	return s.awaitEntries(ctx, m)
}

func (s *settings) giveEntries(ctx context.Context, m *material) error {
	conn, err := dialUnix(s.serverSocket)
	if err != nil {
		return err
	}
	defer conn.Close()
	for made := 0; made < s.entries; {
		count := min(100, s.entries-made)
		answer, err := entryv1.NewEntryClient(conn).BatchCreateEntry(ctx, &entryv1.BatchCreateEntryRequest{
			Entries: s.someEntries(m.agent, fmt.Sprintf("/load/%d", made), count)})
		if err != nil {
			return err
		}
		for _, result := range answer.Results {
			if result.Status.Code != 0 {
				return errors.New(result.Status.Message)
			}
			m.entryIDs = append(m.entryIDs, result.Entry.Id)
		}
		made += count
	}
	return nil
}

func (s *settings) someEntries(parent *types.SPIFFEID, prefix string, count int) []*types.Entry {
	entries := make([]*types.Entry, count)
	for i := range entries {
		entries[i] = &types.Entry{
			ParentId: parent, SpiffeId: &types.SPIFFEID{TrustDomain: s.trustDomain, Path: fmt.Sprintf("%s/%d", prefix, i)},
			Selectors: []*types.Selector{{Type: "unix", Value: "uid:4000000000"}, {Type: "unix", Value: fmt.Sprintf("gid:%d", i)}, {Type: "unix", Value: "path:/no/such/program"}},
		}
	}
	return entries
}

// awaitEntries waits until the server's cache shows all of them to the agent: the servers poll.
func (s *settings) awaitEntries(ctx context.Context, m *material) error {
	conn, err := s.dialServer(m.own)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		answer, err := entryv1.NewEntryClient(conn).GetAuthorizedEntries(ctx, &entryv1.GetAuthorizedEntriesRequest{OutputMask: &types.EntryMask{}})
		if err != nil {
			return err
		}
		if len(answer.Entries) >= s.entries {
			m.entryIDs = nil
			for _, entry := range answer.Entries {
				m.entryIDs = append(m.entryIDs, entry.Id)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("only %d entries of %d after a minute", len(answer.Entries), s.entries)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (s *settings) batchX509(ctx context.Context, conn *grpc.ClientConn, m *material) error {
	params := make([]*svidv1.NewX509SVIDParams, s.batch)
	for i := range params {
		params[i] = &svidv1.NewX509SVIDParams{EntryId: m.entryIDs[i%len(m.entryIDs)], Csr: m.plain}
	}
	answer, err := svidv1.NewSVIDClient(conn).BatchNewX509SVID(ctx, &svidv1.BatchNewX509SVIDRequest{Params: params})
	if err != nil {
		return err
	}
	for _, result := range answer.Results {
		if result.Status.Code != 0 {
			return errors.New(result.Status.Message)
		}
	}
	return nil
}

func agentMask() *types.EntryMask {
	return &types.EntryMask{SpiffeId: true, Selectors: true, FederatesWith: true, Admin: true, Downstream: true,
		RevisionNumber: true, StoreSvid: true, Hint: true, AdditionalAttributes: true, CreatedAt: true}
}

// sync asks as an agent does that knows nothing yet, or everything.
func (m *material) sync(ctx context.Context, conn *grpc.ClientConn, unchanged bool) error {
	stream, err := entryv1.NewEntryClient(conn).SyncAuthorizedEntries(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&entryv1.SyncAuthorizedEntriesRequest{OutputMask: agentMask()}); err != nil {
		return err
	}
	got, missing := 0, []string{}
	for more := true; more; {
		answer, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, revision := range answer.EntryRevisions {
			missing = append(missing, revision.Id)
		}
		got, more = got+len(answer.Entries), answer.More
	}
	if unchanged {
		got, missing = got+len(missing), nil
	}
	for len(missing) > 0 {
		page := missing[:min(500, len(missing))]
		missing = missing[len(page):]
		if err := stream.Send(&entryv1.SyncAuthorizedEntriesRequest{Ids: page}); err != nil {
			return err
		}
		for more := true; more; {
			answer, err := stream.Recv()
			if err != nil {
				return err
			}
			got, more = got+len(answer.Entries), answer.More
		}
	}
	if got < len(m.entryIDs) {
		return fmt.Errorf("%d entries of %d", got, len(m.entryIDs))
	}
	return stream.CloseSend()
}

func (m *material) authorized(ctx context.Context, conn *grpc.ClientConn, _ int) error {
	answer, err := entryv1.NewEntryClient(conn).GetAuthorizedEntries(ctx, &entryv1.GetAuthorizedEntriesRequest{OutputMask: agentMask()})
	if err == nil && len(answer.Entries) < len(m.entryIDs) {
		err = fmt.Errorf("%d entries of %d", len(answer.Entries), len(m.entryIDs))
	}
	return err
}

func (s *settings) createEntries(ctx context.Context, conn *grpc.ClientConn, n int) error {
	parent := s.parent
	if parent == "" {
		parent = "/load-node"
	}
	prefix := fmt.Sprintf("/created/%d/%d", time.Now().UnixNano(), n)
	answer, err := entryv1.NewEntryClient(conn).BatchCreateEntry(ctx, &entryv1.BatchCreateEntryRequest{
		Entries: s.someEntries(&types.SPIFFEID{TrustDomain: s.trustDomain, Path: parent}, prefix, s.batch)})
	if err != nil {
		return err
	}
	for _, result := range answer.Results {
		if result.Status.Code != 0 {
			return errors.New(result.Status.Message)
		}
	}
	return nil
}
