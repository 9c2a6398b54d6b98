package main

import (
	"context"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"spire-py/peers/internal/jsonl"
)

// tokens fetches tokens and checks each one twice: with the bundles here, and by asking the agent.
func tokens(ctx context.Context, client *workloadapi.Client, s *settings) error {
	source, err := workloadapi.NewJWTSource(ctx, workloadapi.WithClient(client))
	if err != nil {
		return err
	}
	defer source.Close()
	params := jwtsvid.Params{Audience: s.audience}
	if s.spiffeID != "" {
		if params.Subject, err = spiffeid.FromString(s.spiffeID); err != nil {
			return err
		}
	}
	svids, err := source.FetchJWTSVIDs(ctx, params)
	if err != nil {
		return err
	}
	for _, svid := range svids {
		if _, err := jwtsvid.ParseAndValidate(svid.Marshal(), source, []string{s.audience}); err != nil {
			return err
		}
		if _, err := client.ValidateJWTSVID(ctx, svid.Marshal(), s.audience); err != nil {
			return err
		}
		jsonl.Emit("jwt", jsonl.Fields{
			"id": svid.ID.String(), "audience": svid.Audience, "hint": svid.Hint, "token": svid.Marshal(),
			"expiry": svid.Expiry.UTC().Format(time.RFC3339), "claims": svid.Claims,
		})
	}
	return nil
}

// validate asks the agent about one token.
func validate(ctx context.Context, client *workloadapi.Client, s *settings) error {
	svid, err := client.ValidateJWTSVID(ctx, s.token, s.audience)
	if err != nil {
		return err
	}
	jsonl.Emit("valid", jsonl.Fields{"id": svid.ID.String(), "claims": svid.Claims})
	return nil
}
