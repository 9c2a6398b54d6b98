package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io/fs"
	"os"

	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/grpc"

	"spire-py/peers/internal/jsonl"
)

// identity is the loader's agent as kept in a file, so that several runs are one agent to the server.
type identity struct {
	Path  string   `json:"path"`
	Chain [][]byte `json:"chain"`
	Key   []byte   `json:"key"`
}

// enroll does nothing but become an agent; with -identity for later runs.
func (s *settings) enroll(m *material) *operation {
	s.count = 0
	return &operation{prepare: func(ctx context.Context) error {
		if err := s.becomeAgent(ctx, m); err != nil {
			return err
		}
		jsonl.Emit("agent", jsonl.Fields{"path": m.agent.Path})
		return nil
	}, dial: func() (*grpc.ClientConn, error) { return nil, errors.New("nothing to call") }}
}

func (s *settings) storeIdentity(m *material) error {
	if s.identity == "" {
		return nil
	}
	key, err := x509.MarshalPKCS8PrivateKey(m.key)
	if err != nil {
		return err
	}
	text, err := json.Marshal(identity{Path: m.agent.Path, Chain: m.own.Certificate, Key: key})
	if err != nil {
		return err
	}
	return os.WriteFile(s.identity, text, 0o600)
}

// loadIdentity tells whether an earlier run left one.
func (s *settings) loadIdentity(m *material) (bool, error) {
	if s.identity == "" {
		return false, nil
	}
	text, err := os.ReadFile(s.identity)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	kept := identity{}
	if err := json.Unmarshal(text, &kept); err != nil {
		return false, err
	}
	key, err := x509.ParsePKCS8PrivateKey(kept.Key)
	if err != nil {
		return false, err
	}
	m.own = &tls.Certificate{Certificate: kept.Chain, PrivateKey: key}
	m.agent = &types.SPIFFEID{TrustDomain: s.trustDomain, Path: kept.Path}
	return true, nil
}
